import type { LoadedConfig } from "../config/load.ts";
import { FulaError } from "../kernel/errors.ts";
import type { Secret } from "../kernel/secret.ts";
import type { JoinBundle } from "../membership/join-bundle.ts";
import { admitMember, createEncryptedPool, type PoolSecretsDeps, rekeyPool } from "../membership/pool-secrets.ts";
import type { BoxKey } from "../membership/sealed/box-key.ts";
import { certificatesIn } from "./control-plane-certificates.ts";
import { readAuthority } from "./control-plane-keys.ts";
import { newestSecret, type PoolLook, type PoolLooks } from "./federation-pools.ts";
import {
  type FederationPool,
  isSameSecret,
  type MastersSecret,
  parseMastersSecret,
  POOL_NAMES,
  renderMastersSecret,
} from "./federation-secrets.ts";
import { epochInUse, ownKeys } from "./working-copy.ts";

/** What this box would put into the pools: what its files, or its join token, have; null where it has none of a kind. */
export type OwnSecrets = Readonly<Record<FederationPool, Secret | null>>;

/** How this box stands to one pool. */
export type Standing =
  /** It belongs, and its files have the newest secret. */
  | "in"
  /** It belongs, and its files have an older secret: `membership sync`. */
  | "behind"
  /** It belongs to the masters, whose secret has no certificate authority yet, and this box has one. */
  | "without-authority"
  /** The pool is there, and was not sealed to it. */
  | "out"
  /** There is no such pool, and this box has what makes one. */
  | "missing"
  /** There is no such pool, and this box has no such secret: somebody else's cluster, or no Kubo of our own. */
  | "none";

async function ownAuthority({ paths, config }: LoadedConfig): Promise<MastersSecret["controlPlaneCa"]> {
  // A file is of one box alone: there is nobody to be vouched for.
  if (config.controlPlane.mode === "sqlite") return null;
  const authority = await readAuthority(paths.keysDir);
  const [first] = authority === null ? [] : (certificatesIn(authority.certificate) ?? []);
  // While a new one takes the place of an old one the file has both; the key is that of the first.
  return authority === null || first === undefined
    ? null
    : { certificate: `${first.toString().trim()}\n`, key: authority.key };
}

/** What the files of this box have for the pools. */
export async function ownSecrets(loaded: LoadedConfig): Promise<OwnSecrets> {
  const { secrets } = loaded;
  const keys = ownKeys(loaded);
  return {
    masters: keys === null ? null : renderMastersSecret({ ...keys, controlPlaneCa: await ownAuthority(loaded) }),
    cluster: /^[0-9a-f]{64}$/.test(secrets.clusterSecret?.reveal() ?? "") ? secrets.clusterSecret : null,
    swarm: secrets.swarmKey,
  };
}

function differs(pool: "cluster" | "swarm", { paths }: LoadedConfig): FulaError {
  const name = pool === "cluster" ? "CLUSTER_SECRET" : "SWARM_KEY";
  return new FulaError(
    "FULA_SECRETS_DIFFER",
    `${name} of ${paths.envFile} is of no epoch of the pool ${pool} that this box knows. Nothing was changed.`,
    {
      hint: `the control plane has what the masters share: take ${name} out of ${paths.envFile} and run fula-master membership sync.`,
      details: { secrets: [name] },
    },
  );
}

function standingOfMasters(loaded: LoadedConfig, look: PoolLook, own: Secret): Standing {
  const newest = newestSecret(look);
  if (newest === null) return "out";
  if (epochInUse(loaded, look) !== newest.epoch) return "behind";
  const { controlPlaneCa } = parseMastersSecret(newest.secret);
  return controlPlaneCa === null && parseMastersSecret(own).controlPlaneCa !== null ? "without-authority" : "in";
}

/**
 * How this box stands to a pool.
 * @throws FulaError FULA_SECRETS_DIFFER where its files have a secret that is of no epoch
 */
export function standingOf(loaded: LoadedConfig, pool: FederationPool, looks: PoolLooks, own: OwnSecrets): Standing {
  const look = looks[pool];
  const secret = own[pool];
  if (look === null || look.pool.epoch === 0) return secret === null ? "none" : "missing";
  if (pool === "masters") return secret === null ? "behind" : standingOfMasters(loaded, look, secret);
  const newest = newestSecret(look);
  if (newest === null) return "out";
  if (secret === null || isSameSecret(secret, newest.secret)) return secret === null ? "behind" : "in";
  if (look.secrets.some((each) => isSameSecret(each.secret, secret))) return "behind";
  throw differs(pool, loaded);
}

/**
 * The epoch of a pool's secret that the files of this box have; null where it is no member, or they have none.
 * @throws FulaError FULA_SECRETS_DIFFER
 */
export function epochOf(loaded: LoadedConfig, pool: FederationPool, looks: PoolLooks, own: OwnSecrets): number | null {
  const look = looks[pool];
  if (look === null || look.secrets.length === 0 || own[pool] === null) return null;
  if (pool === "masters") return epochInUse(loaded, look);
  return look.secrets.find(({ secret }) => isSameSecret(secret, own[pool]))?.epoch ?? null;
}

/** What entering the pools needs. */
export interface PoolEntry extends PoolSecretsDeps {
  readonly loaded: LoadedConfig;
  readonly key: BoxKey;
  /** What the token of this run brought; null without one. */
  readonly bundle: JoinBundle | null;
}

function tokenNeeded(pool: FederationPool, { key, loaded }: PoolEntry): FulaError {
  return new FulaError(
    "FULA_TOKEN_NEEDED",
    `This box is no member of the pool ${pool}, and nothing says of which epoch its secrets are. Nothing was changed.`,
    {
      hint: `join with a token of a master (fula-master token create); or run there: fula-master membership member add ${pool} ${key.endpoint} --name ${loaded.config.node.name}`,
      details: { pool, endpoint: key.endpoint },
    },
  );
}

function tokenBehind(pool: FederationPool, issuer: string, had: number | null, epoch: number): FulaError {
  return new FulaError(
    "FULA_SECRETS_BEHIND",
    `The join token has epoch ${had ?? 0} of the pool ${pool}, which is at ${epoch} by now. Nothing was changed.`,
    {
      hint: `make a new token on ${issuer} (fula-master token create), take the shared secrets out of .env, and join with it.`,
      details: { pool, had, epoch },
    },
  );
}

/**
 * Admits this box to a pool by the secret that its token brought: the others cannot seal to it, as they do not know it.
 * @throws FulaError FULA_TOKEN_NEEDED, FULA_SECRETS_BEHIND
 */
async function admitSelf(pool: FederationPool, secret: Secret, entry: PoolEntry): Promise<void> {
  const { bundle, key, loaded } = entry;
  if (bundle === null) throw tokenNeeded(pool, entry);
  const had = bundle.epochs[pool];
  await admitMember(entry, {
    pool,
    candidate: { endpoint: key.endpoint, name: loaded.config.node.name },
    secretsFor: async ({ epoch }) => {
      if (had !== epoch) throw tokenBehind(pool, bundle.issuer, had, epoch);
      return await Promise.resolve([{ epoch, secret }]);
    },
  });
}

/**
 * Has this box belong to a pool: makes it from the box's own secret where there is none, admits the box where there is one.
 * Killed anywhere, it can be run again.
 * @returns what was done, in a few words; null where nothing had to be
 * @throws FulaError FULA_TOKEN_NEEDED, FULA_SECRETS_BEHIND, and what the store throws
 */
export async function enterPool(
  pool: FederationPool,
  standing: Standing,
  secret: Secret | null,
  entry: PoolEntry,
): Promise<string | null> {
  const { key, loaded } = entry;
  if (secret === null) return null;
  if (standing === "missing") {
    const owner = { endpoint: key.endpoint, name: loaded.config.node.name };
    const { epoch } = await createEncryptedPool(entry, { id: pool, name: POOL_NAMES[pool], owner, secret });
    return `pool ${pool} made, epoch ${epoch}`;
  }
  if (standing === "out") {
    await admitSelf(pool, secret, entry);
    return `admitted to pool ${pool}`;
  }
  if (standing === "without-authority") {
    const { epoch } = await rekeyPool(entry, { pool, nextSecret: async () => await Promise.resolve(secret) });
    return `certificate authority put into pool ${pool}, epoch ${epoch}`;
  }
  return null;
}
