import { FulaError } from "../kernel/errors.ts";
import type { LedgerServer } from "../recovery/postgres/ledger-server.ts";

/** Where the log of a stopped server ends. */
export interface StoppedLog {
  /** Whether it was stopped in order: else its log may go on after its last checkpoint. */
  readonly inOrder: boolean;
  readonly timeline: number;
  /** Where its last checkpoint begins: that of the stop, its last record, where it stopped in order. */
  readonly checkpointLsn: string;
}

/** A program that looks into one file. */
const LOOK_MS = 30_000;

function fieldOf(text: string, name: string): string | null {
  const line = text.split("\n").find((each) => each.startsWith(`${name}:`));
  return line === undefined ? null : line.slice(name.length + 1).trim();
}

/**
 * Reads from the control file of a stopped server where its log ends.
 * @returns null where the control file does not say
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
  const inOrder = fieldOf(stdout, "Database cluster state") === "shut down";
  const [checkpointLsn, timeline] = [
    fieldOf(stdout, "Latest checkpoint location"),
    Number(fieldOf(stdout, "Latest checkpoint's TimeLineID")),
  ];
  if (checkpointLsn === null || !Number.isInteger(timeline) || timeline < 1) return null;
  return { inOrder, timeline, checkpointLsn };
}
