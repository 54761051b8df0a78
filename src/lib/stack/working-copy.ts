import type { LoadedConfig } from "../config/load.ts";
import { FulaError } from "../kernel/errors.ts";
import type { Secret } from "../kernel/secret.ts";
import type { CertificateAuthority } from "../membership/join-bundle.ts";
import { newestSecret, type PoolLook, type PoolLooks } from "./federation-pools.ts";
import {
  differingKeys,
  isSameSecret,
  type MasterKeys,
  type MastersSecret,
  parseMastersSecret,
  parseNetworkKey,
} from "./federation-secrets.ts";
import { type EpochKeys, otherEpochs, renderOtherEpochs } from "./other-epochs.ts";

/** The masters' secrets as this box is to work with them. */
export interface MastersCopy {
  /** The epoch that it signs and seals with. */
  readonly inUse: number;
  readonly newest: number;
  readonly keys: MasterKeys;
  /** Epochs that it also opens and verifies with, newest first. */
  readonly others: readonly EpochKeys[];
  /** Authorities of those epochs, that of the one in use first; null where there is none. */
  readonly authority: CertificateAuthority | null;
}

/** The part of a configuration that holds what this box works with. */
type Copy = Pick<LoadedConfig, "secrets" | "paths">;

interface Opened extends MastersSecret {
  readonly epoch: number;
}

/** Older secrets than this many epochs are nobody's any more. */
const KEPT_EPOCHS_MAX = 8;

/** The masters' keys of `.env`; null where one is missing. */
export function ownKeys({ secrets }: Pick<LoadedConfig, "secrets">): MasterKeys | null {
  const { systemKey, jwtSecret, sessionSecret, encryptionKey } = secrets;
  if (systemKey === null || jwtSecret === null || sessionSecret === null || encryptionKey === null) return null;
  return { systemKey, jwtSecret, sessionSecret, encryptionKey };
}

function openedOf({ secrets }: PoolLook): readonly Opened[] {
  return secrets.map(({ epoch, secret }) => ({ epoch, ...parseMastersSecret(secret) }));
}

/** The names under which the masters' keys stand in `.env`. */
const ENV_NAMES: Readonly<Record<keyof MasterKeys, string>> = {
  systemKey: "SYSTEM_KEY",
  jwtSecret: "JWT_SECRET",
  sessionSecret: "SESSION_SECRET",
  encryptionKey: "ENCRYPTION_KEY",
};

function differ(own: MasterKeys, newest: MasterKeys, where: string): FulaError {
  const names = differingKeys(own, newest).map((name) => ENV_NAMES[name]);
  const list = names.join(", ");
  return new FulaError(
    "FULA_SECRETS_DIFFER",
    `${list} of ${where} ${names.length === 1 ? "is" : "are"} of no epoch of the pool masters that this box knows. Nothing was changed.`,
    {
      hint: `the control plane has what the masters share: take ${list} out of ${where} and run fula-master membership sync; what was signed or sealed with those here is lost.`,
      details: { secrets: names },
    },
  );
}

/**
 * The epoch of the pool `masters` that `.env` has in use; null where it lacks one of the keys.
 * @throws FulaError FULA_SECRETS_DIFFER where its keys are of no epoch
 */
export function epochInUse(copy: Copy, look: PoolLook): number | null {
  const own = ownKeys(copy);
  if (own === null) return null;
  const opened = openedOf(look);
  // A box that was admitted late was sealed the newest alone; what it has of others came with its token.
  const known = [...opened, ...otherEpochs(copy.secrets)];
  const found = known.find((keys) => differingKeys(own, keys).length === 0);
  if (found !== undefined) return found.epoch;
  throw differ(own, opened[0] ?? own, copy.paths.envFile);
}

/** The epoch to sign and seal with: the newest that every master which has any can open. */
function usableEpoch({ pool, members }: PoolLook, own: string): number {
  const applied = members.filter(({ endpoint, appliedEpoch }) => endpoint !== own && appliedEpoch > 0);
  return Math.min(pool.epoch, ...applied.map(({ appliedEpoch }) => appliedEpoch));
}

function authorityOf(inUse: MastersSecret, others: readonly MastersSecret[]): CertificateAuthority | null {
  const { controlPlaneCa: own } = inUse;
  if (own === null) return null;
  const certificates = [own, ...others.flatMap(({ controlPlaneCa }) => controlPlaneCa ?? [])].map(({ certificate }) =>
    certificate.trim(),
  );
  return { certificate: `${[...new Set(certificates)].join("\n")}\n`, key: own.key };
}

function withOwn(opened: readonly Opened[], copy: Copy, current: number | null): readonly Opened[] {
  const own = ownKeys(copy);
  const there = new Set(opened.map(({ epoch }) => epoch));
  const mine = [
    ...(own === null || current === null ? [] : [{ epoch: current, ...own }]),
    ...otherEpochs(copy.secrets),
  ];
  const added = mine.filter(({ epoch }) => !there.has(epoch)).map((keys) => ({ ...keys, controlPlaneCa: null }));
  return [...opened, ...added].toSorted((a, b) => b.epoch - a.epoch);
}

/**
 * Decides which of the masters' secrets this box is to work with. It never uses what another master cannot open, never
 * goes back, and goes on reading what it has read until it is told to forget it.
 * @param own endpoint of this box
 * @returns null where the pool is not there, or nothing of it was sealed to this box
 * @throws FulaError FULA_SECRETS_DIFFER
 */
export function mastersCopy(
  copy: Copy,
  look: PoolLook | null,
  own: string,
  options: { readonly forgetOld: boolean },
): MastersCopy | null {
  if (look === null || newestSecret(look) === null) return null;
  const current = epochInUse(copy, look);
  const epochs = withOwn(openedOf(look), copy, current);
  const wanted = Math.max(usableEpoch(look, own), current ?? 0);
  const inUse = epochs.findLast(({ epoch }) => epoch >= wanted);
  if (inUse === undefined) return null;
  const had = new Set([...otherEpochs(copy.secrets).map(({ epoch }) => epoch), ...(current === null ? [] : [current])]);
  const isKept = ({ epoch }: Opened): boolean => {
    if (epoch > inUse.epoch) return true;
    return epoch < inUse.epoch && !options.forgetOld && (current === null || had.has(epoch));
  };
  const others = epochs.filter(isKept).slice(0, KEPT_EPOCHS_MAX);
  return { inUse: inUse.epoch, newest: look.pool.epoch, keys: inUse, others, authority: authorityOf(inUse, others) };
}

/** What has to change in `.env`: names and values. Nothing of it is shown. */
export function envChanges(
  copy: Copy,
  masters: MastersCopy | null,
  looks: PoolLooks,
): Readonly<Record<string, Secret>> {
  const changes = new Map<string, Secret>();
  const set = (name: string, there: Secret | null, wanted: Secret): void => {
    if (!isSameSecret(there, wanted)) changes.set(name, wanted);
  };
  const { secrets } = copy;
  if (masters !== null) {
    for (const [name, envName] of Object.entries(ENV_NAMES)) {
      // oxlint-disable-next-line typescript/no-unsafe-type-assertion -- Object.entries forgets the type of the keys
      const key = name as keyof MasterKeys;
      set(envName, secrets[key], masters.keys[key]);
    }
    const wanted = renderOtherEpochs(masters.others);
    if (masters.others.length > 0 || secrets.otherMasterSecrets !== null) {
      set("OTHER_MASTER_SECRETS", secrets.otherMasterSecrets, wanted);
    }
  }
  const networks = [
    { pool: "cluster", name: "CLUSTER_SECRET", there: secrets.clusterSecret },
    { pool: "swarm", name: "SWARM_KEY", there: secrets.swarmKey },
  ] as const;
  for (const { pool, name, there } of networks) {
    const look = looks[pool];
    const newest = look === null ? null : newestSecret(look);
    if (newest !== null) set(name, there, parseNetworkKey(pool, newest.secret));
  }
  return Object.fromEntries(changes);
}
