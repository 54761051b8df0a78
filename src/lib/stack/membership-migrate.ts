import { resolve } from "node:path";
import { changeSetting } from "../config/change.ts";
import { type LoadedConfig, loadConfig } from "../config/load.ts";
import { FulaError, isFulaError } from "../kernel/errors.ts";
import { exists } from "../kernel/files.ts";
import {
  compareSnapshots,
  countRecords,
  type Differences,
  lossesByImport,
  otherState,
  type RecordCounts,
  toldDifferences,
  writeWholeState,
} from "../membership/migrate.ts";
import type { MembershipSnapshot } from "../membership/records.ts";
import { fileIdentity } from "../membership/sqlite/database.ts";
import { holdWrites } from "../membership/sqlite/moving.ts";
import { openSqliteStore } from "../membership/sqlite/sqlite-store.ts";
import { controlPlaneAddress, withControlPlane } from "./control-plane.ts";
import type { MembershipContext } from "./membership-run.ts";

/** What `membership migrate-to-kv` is given; what is null comes from the settings. */
export interface MigrateOptions {
  /** The SQLite control plane. */
  readonly db: string | null;
  /** One address, or several with commas. */
  readonly natsUrl: string | null;
  readonly replicas: number | null;
  readonly caFile: string | null;
  readonly nkeyFile: string | null;
  /** False makes no backup first. */
  readonly backup: boolean;
  readonly overwrite: boolean;
  readonly dryRun: boolean;
  readonly onWait: (sentence: string) => void;
  readonly onProgress: (done: number, total: number) => void;
}

/** A setting as it must be for this box to use the servers. */
export interface WantedSetting {
  readonly key: string;
  readonly value: string;
}

/** What `membership migrate-to-kv` did; `--json` keeps these fields. */
export interface MigrateReport {
  readonly dryRun: boolean;
  readonly db: string;
  readonly servers: string;
  /** Null where none was made. */
  readonly backup: string | null;
  readonly records: RecordCounts;
  /** What the servers had and was taken away or set back, or would be. */
  readonly losses: Differences;
  /** True where the settings of this box were changed, and the file refuses every question from now on. */
  readonly switched: boolean;
  readonly settings: readonly WantedSetting[];
}

/** The configuration as it would be on the servers, and the settings that make it so. */
interface Target {
  readonly loaded: LoadedConfig;
  readonly settings: readonly WantedSetting[];
}

/** @throws FulaError FULA_USAGE where neither the options nor the settings say where the servers are */
function targetOf(loaded: LoadedConfig, options: MigrateOptions, cwd: string): Target {
  const { natsUrl, replicas, caFile, nkeyFile } = options;
  const present = loaded.config.controlPlane;
  const servers = natsUrl === null ? present.servers : natsUrl.split(",").map((url) => url.trim());
  const mode: "docker" | "nats" =
    natsUrl === null && (present.mode === "docker" || servers.length === 0) ? "docker" : "nats";
  if (mode === "docker" && loaded.config.runtime !== "docker") {
    throw new FulaError("FULA_USAGE", "Nothing says where the NATS servers are.", {
      hint: "fula-master membership migrate-to-kv --nats-url nats://127.0.0.1:4222",
    });
  }
  const inCwd = (path: string | null): string | null => (path === null ? null : resolve(cwd, path));
  const ca = inCwd(caFile) ?? present.caFile;
  const nkey = inCwd(nkeyFile) ?? present.nkeyFile;
  const controlPlane = {
    ...present,
    mode,
    servers,
    caFile: ca,
    nkeyFile: nkey,
    replicas: replicas ?? present.replicas,
  };
  const isNats = mode === "nats";
  return {
    loaded: { ...loaded, config: { ...loaded.config, controlPlane } },
    // The mode comes last: a run that is cut off before leaves the box where it was.
    settings: [
      ...(isNats && ca !== null ? [{ key: "controlPlane.caFile", value: ca }] : []),
      ...(isNats && nkey !== null ? [{ key: "controlPlane.nkeyFile", value: nkey }] : []),
      ...(replicas === null ? [] : [{ key: "controlPlane.replicas", value: String(replicas) }]),
      ...(isNats ? [{ key: "controlPlane.servers", value: servers.join(",") }] : []),
      { key: "controlPlane.mode", value: mode },
    ],
  };
}

async function readFileState(context: MembershipContext, path: string, timeoutMs: number): Promise<MembershipSnapshot> {
  await using store = await openSqliteStore(path, { clock: context.clock, timeoutMs });
  return await store.exportSnapshot();
}

/** @throws FulaError FULA_MEMBERSHIP_DIFFERS where the backup does not open, or has another state */
async function checkBackup(
  context: MembershipContext,
  backup: string,
  { snapshot, timeoutMs }: { readonly snapshot: MembershipSnapshot; readonly timeoutMs: number },
): Promise<void> {
  const differences = compareSnapshots(snapshot, await readFileState(context, backup, timeoutMs));
  if (differences.count === 0) return;
  throw new FulaError(
    "FULA_MEMBERSHIP_DIFFERS",
    `The backup ${backup} has not what it was made of: ${toldDifferences(differences)}.`,
    { hint: "look at the disk that it lies on; nothing was moved.", details: { backup } },
  );
}

function backupPathFor(db: string, nowMs: number): string {
  return `${db}.${new Date(nowMs).toISOString().replaceAll(/[-:.]/g, "")}.backup`;
}

async function plan(
  context: MembershipContext,
  target: LoadedConfig,
  snapshot: MembershipSnapshot,
  { onWait }: MigrateOptions,
): Promise<Differences> {
  try {
    return await withControlPlane(
      target,
      { ...context, patience: "bootstrap", readOnly: true, onWait },
      async (store) => lossesByImport(await store.exportSnapshot(), snapshot),
    );
  } catch (error) {
    // No buckets yet: there is nothing to lose.
    if (isFulaError(error, "FULA_MEMBERSHIP_NOT_FOUND")) return { count: 0, first: [] };
    throw error;
  }
}

/** Nobody writes to the file from the backup on until the box is on the servers, so nothing falls between the two. */
async function move(
  context: MembershipContext,
  db: string,
  { target, isOwn, options }: { readonly target: Target; readonly isOwn: boolean; readonly options: MigrateOptions },
): Promise<Pick<MigrateReport, "backup" | "losses" | "records">> {
  const { clock } = context;
  const { timeout: timeoutMs } = target.loaded.config.controlPlane;
  const { overwrite, onProgress, onWait } = options;
  await using held = await holdWrites(db, { clock, timeoutMs });
  const snapshot = await readFileState(context, db, timeoutMs);
  const backup = options.backup ? backupPathFor(db, clock.nowMs()) : null;
  if (backup !== null) {
    await held.backUp(backup);
    await checkBackup(context, backup, { snapshot, timeoutMs });
  }
  const losses = await withControlPlane(
    target.loaded,
    { ...context, patience: "bootstrap", onWait },
    async (store) => await writeWholeState(snapshot, store, { overwrite, onProgress }),
  );
  if (isOwn) {
    for (const { key, value } of target.settings) await changeSetting(context, key, value, { dryRun: false });
    held.retire(controlPlaneAddress(target.loaded), new Date(clock.nowMs()).toISOString());
  }
  return { backup, losses, records: countRecords(snapshot) };
}

/**
 * Moves a control plane from an SQLite file to NATS servers: backup, copy, comparison; where it is this box's own, its
 * settings are changed and the file is retired. Killed anywhere, it can be run again.
 * @throws FulaError FULA_USAGE, FULA_MEMBERSHIP_OTHER_STATE, FULA_MEMBERSHIP_DIFFERS, FULA_CONTROL_PLANE_UNREACHABLE,
 *   FULA_CONTROL_PLANE_UNREADABLE, FULA_DISK_FULL, FULA_PATH_NOT_WRITABLE, and what `changeSetting` throws
 */
export async function migrateToKv(context: MembershipContext, options: MigrateOptions): Promise<MigrateReport> {
  const loaded = await loadConfig(context);
  const target = targetOf(loaded, options, context.cwd);
  const own = loaded.paths.controlPlaneFile;
  const db = options.db === null ? own : resolve(context.cwd, options.db);
  if (!(await exists(db))) {
    throw new FulaError("FULA_USAGE", `There is no control plane in ${db}.`, {
      hint: "name the SQLite file with --db.",
    });
  }
  const { dryRun } = options;
  // By the file and not by the path: there may be a link on the way.
  const isOwn = fileIdentity(db) === fileIdentity(own);
  const report = { dryRun, db, servers: controlPlaneAddress(target.loaded), settings: target.settings };
  if (!dryRun) return { ...report, ...(await move(context, db, { target, isOwn, options })), switched: isOwn };
  const snapshot = await readFileState(context, db, loaded.config.controlPlane.timeout);
  const losses = await plan(context, target.loaded, snapshot, options);
  if (losses.count > 0 && !options.overwrite) throw otherState(losses);
  return { ...report, backup: null, losses, records: countRecords(snapshot), switched: false };
}
