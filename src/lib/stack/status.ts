import { type LoadedConfig, loadConfig } from "../config/load.ts";
import type { PathsContext } from "../config/paths.ts";
import type { Clock } from "../kernel/clock.ts";
import type { Random } from "../kernel/random.ts";
import { toolVersion } from "../kernel/project.ts";
import { type Installation, readInstallation } from "./installation.ts";
import { findUnfinishedRun } from "./join-journal.ts";
import { findLastLeave, type LastLeave } from "./leave-journal.ts";
import { hasContainers } from "./stack-values.ts";
import type { LookLimits } from "./look.ts";
import { readBackupsPart } from "./status-backups.ts";
import { readBilling } from "./status-billing.ts";
import { readBucketsPart } from "./status-buckets.ts";
import { readPinningPart } from "./status-pinning.ts";
import { readControlPlanePart } from "./status-control-plane.ts";
import { readContainers, readDockerDisk } from "./status-containers.ts";
import { readAlerts, readKey, readSchedules, readSnapshot, readSweep } from "./status-records.ts";
import type { StatusParts, StatusReport } from "./status-report.ts";
import { readStandbysPart } from "./status-ledger.ts";
import { readServe } from "./status-serve.ts";
import { readDisk, readLedger, readPins } from "./status-stores.ts";
import { readCluster, readKubo, readStorage, readTrust } from "./status-writer.ts";
import { settingWarnings, type Warning } from "./warnings.ts";

/** What `readStatus` takes. */
export interface StatusContext extends PathsContext {
  readonly clock: Clock;
  readonly random: Random;
  readonly signal: AbortSignal;
}

/** How long any one part may take. All are asked at the same time, so the screen comes within this time. */
const PART_LIMIT_MS = 8_000;

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

function unfinishedLeave(leave: LastLeave | null): readonly Warning[] {
  if (leave === null || leave.finishedAt !== null) return [];
  const command = leave.purge ? "fula-master leave --purge" : "fula-master leave";
  return [
    {
      id: "leave-unfinished",
      message: `The leave of ${leave.startedAt} stopped before its end.`,
      remedy: `${command} goes on where it stopped; fula-master join brings the box back instead.`,
    },
  ];
}

const NO_PARTS: StatusParts = {
  serve: null,
  ledger: null,
  billing: null,
  buckets: null,
  pinning: null,
  controlPlane: null,
  standbys: null,
  containers: null,
  kubo: null,
  cluster: null,
  trust: null,
  storage: null,
  pins: null,
  disk: null,
  dockerDisk: null,
  backups: null,
  snapshot: null,
  sweep: null,
  alerts: null,
  schedules: null,
  key: null,
};

type SomeParts = Promise<Partial<StatusParts>>;

/** What only a master has: a storage node has no ledger, takes no snapshots and sweeps nothing. */
async function readMasterParts(
  loaded: LoadedConfig,
  installation: Installation,
  context: StatusContext,
  limits: LookLimits,
): SomeParts {
  const { random } = context;
  const [ledger, billing, buckets, pinning, controlPlane, standbys, ...records] = await Promise.all([
    readLedger(loaded, limits),
    readBilling(loaded, limits),
    readBucketsPart(loaded, limits),
    readPinningPart(loaded, limits),
    readControlPlanePart(loaded, { random }, limits),
    readStandbysPart(loaded, context, limits),
    readBackupsPart(loaded, installation, limits),
    readSnapshot(loaded, limits),
    readSweep(loaded, installation, limits),
    readAlerts(loaded, limits),
    readKey(loaded, limits),
  ]);
  const [backups, snapshot, sweep, alerts, key] = records;
  return { ledger, billing, buckets, pinning, controlPlane, standbys, backups, snapshot, sweep, alerts, key };
}

async function readServeParts(loaded: LoadedConfig, scheduleRoot: string, limits: LookLimits): SomeParts {
  const [serve, schedules] = await Promise.all([
    readServe(loaded, limits),
    readSchedules(loaded, scheduleRoot, limits),
  ]);
  return { serve, schedules };
}

async function readWriterParts(loaded: LoadedConfig, context: StatusContext, limits: LookLimits): SomeParts {
  const { blocks, cluster, node } = loaded.config;
  const isClustered = cluster.mode !== "local";
  const isStorage = node.role === "storage";
  const [kubo, peers, trust, storage] = await Promise.all([
    blocks.mode === "local" ? null : readKubo(loaded, limits),
    isClustered ? readCluster(loaded, limits) : null,
    isClustered && !isStorage ? readTrust(loaded, limits) : null,
    isStorage ? readStorage(loaded, context, limits) : null,
  ]);
  return { kubo, cluster: peers, trust, storage };
}

async function readDockerParts(loaded: LoadedConfig, env: PathsContext["env"], limits: LookLimits): SomeParts {
  if (!hasContainers(loaded.config)) return {};
  const [containers, dockerDisk] = await Promise.all([
    readContainers(loaded, env, limits),
    readDockerDisk(env, limits),
  ]);
  return { containers, dockerDisk };
}

async function readParts(
  loaded: LoadedConfig,
  installation: Installation,
  scheduleRoot: string,
  context: StatusContext,
): Promise<StatusParts> {
  const { clock, signal, env } = context;
  const limits = { clock, signal, limitMs: PART_LIMIT_MS };
  const isMaster = loaded.config.node.role === "master";
  const [pins, disk, ...others] = await Promise.all([
    readPins(loaded, limits),
    readDisk(loaded, limits),
    readWriterParts(loaded, context, limits),
    readDockerParts(loaded, env, limits),
    readServeParts(loaded, scheduleRoot, limits),
    ...(isMaster ? [readMasterParts(loaded, installation, context, limits)] : []),
  ]);
  return Object.assign({}, NO_PARTS, { pins, disk }, ...others);
}

/**
 * Looks at every part of this box, all at the same time and each for a bounded time, and changes nothing. Never throws
 * for a part that is down.
 * @throws FulaError FULA_CONFIG_* where the settings cannot be read at all, FULA_STATE_NEWER, FULA_BASE_DIR_FOREIGN
 */
export async function readStatus(context: StatusContext, scheduleRoot = "/"): Promise<StatusReport> {
  const { clock } = context;
  const loaded = await loadConfig(context);
  const { baseDir, stateDir } = loaded.paths;
  const base = { at: new Date(clock.nowMs()).toISOString(), version: toolVersion(), baseDir };
  const installation = await readInstallation(stateDir);
  if (installation === null) {
    return { ...base, healthy: false, joined: false, node: null, ...NO_PARTS, warnings: [] };
  }
  const parts = await readParts(loaded, installation, scheduleRoot, context);
  const { config } = loaded;
  const leave = await findLastLeave(loaded.paths.journalDir);
  const leftAt = leave?.finishedAt ?? null;
  return {
    ...base,
    healthy: leftAt === null && Object.values(parts).every((part) => part === null || part.state !== "bad"),
    joined: true,
    node: {
      role: config.node.role,
      name: config.node.name,
      clusterId: installation.clusterId,
      runtime: config.runtime,
      joinedAt: installation.createdAt,
      leftAt,
    },
    ...parts,
    warnings: [...settingWarnings(loaded), ...(await unfinishedJoin(loaded)), ...unfinishedLeave(leave)],
  };
}
