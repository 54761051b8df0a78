import { mergeEnvFile } from "../config/env-file.ts";
import { type LoadedConfig, loadConfig } from "../config/load.ts";
import { FulaError } from "../kernel/errors.ts";
import type { BoxKey } from "../membership/sealed/box-key.ts";
import type { MembershipStore } from "../membership/store.ts";
import { listFederationNodes, noteSecretsDigest } from "../membership/federation-nodes.ts";
import { secretsDigest } from "../membership/join-bundle.ts";
import type { Pool } from "../postgres/pool.ts";
import { withControlPlane } from "./control-plane.ts";
import { ensureNodeCertificate, readAuthority, writeAuthority } from "./control-plane-keys.ts";
import { laggards, lookAtPools, newestSecret, type PoolLooks } from "./federation-pools.ts";
import { FEDERATION_POOLS, type FederationPool } from "./federation-secrets.ts";
import { withLedger } from "./ledger.ts";
import { type MembershipContext, requireBoxKey } from "./membership-run.ts";
import { ownName, sharedSecrets } from "./registration.ts";
import { type ResealReport, resealLedger } from "./reseal.ts";
import { putToUse, type PutToUse } from "./sync-restart.ts";
import { envChanges, type MastersCopy, mastersCopy } from "./working-copy.ts";

/** What `membership sync` is given. */
export interface SyncOptions {
  readonly dryRun: boolean;
  /** True takes older secrets of the masters out, once nobody works with them: what they signed is refused from then on. */
  readonly forgetOld: boolean;
  /** Shows what is being done. */
  readonly report: (text: string) => void;
}

/** A pool as this box stands to it; `--json` keeps these fields. */
export interface SyncedPool {
  readonly pool: FederationPool;
  /** The newest epoch; null where the control plane has no such pool. */
  readonly epoch: number | null;
  /** The epoch that this box works with; null where it has nothing of it. */
  readonly inUse: number | null;
  /** Names of masters that have not put the newest epoch to use. */
  readonly waitingFor: readonly string[];
}

/** What `membership sync` did, or would do; `--json` keeps these fields. */
export interface SyncReport {
  readonly dryRun: boolean;
  readonly pools: readonly SyncedPool[];
  /** Names of what changed in `.env` and `keys/`; never a value. */
  readonly changed: readonly string[];
  /** What was restarted or recreated, and what is left to the operator. */
  readonly restarted: PutToUse | null;
  /** What was sealed anew in the ledger; null where nothing had to be, and in a dry run. */
  readonly resealed: ResealReport | null;
  /** What is to be done next, a sentence each; empty where nothing is. */
  readonly next: readonly string[];
}

interface Plan {
  readonly loaded: LoadedConfig;
  readonly key: BoxKey;
  readonly looks: PoolLooks;
  readonly masters: MastersCopy | null;
  readonly env: ReturnType<typeof envChanges>;
  /** Names of what changes in `keys/`. */
  readonly keys: readonly string[];
}

async function authorityChanges(
  { paths, config }: LoadedConfig,
  masters: MastersCopy | null,
): Promise<readonly string[]> {
  const wanted = masters?.authority ?? null;
  if (wanted === null || config.controlPlane.mode === "sqlite") return [];
  const there = await readAuthority(paths.keysDir);
  const isSame =
    there?.certificate.trim() === wanted.certificate.trim() && there.key.reveal().trim() === wanted.key.reveal().trim();
  return isSame ? [] : ["certificate authority of the control plane"];
}

async function planOf(store: MembershipStore, loaded: LoadedConfig, forgetOld: boolean): Promise<Plan> {
  const key = await requireBoxKey(loaded.paths);
  const looks = await lookAtPools(store, key);
  const masters = mastersCopy(loaded, looks.masters, key.endpoint, { forgetOld });
  if (masters === null) {
    throw new FulaError(
      "FULA_NOT_JOINED",
      "The control plane has no secret of the masters that was sealed to this box.",
      {
        hint: `fula-master join writes this master in; or another master admits it: fula-master membership member add masters ${key.endpoint}`,
        details: { endpoint: key.endpoint },
      },
    );
  }
  const env = envChanges(loaded, masters, looks);
  return { loaded, key, looks, masters, env, keys: await authorityChanges(loaded, masters) };
}

function poolsOf({ looks, key, masters, loaded }: Plan): readonly SyncedPool[] {
  const inUseOf = (pool: FederationPool): number | null => {
    if (pool === "masters") return masters?.inUse ?? null;
    const look = looks[pool];
    const has = pool === "cluster" ? loaded.secrets.clusterSecret !== null : loaded.secrets.swarmKey !== null;
    return look === null || !has ? null : (newestSecret(look)?.epoch ?? null);
  };
  return FEDERATION_POOLS.map((pool) => {
    const look = looks[pool];
    return {
      pool,
      epoch: look?.pool.epoch ?? null,
      inUse: inUseOf(pool),
      waitingFor: look === null ? [] : laggards(look, key.endpoint),
    };
  });
}

function nextOf(
  { loaded, masters }: Plan,
  pools: readonly SyncedPool[],
  restarted: PutToUse | null,
): readonly string[] {
  const next = [...(restarted?.byHand ?? [])];
  const waiting = [...new Set(pools.flatMap(({ waitingFor }) => waitingFor))];
  if (waiting.length > 0) next.push(`run fula-master membership sync on ${waiting.join(", ")}`);
  if (masters !== null && masters.inUse < masters.newest) {
    next.push(`then once more on ${loaded.config.node.name}: it seals with epoch ${masters.newest} from then on`);
  } else if (masters !== null && masters.others.length > 0) {
    next.push(
      "once no token or session of before is needed any more: fula-master membership sync --forget-old, on every master",
    );
  }
  return next;
}

/**
 * Old secrets may go once nobody seals or signs with them: every master's digest in the ledger is that of this box.
 * @throws FulaError FULA_REKEY_UNFINISHED
 */
async function assertMayForget(pool: Pool, { loaded, masters, looks, key }: Plan): Promise<void> {
  const { name } = loaded.config.node;
  const lag = looks.masters === null ? [] : laggards(looks.masters, key.endpoint);
  const own = masters === null ? null : secretsDigest(masters.keys);
  const nodes = await listFederationNodes(pool);
  const differ = nodes.filter(
    (node) => node.role === "master" && node.name !== name && node.secretsDigest !== null && node.secretsDigest !== own,
  );
  const names = [...new Set([...lag, ...differ.map((node) => node.name)])];
  if (names.length === 0) return;
  throw new FulaError(
    "FULA_REKEY_UNFINISHED",
    `${names.join(", ")} may still seal and sign with older secrets, so this box must go on reading them. Nothing was changed.`,
    {
      hint: `run fula-master membership sync on ${names.join(", ")}; one that will not come back: fula-master membership member remove masters <endpoint>`,
      details: { masters: names },
    },
  );
}

async function writeCopy({ loaded, env, keys, masters }: Plan, { clock, signal }: MembershipContext): Promise<void> {
  const { paths, config } = loaded;
  // Authority first: servers that trust one more lose nothing, whatever comes after it.
  if (keys.length > 0 && masters?.authority != null) {
    await writeAuthority(paths.keysDir, masters.authority);
    const { name, announce } = config.node;
    if (config.controlPlane.mode === "docker") await ensureNodeCertificate(paths.keysDir, { name, announce }, clock);
  }
  await mergeEnvFile(paths.envFile, env, { overwrite: true, clock, signal });
}

async function noteApplied(store: MembershipStore, { key, looks }: Plan): Promise<void> {
  for (const pool of FEDERATION_POOLS) {
    const look = looks[pool];
    if (look === null || newestSecret(look) === null) continue;
    await store.noteApplied(pool, key.endpoint, look.pool.epoch);
  }
}

/** True where rows of the ledger may be under an older key than the one that every master works with. */
function mayReseal({ masters }: Plan): boolean {
  return masters !== null && masters.inUse === masters.newest;
}

/** Tells the others which secrets this box works with, and seals anew what was sealed under older ones. */
async function tellLedger(
  pool: Pool,
  plan: Plan,
  loaded: LoadedConfig,
  context: MembershipContext,
): Promise<ResealReport | null> {
  await noteSecretsDigest(pool, await ownName(loaded), secretsDigest(sharedSecrets(loaded)));
  return mayReseal(plan) ? await resealLedger(pool, loaded, context) : null;
}

async function reportOf(
  store: MembershipStore,
  plan: Plan,
  context: MembershipContext,
  done: Pick<SyncReport, "restarted" | "resealed" | "dryRun">,
): Promise<SyncReport> {
  const after: Plan = { ...plan, loaded: await loadConfig(context), looks: await lookAtPools(store, plan.key) };
  const pools = poolsOf(done.dryRun ? plan : after);
  const changed = [...Object.keys(plan.env), ...plan.keys];
  return { ...done, pools, changed, next: nextOf(plan, pools, done.restarted) };
}

async function bringUp(
  store: MembershipStore,
  plan: Plan,
  context: MembershipContext,
  options: SyncOptions,
): Promise<SyncReport> {
  await writeCopy(plan, context);
  const loaded = await loadConfig(context);
  const restarted = await putToUse(loaded, Object.keys(plan.env), context, options.report);
  // Others seal with the new secrets once this is noted, so whatever runs here must read them by then.
  await noteApplied(store, plan);
  const resealed = await withLedger(
    loaded,
    { ...context, part: "membership" },
    async (pool) => await tellLedger(pool, plan, loaded, context),
  );
  return await reportOf(store, plan, context, { dryRun: false, restarted, resealed });
}

async function forget(
  store: MembershipStore,
  loaded: LoadedConfig,
  context: MembershipContext,
  options: SyncOptions,
): Promise<SyncReport> {
  const plan = await planOf(store, loaded, true);
  const resealed = await withLedger(loaded, { ...context, part: "membership" }, async (pool) => {
    await assertMayForget(pool, plan);
    return options.dryRun ? null : await resealLedger(pool, loaded, context);
  });
  if (options.dryRun) return await reportOf(store, plan, context, { dryRun: true, restarted: null, resealed });
  await writeCopy(plan, context);
  const restarted = await putToUse(await loadConfig(context), Object.keys(plan.env), context, options.report);
  return await reportOf(store, plan, context, { dryRun: false, restarted, resealed });
}

/**
 * Brings this box's working copy of the federation's secrets (`.env`, and the authority in `keys/`) up to the newest epochs
 * of the control plane, restarts what works with them, and writes down that it has. A master seals and signs with the
 * newest secrets only once every other can read them: until then a second run is needed, and the report says so. Killed
 * anywhere, it can be run again.
 * @throws FulaError FULA_NOT_JOINED, FULA_SECRETS_DIFFER, FULA_REKEY_UNFINISHED, FULA_SEALED_BOX, and what opening the
 *   control plane and the ledger throws
 */
export async function syncMembership(context: MembershipContext, options: SyncOptions): Promise<SyncReport> {
  const loaded = await loadConfig(context);
  return await withControlPlane(loaded, context, async (store) => {
    const plan = await planOf(store, loaded, false);
    if (!options.forgetOld) {
      if (!options.dryRun) return await bringUp(store, plan, context, options);
      return await reportOf(store, plan, context, { dryRun: true, restarted: null, resealed: null });
    }
    if (Object.keys(plan.env).length + plan.keys.length > 0 || !mayReseal(plan)) {
      throw new FulaError(
        "FULA_REKEY_UNFINISHED",
        `${loaded.config.node.name} itself does not work with the newest secrets yet. Nothing was changed.`,
        {
          hint: "fula-master membership sync, on every master; then --forget-old.",
        },
      );
    }
    return await forget(store, loaded, context, options);
  });
}
