import { FulaError, isFulaError } from "../../kernel/errors.ts";
import { sqlStateOf } from "../../postgres/database-errors.ts";
import type { SiteSession } from "../../runtime/postgres-site.ts";
import { type Lsn, parseLsn } from "../lsn.ts";
import { askOne } from "./ledger-server.ts";
import { assertNoMarker, removeMarker } from "./marker.ts";
import { keepOwnConfig, restoreOwnConfig } from "./own-config.ts";
import { type PrimaryLink, renderConninfo } from "./primary-link.ts";
import { configFileOf, type ReplicaWork, runLong } from "./replica-work.ts";
import { salvageTail } from "./salvage.ts";
import { runSingleUser } from "./single-user.ts";
import { giveBack, mark, takeServer } from "./take-server.ts";

/** What `pg_rewind` says before it changes the first byte. */
const WRITES = /need to copy \d+ MB/;
const COMMON_CHECKPOINT = /rewinding from last common checkpoint at ([0-9A-F]+\/[0-9A-F]+) on timeline \d+/;
const CLEANUP_MS = 30_000;

/**
 * Takes back what this box's server has of its own by `pg_rewind`, after what that discards was kept. The server is stopped,
 * and stays so.
 * @param fromLsn the common checkpoint below which nothing has to be taken back
 * @returns the position from which it goes on
 * @throws FulaError FULA_RECOVERY_STEP where it failed: the marker stands then where data may be half rewritten, and only
 * there; FULA_RECOVERY_SALVAGE where the rows could not be kept, and nothing was rewritten then
 */
export async function rewindData(work: ReplicaWork, fromLsn: Lsn, signal: AbortSignal): Promise<Lsn> {
  const { site } = work.server;
  await using files = await site.open(signal);
  try {
    await assertNoMarker(files, site);
    await takeServer(work, files, "rewind");
    await prepare(work, files, signal);
    await checkpointSource(work.following.primary);
    await keepOwnConfig(files, site);
    await mark(work, files, "rewind", "write");
  } catch (error) {
    await giveBack(work);
    throw error;
  }
  const common = await runRewind(work, files, signal);
  await restoreOwnConfig(files, site);
  await removeMarker(files, site);
  await flushSource(work.following.primary);
  return common > fromLsn ? common : fromLsn;
}

/** Keeps the tail and shuts the server down in order, as `pg_rewind` asks. */
async function prepare(work: ReplicaWork, files: SiteSession, signal: AbortSignal): Promise<void> {
  if (work.tail === null) {
    await runSingleUser(work, files, [], signal);
    return;
  }
  const { failure, dir } = await salvageTail(work, files, work.tail, signal);
  if (failure === null) return;
  throw new FulaError(
    "FULA_RECOVERY_SALVAGE",
    `The rows that ${work.server.site.where} alone has could not be kept: ${failure} Its WAL is in ${dir}.`,
    { hint: "it is not rewound: a new copy is made beside its data, which stay where they are." },
  );
}

/**
 * Makes sure that the source's control file names its timeline. Before the first checkpoint after a promotion it names the
 * one before, and `pg_rewind` finds nothing to do.
 */
async function checkpointSource(primary: PrimaryLink): Promise<void> {
  await using session = await primary.connect();
  const isCurrent = async (): Promise<boolean> => {
    const row = await askOne<{ current: boolean }>(session, {
      name: "recovery_checkpoint_timeline",
      text: `
        select timeline_id = ('x' || left(pg_walfile_name(pg_current_wal_lsn()), 8))::bit(32)::int as current
          from pg_control_checkpoint()`,
      values: [],
    });
    return row.current;
  };
  if (await isCurrent()) return;
  try {
    await session.query({ name: "recovery_checkpoint", text: "checkpoint", values: [] });
  } catch (error) {
    // insufficient_privilege: a role without pg_checkpoint cannot ask for one, only look.
    if (sqlStateOf(error) !== "42501") throw error;
  }
  if (await isCurrent()) return;
  throw new FulaError("FULA_RECOVERY_STEP", `${primary.node} has made no checkpoint since it was promoted.`, {
    hint: `run "checkpoint" as superuser in its database, then run the command again.`,
  });
}

/** `pg_rewind` ended before it wrote: the data are as they were. */
async function undoMark(work: ReplicaWork): Promise<void> {
  const { site } = work.server;
  await using files = await site.open(AbortSignal.timeout(CLEANUP_MS));
  await mark(work, files, "rewind", "scan");
  await giveBack(work);
}

/**
 * Has the primary flush its log as far as it is written. A rewound server is not consistent before it has that, and a
 * primary that has nothing to do would flush the last records after ten seconds.
 */
async function flushSource(primary: PrimaryLink): Promise<void> {
  await using session = await primary.connect();
  await session.query({
    name: "recovery_commit_here",
    text: "select set_config('synchronous_commit', 'local', false)",
    values: [],
  });
  await session.query({
    name: "recovery_flush",
    text: "select pg_logical_emit_message(true, 'fula-master', 'flush')",
    values: [],
  });
}

async function runRewind(work: ReplicaWork, files: SiteSession, signal: AbortSignal): Promise<Lsn> {
  const { server, following } = work;
  let isWriting = false;
  let common: Lsn | null = null;
  const watched: ReplicaWork = {
    ...work,
    onProgress: (line) => {
      isWriting ||= WRITES.test(line);
      const [, lsn] = COMMON_CHECKPOINT.exec(line) ?? [];
      if (lsn !== undefined) common = parseLsn(lsn);
      work.onProgress(line);
    },
  };
  const source = renderConninfo({ ...following.primary.conninfo, application_name: `${server.node}-rewind` });
  const args = ["-D", server.site.dataDir, "--no-ensure-shutdown", "-P", `--config-file=${configFileOf(server)}`];
  try {
    await runLong(watched, files, `rewind ${server.site.where}`, "pg_rewind", {
      args: [...args, `--source-server=${source}`],
      signal,
    });
  } catch (error) {
    // Only of a program that ended, or that we ended, has all been heard that it said.
    const isHeard = signal.aborted || isFulaError(error, "FULA_RECOVERY_STEP");
    if (isHeard && !isWriting) await undoMark(work);
    throw error;
  }
  if (common !== null) return common;
  await undoMark(work);
  throw new FulaError("FULA_RECOVERY_STEP", `pg_rewind found nothing to take back at ${server.site.where}.`, {
    hint: "both may have the same timeline under different epochs, which it cannot see: a new copy is what helps.",
  });
}
