import { statfs } from "node:fs/promises";
import type { LoadedConfig } from "../config/load.ts";
import type { FailoverCheck, FailoverPorts } from "../failover/failover-ports.ts";
import type { LedgerBox, LedgerEpochRecord, LedgerStore } from "../membership/ledger-records.ts";
import { type ConnectionOptions, createPool, type Pool, type PoolOptions } from "../postgres/pool.ts";
import type { KeptSession } from "../postgres/kept-session.ts";
import { LEDGER_SESSION } from "../postgres/session-settings.ts";
import { readMarker } from "../recovery/postgres/marker.ts";
import { formatDuration } from "../kernel/units.ts";
import { readBackupFacts } from "./backup-facts.ts";
import { readDaemonFile } from "./daemon-file.ts";
import { runFailoverHook } from "./failover-hooks.ts";
import { lookAtServer } from "./failover-probe.ts";
import type { FailoverChoice, FailoverContext } from "./failover-run.ts";
import { servicesEvidence } from "./failover-services.ts";
import { revokeOldAccess, sealEpoch } from "./failover-seal.ts";
import { ledgerPlace } from "./ledger-place.ts";
import { announcedAddress, ownPostgres } from "./own-postgres.ts";
import { openOwnServer } from "./own-server.ts";
import { actOnEpoch } from "./ledger-agent.ts";
import { noteEpoch } from "./ledger-epoch-file.ts";
import type { LedgerServer } from "../recovery/postgres/ledger-server.ts";
import { runVerify } from "./verify-run.ts";
import { describeError } from "./look.ts";

/** A write that its standbys do not acknowledge in time is one whose outcome is not known. */
const WRITE_MS = 15_000;
const CONNECTIONS = 4;
/** A new primary keeps log for standbys that are away. */
const DISK_SHARE_FREE_MIN = 0.1;

/** What the ports are made of. */
export interface FailoverBoxParts {
  readonly loaded: LoadedConfig;
  readonly store: LedgerStore;
}

/** How this box reaches the primary of an epoch, as the ledger's role, in sessions that mean that epoch. */
function primaryConnection(loaded: LoadedConfig, epoch: LedgerEpochRecord): ConnectionOptions {
  const { config, secrets } = loaded;
  const { database, user } = config.postgres;
  const password = secrets.postgresPassword;
  return {
    ...ledgerPlace(loaded, epoch),
    database,
    user,
    ...(password === null ? {} : { password }),
    part: "failover",
    node: config.node.name,
    sessionSettings: LEDGER_SESSION,
  };
}

async function withPool<T>(options: PoolOptions, use: (pool: Pool) => Promise<T>): Promise<T> {
  const pool = createPool({ ...options, max: CONNECTIONS });
  try {
    return await use(pool);
  } finally {
    await pool.end();
  }
}

/** Opens this box's server once for a run: that starts programs, and writes wait for looks at it. */
function openedOnce(loaded: LoadedConfig, { clock, random, log, env }: FailoverContext): () => Promise<LedgerServer> {
  let opened: Promise<LedgerServer> | null = null;
  return async () => {
    opened ??= openOwnServer(loaded, { clock, random, log, env, part: "failover" });
    try {
      return await opened;
    } catch (error) {
      opened = null;
      throw error;
    }
  };
}

/** Why this box's own server must not be promoted; null where nothing speaks against it. */
async function whyUnfitHere(own: () => Promise<LedgerServer>, signal: AbortSignal): Promise<string | null> {
  try {
    const { site } = await own();
    await using files = await site.open(signal);
    const marker = await readMarker(files, site);
    if (marker !== null) return `its data was being rewritten (${marker.kind}) and that did not come to its end`;
    if (site.kind === "container") return null;
    const { bavail, blocks } = await statfs(site.dataDir);
    return bavail < blocks * DISK_SHARE_FREE_MIN
      ? `its disk has ${Math.floor((bavail / blocks) * 100)} % free, and it is to keep log for standbys that are away`
      : null;
  } catch (error) {
    signal.throwIfAborted();
    return `it cannot be looked at: ${describeError(error)}`;
  }
}

type Judged = Pick<FailoverCheck, "state" | "seen">;

async function judgeSnapshots(loaded: LoadedConfig, { clock, signal, cwd }: FailoverContext): Promise<Judged> {
  const { maxAge } = loaded.config.snapshot;
  const options = { file: null, all: false, anyCluster: false, maxAgeMs: maxAge };
  const [newest] = await runVerify(loaded, options, { clock, signal, cwd });
  if (newest?.ok === true) return { state: "ok", seen: `the newest pinset snapshot, ${newest.name}, is good` };
  const problem = newest?.problems[0]?.message ?? "there is none";
  return { state: "attention", seen: `the newest pinset snapshot has problems: ${problem}` };
}

async function judgeBackups(loaded: LoadedConfig, { clock }: FailoverContext): Promise<Judged> {
  const { newest, stale, dir } = await readBackupFacts(loaded, clock);
  if (newest === null) return { state: "attention", seen: `there is no good base backup in ${dir}` };
  const age = `${newest.name} is ${formatDuration(newest.ageMs)} old`;
  const tested = newest.tested === true ? "a restore of it was tried" : "no restore of it was tried";
  return {
    state: stale || newest.tested === false ? "attention" : "ok",
    seen: `the newest good base backup, ${age}; ${tested}`,
  };
}

/** Looks at what is no part of the move, and is needed if it goes wrong: it warns, and stops nobody whose ledger is away. */
async function checkBox(loaded: LoadedConfig, context: FailoverContext): Promise<readonly FailoverCheck[]> {
  const { clock, signal } = context;
  const checks = [
    ["snapshot", judgeSnapshots],
    ["backup", judgeBackups],
  ] as const;
  return await Promise.all(
    checks.map(async ([id, judge]): Promise<FailoverCheck> => {
      const startMs = clock.monotonicMs();
      const judged = await judge(loaded, context).catch((error: unknown): Judged => {
        signal.throwIfAborted();
        return { state: "attention", seen: `${id}: ${describeError(error)}` };
      });
      return { id, ...judged, durationMs: Math.round(clock.monotonicMs() - startMs) };
    }),
  );
}

/** Puts together what a run does and sees from this box. */
export function failoverPorts(
  { loaded, store }: FailoverBoxParts,
  context: FailoverContext & Pick<FailoverChoice, "allowedMissing">,
  journal: FailoverPorts["journal"],
): FailoverPorts & AsyncDisposable {
  const { clock, random, env, cwd } = context;
  const { config } = loaded;
  const own = openedOnce(loaded, context);
  const kept = new Map<string, KeptSession>();
  return {
    store,
    clock,
    random,
    journal,
    hasFenceCommand: config.failover.fenceCommand !== null,
    lookAtServer: async (box, signal) => await lookAtServer(loaded, box, { clock, signal, own, kept }),
    probeServices: async ({ node, address }, signal) =>
      await servicesEvidence(loaded, { node, host: announcedAddress(address).host }, signal),
    actHere: async (signal) => {
      // Of two that act for one box each may find the other half-way: serve does, wherever it runs.
      if ((await readDaemonFile(loaded.paths.servePidFile)).status === "running") return;
      const server = ownPostgres(config) === null ? null : await own();
      await actOnEpoch({ loaded, store, server, random, signal });
    },
    runHook: async (hook, handOver, signal) => await runFailoverHook(hook, config, handOver, { env, signal }),
    checkBox: async () => await checkBox(loaded, context),
    [Symbol.asyncDispose]: async () => {
      await Promise.all([...kept.values()].map(async (session) => await session[Symbol.asyncDispose]()));
    },
    findUnfit: async (boxes: readonly LedgerBox[], signal) => {
      if (!boxes.some(({ node }) => node === config.node.name)) return new Map();
      const why = await whyUnfitHere(own, signal);
      return why === null ? new Map() : new Map([[config.node.name, why]]);
    },
    followEpoch: async (epoch) => {
      await noteEpoch(loaded.paths.stateDir, epoch);
    },
    revokeAccess: async (epoch) => {
      const bounded = { ...primaryConnection(loaded, epoch), queryTimeoutMs: WRITE_MS };
      return await withPool(bounded, async (pool) => await revokeOldAccess(pool, epoch));
    },
    seal: async (epoch, replaces) => {
      const bounded = { ...primaryConnection(loaded, epoch), queryTimeoutMs: WRITE_MS };
      return await withPool(bounded, async (pool) => await sealEpoch(pool, config.node.name, epoch, replaces));
    },
    verifyService: async (epoch, report, signal) => {
      // What the run gave up, its record says: it may have been begun by another process.
      const { value: run } = await store.get("failover");
      // Only now: it brings half the program along, for which those who cannot write would have waited.
      const { verifyService } = await import("./failover-verify.ts");
      const lost = run?.kind === "failover" ? run.from : null;
      const allowedMissing = context.allowedMissing ?? 0;
      const given = { loaded, epoch, lost, allowedMissing, clock, random, signal, cwd, report };
      return await withPool(primaryConnection(loaded, epoch), async (pool) => await verifyService({ ...given, pool }));
    },
  };
}
