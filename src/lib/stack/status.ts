import { dirname } from "node:path";
import { z } from "zod";
import { type LoadedConfig, loadConfig } from "../config/load.ts";
import type { PathsContext } from "../config/paths.ts";
import type { Config } from "../config/schema.ts";
import type { Clock } from "../kernel/clock.ts";
import { isFulaError, messageOf } from "../kernel/errors.ts";
import { toolVersion } from "../kernel/project.ts";
import { probeHttp } from "../runtime/http-probe.ts";
import { diskRoom } from "../runtime/host.ts";
import { lastGoodSnapshot } from "../pinset/catalog.ts";
import { readSigningKey } from "../pinset/signing.ts";
import { readSweepReport } from "../pinset/sweep-report.ts";
import { loadTrustedKeys } from "../pinset/trust.ts";
import { daemonState } from "./daemon.ts";
import { type Installation, readInstallation } from "./installation.ts";
import { findUnfinishedRun } from "./join-journal.ts";
import { lookAtSchedule, type ScheduleLook } from "./join-steps-schedules.ts";
import { peekLedger } from "./ledger-peek.ts";
import { openPinCluster } from "./pinset.ts";
import { DISK_THRESHOLDS } from "./preflight-base-dir.ts";
import type { ScheduleKind } from "./schedules.ts";
import { lookAtSchema } from "./schema-look.ts";
import { settingWarnings, type Warning } from "./warnings.ts";
import { formatCount } from "../kernel/units.ts";

/**
 * How one part is. `bad` makes the master unhealthy; a part that could not be looked at is `bad`, never `ok`.
 * `attention` is for a person to look at; it does not make the master unhealthy.
 */
export type PartState = "ok" | "attention" | "bad";

/** What every part of the status has. */
export interface Part {
  readonly state: PartState;
  /** Why it is not `ok`; null where it is. */
  readonly problem: string | null;
}

/** One dependency as `/readyz` reports it. */
export interface ReadinessCheck {
  readonly name: string;
  readonly state: "ok" | "degraded" | "failed";
  readonly error: string | null;
}

/** What `status --json` prints; docs/status.md documents every field. */
export interface StatusReport {
  readonly healthy: boolean;
  readonly joined: boolean;
  /** RFC 3339, UTC. */
  readonly at: string;
  readonly version: string;
  readonly baseDir: string;
  /** Null where nothing is joined, as are all the parts below. */
  readonly node: {
    readonly role: "master";
    readonly name: string;
    readonly clusterId: string;
    readonly runtime: string;
    readonly joinedAt: string;
  } | null;
  readonly serve: ServePart | null;
  readonly ledger: LedgerPart | null;
  readonly pins: (Part & { readonly count: number | null }) | null;
  readonly disk:
    | (Part & { readonly path: string; readonly freeBytes: number | null; readonly totalBytes: number | null })
    | null;
  readonly snapshot: SnapshotPart | null;
  readonly sweep: SweepPart | null;
  readonly schedules:
    | (Part & {
        readonly jobs: readonly { readonly kind: ScheduleKind; readonly state: ScheduleLook["state"] }[];
      })
    | null;
  readonly key: (Part & { readonly keyId: string | null }) | null;
  readonly warnings: readonly Warning[];
}

/** The process that serves. */
export interface ServePart extends Part {
  readonly pid: number | null;
  readonly since: string | null;
  readonly endpoints: { readonly gateway: string; readonly operations: string };
  /** Empty where nobody answered. */
  readonly checks: readonly ReadinessCheck[];
}

/** The ledger's database. */
export interface LedgerPart extends Part {
  readonly mode: Config["postgres"]["mode"];
  readonly serverVersion: string | null;
  /** Number of the highest migration in effect. */
  readonly schemaVersion: number | null;
  /** What `migrate up` would do. */
  readonly pending: readonly string[];
}

/** The file system that the stores are on. */
export interface DiskPart extends Part {
  readonly path: string;
  readonly freeBytes: number | null;
  readonly totalBytes: number | null;
}

/** The last good snapshot. */
export interface SnapshotPart extends Part {
  readonly sequence: number | null;
  readonly time: string | null;
  readonly ageMs: number | null;
  readonly maxAgeMs: number;
  readonly pinCount: number | null;
}

/** The last sweep. */
export interface SweepPart extends Part {
  readonly time: string | null;
  readonly ageMs: number | null;
  readonly outcome: string | null;
  readonly pins: number | null;
  readonly below: number | null;
}

/** What `readStatus` takes. */
export interface StatusContext extends PathsContext {
  readonly clock: Clock;
  readonly signal: AbortSignal;
}

/** A sweep that has not run for that long does not run at all; it is due every half hour. */
const SWEEP_AGE_MAX_MS = 24 * 3_600_000;
const READYZ_TIMEOUT_MS = 10_000;

const OK: Part = { state: "ok", problem: null };

function bad(problem: string): Part {
  return { state: "bad", problem };
}

function describeError(error: unknown): string {
  return isFulaError(error) ? `${error.code}: ${error.message}` : messageOf(error);
}

/** Looks at one part; what cannot be looked at is bad. */
async function look<T extends Part>(unknown: Omit<T, keyof Part>, read: () => Promise<T>): Promise<T> {
  try {
    return await read();
  } catch (error) {
    // oxlint-disable-next-line typescript/no-unsafe-type-assertion -- the unknown part and the two fields of Part are all of T
    return { ...unknown, ...bad(describeError(error)) } as T;
  }
}

const readinessSchema = z.object({
  status: z.string(),
  checks: z.array(
    z.object({ name: z.string(), state: z.enum(["ok", "degraded", "failed"]), error: z.string().nullable() }),
  ),
});

function parseReadiness(body: string): readonly ReadinessCheck[] | null {
  try {
    const parsed = readinessSchema.safeParse(JSON.parse(body));
    return parsed.success ? parsed.data.checks.map(({ name, state, error }) => ({ name, state, error })) : null;
  } catch {
    return null;
  }
}

function urlOf({ host, port }: { readonly host: string; readonly port: number }): string {
  return `http://${host.includes(":") ? `[${host}]` : host}:${port}`;
}

async function readServe(loaded: LoadedConfig, signal: AbortSignal): Promise<ServePart> {
  const { server, gateway } = loaded.config;
  const endpoints = { gateway: urlOf(gateway), operations: urlOf(server) };
  const nobody = { pid: null, since: null, endpoints, checks: [] };
  return await look<ServePart>(nobody, async () => {
    const state = await daemonState(loaded, signal);
    if (state.status === "stopped") {
      const { stale } = state;
      const crashed = stale === null ? "" : ` (process ${stale.pid}, started ${stale.since}, ended without a stop)`;
      return { ...nobody, ...bad(`serve does not run${crashed}. Try: fula-master start`) };
    }
    const { pid, since } = state;
    const answer = await probeHttp(
      { host: server.host, port: server.port, path: "/readyz" },
      READYZ_TIMEOUT_MS,
      signal,
    );
    const checks = answer === null ? null : parseReadiness(answer.body);
    const known = { pid, since, endpoints, checks: checks ?? [] };
    if (answer === null) return { ...known, ...bad("serve runs, but /readyz does not answer") };
    if (checks === null)
      return { ...known, ...bad(`/readyz answers ${answer.status} with something that cannot be read`) };
    const failed = checks.filter((check) => check.state === "failed").map(({ name }) => name);
    if (answer.status !== 200 || failed.length > 0) {
      return { ...known, ...bad(`not ready: ${failed.join(", ") || `/readyz answers ${answer.status}`}`) };
    }
    const degraded = checks.filter((check) => check.state === "degraded").map(({ name }) => name);
    if (degraded.length === 0) return { ...known, ...OK };
    return { ...known, state: "attention", problem: `degraded: ${degraded.join(", ")}` };
  });
}

async function readLedger(loaded: LoadedConfig): Promise<LedgerPart> {
  const { mode } = loaded.config.postgres;
  const nothing = { mode, serverVersion: null, schemaVersion: null, pending: [] };
  return await look<LedgerPart>(nothing, async () => {
    const found = await peekLedger(loaded, async (pool) => {
      const { rows } = await pool.query<{ version: string }>("select current_setting('server_version') as version");
      return { serverVersion: rows[0]?.version ?? null, schema: await lookAtSchema(pool) };
    });
    if (found === null) return { ...nothing, ...bad("the embedded PostgreSQL does not run. Try: fula-master start") };
    const { serverVersion, schema } = found;
    const known = { mode, serverVersion, schemaVersion: schema.version, pending: schema.toDo };
    if (schema.toDo.length === 0) return { ...known, ...OK };
    return { ...known, ...bad(`${schema.toDo.length} migrations are missing. Try: fula-master migrate up`) };
  });
}

async function readPins(loaded: LoadedConfig, { clock, signal }: StatusContext): Promise<StatusReport["pins"]> {
  return await look({ count: null }, async () => {
    await using pins = await openPinCluster(loaded, { clock });
    return { count: await pins.count(signal), ...OK };
  });
}

async function readDisk({ paths }: LoadedConfig): Promise<DiskPart> {
  const path = dirname(paths.blocksDir);
  return await look<DiskPart>({ path, freeBytes: null, totalBytes: null }, async () => {
    const { bytesFree, bytesTotal, inodesFree } = await diskRoom(path);
    const known = { path, freeBytes: bytesFree, totalBytes: bytesTotal };
    const full =
      bytesFree < DISK_THRESHOLDS.bytesMin || (inodesFree !== null && inodesFree < DISK_THRESHOLDS.inodesMin);
    if (full) return { ...known, ...bad(`the file system is almost full. Try: df -h ${path}; df -i ${path}`) };
    return { ...known, ...OK };
  });
}

async function readSnapshot(loaded: LoadedConfig, clock: Clock): Promise<SnapshotPart> {
  const { config, paths } = loaded;
  const maxAgeMs = config.snapshot.maxAge;
  const nothing = { sequence: null, time: null, ageMs: null, maxAgeMs, pinCount: null };
  return await look<SnapshotPart>(nothing, async () => {
    const trustedKeys = await loadTrustedKeys(paths.keysDir, config.snapshot.trustedKeys);
    const last = await lastGoodSnapshot(paths.snapshotsDir, { trustedKeys, clusterId: config.node.clusterId, clock });
    if (last === null) return { ...nothing, ...bad("there is no good snapshot. Try: fula-master snapshot") };
    const { sequence, time, pinCount } = last.manifest;
    const known = { sequence, time, ageMs: last.ageMs, maxAgeMs, pinCount };
    if (last.ageMs <= maxAgeMs) return { ...known, ...OK };
    return { ...known, ...bad("the last good snapshot is stale. Try: fula-master snapshot") };
  });
}

async function readSweep(loaded: LoadedConfig, installation: Installation, clock: Clock): Promise<SweepPart> {
  const nothing = { time: null, ageMs: null, outcome: null, pins: null, below: null };
  return await look<SweepPart>(nothing, async () => {
    const report = await readSweepReport(loaded.paths.sweepReportFile);
    const nowMs = clock.nowMs();
    if (report === null) {
      const joinedMs = nowMs - Date.parse(installation.createdAt);
      if (joinedMs <= SWEEP_AGE_MAX_MS) return { ...nothing, state: "ok", problem: null };
      return { ...nothing, ...bad("no sweep has ever run. Try: fula-master sweep") };
    }
    const { finishedAt, outcome, pins, belowAfter } = report;
    const ageMs = nowMs - Date.parse(finishedAt);
    const known = { time: finishedAt, ageMs, outcome, pins, below: belowAfter };
    if (outcome === "below")
      return {
        ...known,
        ...bad(`${formatCount(belowAfter, "pin is", "pins are")} held by too few peers. Try: fula-master sweep`),
      };
    if (outcome !== "ok") return { ...known, ...bad(report.error?.message ?? `the last sweep was ${outcome}`) };
    if (ageMs > SWEEP_AGE_MAX_MS) return { ...known, ...bad("the last sweep is too old. Try: fula-master sweep") };
    return { ...known, ...OK };
  });
}

async function readSchedules(loaded: LoadedConfig, rootDir: string): Promise<StatusReport["schedules"]> {
  return await look({ jobs: [] }, async () => {
    const looks = await Promise.all(
      (["snapshot", "sweep", "boot"] as const).map(async (kind) => await lookAtSchedule(kind, loaded, rootDir)),
    );
    const jobs = looks.map(({ kind, state }) => ({ kind, state }));
    const missing = jobs.filter(({ state }) => state !== "installed").map(({ kind, state }) => `${kind} (${state})`);
    if (missing.length === 0) return { jobs, ...OK };
    const scheduler = looks[0]?.plan.scheduler;
    const problem =
      scheduler?.kind === "none"
        ? `${scheduler.because}; fula-master join prints the lines for a crontab`
        : `not as fula-master installs it: ${missing.join(", ")}. Try: fula-master join`;
    return { jobs, state: "attention", problem };
  });
}

async function readKey({ paths }: LoadedConfig): Promise<StatusReport["key"]> {
  return await look({ keyId: null }, async () => {
    const key = await readSigningKey(paths.keysDir);
    return key === null ? { keyId: null, ...bad("the snapshot key is missing") } : { keyId: key.keyId, ...OK };
  });
}

async function unfinishedJoin({ paths }: LoadedConfig): Promise<readonly Warning[]> {
  const run = await findUnfinishedRun(paths.journalDir);
  if (run === null) return [];
  return [
    {
      id: "join-unfinished",
      message: `The join of ${run.startedAt} stopped ${run.stoppedAt === null ? "before its first step" : `at the step "${run.stoppedAt}"`}.`,
      remedy: "fula-master join goes on where it stopped.",
    },
  ];
}

const NOTHING_JOINED = {
  healthy: false,
  joined: false,
  node: null,
  serve: null,
  ledger: null,
  pins: null,
  disk: null,
  snapshot: null,
  sweep: null,
  schedules: null,
  key: null,
  warnings: [],
} as const;

/**
 * Looks at every part of this master, all at the same time, and changes nothing. Never throws for a part that is down.
 * @throws FulaError FULA_CONFIG_* where the settings cannot be read at all, FULA_STATE_NEWER, FULA_BASE_DIR_FOREIGN
 */
export async function readStatus(context: StatusContext, scheduleRoot = "/"): Promise<StatusReport> {
  const { clock, signal } = context;
  const loaded = await loadConfig(context);
  const { baseDir, stateDir } = loaded.paths;
  const base = { at: new Date(clock.nowMs()).toISOString(), version: toolVersion(), baseDir };
  const installation = await readInstallation(stateDir);
  if (installation === null) return { ...base, ...NOTHING_JOINED };
  const [serve, ledger, pins, disk, snapshot, sweep, schedules, key] = await Promise.all([
    readServe(loaded, signal),
    readLedger(loaded),
    readPins(loaded, context),
    readDisk(loaded),
    readSnapshot(loaded, clock),
    readSweep(loaded, installation, clock),
    readSchedules(loaded, scheduleRoot),
    readKey(loaded),
  ]);
  const parts = [serve, ledger, pins, disk, snapshot, sweep, schedules, key];
  const { config } = loaded;
  return {
    ...base,
    healthy: parts.every((part) => part !== null && part.state !== "bad"),
    joined: true,
    node: {
      role: "master",
      name: config.node.name,
      clusterId: installation.clusterId,
      runtime: config.runtime,
      joinedAt: installation.createdAt,
    },
    serve,
    ledger,
    pins,
    disk,
    snapshot,
    sweep,
    schedules,
    key,
    warnings: [...settingWarnings(loaded), ...(await unfinishedJoin(loaded))],
  };
}
