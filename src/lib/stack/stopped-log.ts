import { FulaError } from "../kernel/errors.ts";
import type { LedgerServer } from "../recovery/postgres/ledger-server.ts";

/** Where the log of a server that was stopped in order ends. */
export interface StoppedLog {
  readonly timeline: number;
  /** Where its last record, the checkpoint of the stop, begins. */
  readonly lastRecordLsn: string;
}

/** A program that looks into one file. */
const LOOK_MS = 30_000;

function fieldOf(text: string, name: string): string | null {
  const line = text.split("\n").find((each) => each.startsWith(`${name}:`));
  return line === undefined ? null : line.slice(name.length + 1).trim();
}

/**
 * Reads from the control file of a stopped server where its log ends.
 * @returns null where it was not stopped in order: its log may go on after its last checkpoint
 * @throws FulaError FULA_RECOVERY_STEP, FULA_POSTGRES_BINARIES
 */
export async function readStoppedLog({ site }: LedgerServer, signal: AbortSignal): Promise<StoppedLog | null> {
  await using files = await site.open(signal);
  const run = { args: ["-D", site.dataDir], env: { LC_ALL: "C" }, timeoutMs: LOOK_MS };
  const { exitCode, stdout, stderr } = await files.run("pg_controldata", run);
  if (exitCode !== 0) {
    throw new FulaError("FULA_RECOVERY_STEP", `pg_controldata cannot read ${site.where}: ${stderr.trim()}.`, {
      hint: "fula-master resync --explain says what this box's data are good for.",
    });
  }
  if (fieldOf(stdout, "Database cluster state") !== "shut down") return null;
  const [lastRecordLsn, timeline] = [
    fieldOf(stdout, "Latest checkpoint location"),
    Number(fieldOf(stdout, "Latest checkpoint's TimeLineID")),
  ];
  return lastRecordLsn === null || !Number.isInteger(timeline) || timeline < 1 ? null : { timeline, lastRecordLsn };
}
