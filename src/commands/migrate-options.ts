import { FulaError } from "../lib/kernel/errors.ts";
import { parseDurationMs } from "../lib/kernel/units.ts";
import type { MigrateOptions } from "../lib/postgres/migration-lock.ts";
import type { CommandContext, OptionSpec } from "../lib/terminal/command.ts";

/** Options that every `migrate` command takes. */
export interface DatabaseOptions {
  readonly postgresUrl?: string;
  readonly lockWait?: string;
}

/** Which database. */
export const URL_OPTION: OptionSpec = {
  flags: "--postgres-url <url>",
  description: "another database than the ledger; password in PGPASSWORD or in the URL",
};
/** How long to wait for the migration lock. */
export const LOCK_OPTION: OptionSpec = {
  flags: "--lock-wait <duration>",
  description: "how long to wait for another installer (default: 5m)",
};

/** Options of every migrating command: the lock's, the signal, and progress on stderr. */
export async function migrateOptions(
  { out, clock, signal }: CommandContext,
  lockWait?: string,
): Promise<MigrateOptions> {
  const { eventText } = await import("../lib/postgres/migration-text.ts");
  const lockWaitMs = lockWait === undefined ? undefined : parseDurationMs(lockWait);
  if (lockWaitMs === null) {
    throw new FulaError("FULA_USAGE", `--lock-wait ${lockWait} is no duration.`, {
      hint: "write it as 30s, 5m or 1h.",
    });
  }
  return {
    clock,
    signal,
    ...(lockWaitMs === undefined ? {} : { lockWaitMs }),
    report: (event) => {
      const text = eventText(event);
      if (text !== null) out.note(text);
    },
  };
}
