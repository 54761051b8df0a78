import { FulaError } from "../../kernel/errors.ts";
import type { SiteSession } from "../../runtime/postgres-site.ts";
import { configFileOf, patientWith, type ReplicaWork, runLong } from "./replica-work.ts";
import { runScript } from "./site-files.ts";

/**
 * Nobody can connect to a server in this mode, and whoever would archive or remove WAL does nothing: it may be what a rewind
 * still has to read.
 */
const SETTINGS: Readonly<Record<string, string>> = {
  archive_mode: "on",
  archive_command: "false",
  wal_keep_size: "1000TB",
  default_transaction_read_only: "on",
  synchronous_standby_names: "",
  restore_command: "",
  log_min_messages: "warning",
};

// A signal file asks for a recovery that this mode does not know.
const NO_STANDBY = 'cd "$1" && rm -f standby.signal recovery.signal && sync .';
// Whoever starts it next makes no primary of it, whatever it was.
const STANDBY = 'cd "$1" && : >standby.signal && sync standby.signal .';
const CLEANUP_MS = 30_000;

/**
 * Brings a stopped server to the end of the WAL that it has, runs statements there, and stops it in order: the only way to a
 * clean shutdown of a server that nobody may be let into. It is left as a standby. A marker stands beside it meanwhile.
 * @param statements none writes to the database
 * @throws FulaError FULA_RECOVERY_STEP where the server does not get up, or a statement fails
 */
export async function runSingleUser(
  work: ReplicaWork,
  files: SiteSession,
  statements: readonly string[],
  signal: AbortSignal,
): Promise<void> {
  const { site } = work.server;
  await runScript(files, `prepare ${site.where}`, NO_STANDBY, [site.dataDir]);
  try {
    await recover(work, files, statements, signal);
  } finally {
    await using after = await site.open(AbortSignal.timeout(CLEANUP_MS));
    await runScript(after, `make ${site.where} a standby`, STANDBY, [site.dataDir]);
  }
}

async function recover(
  work: ReplicaWork,
  files: SiteSession,
  statements: readonly string[],
  signal: AbortSignal,
): Promise<void> {
  const { site } = work.server;
  const settings = Object.entries({ ...SETTINGS, config_file: configFileOf(work.server) });
  const options = settings.flatMap(([name, value]) => ["-c", `${name}=${value}`]);
  const errors: string[] = [];
  const watched: ReplicaWork = {
    ...patientWith(work),
    onProgress: (line) => {
      if (/\b(?:ERROR|FATAL|PANIC):/.test(line)) errors.push(line.trim());
      work.onProgress(line);
    },
  };
  await runLong(watched, files, `recover ${site.where} by itself`, "postgres", {
    args: ["--single", "-j", "-D", site.dataDir, ...options, work.database],
    // With -j, a semicolon and an empty line end a statement.
    stdin: statements.map((statement) => `${statement};\n\n`).join(""),
    signal,
  });
  // In this mode a statement that failed ends neither the server nor with an exit code.
  const [first] = errors;
  if (first === undefined) return;
  throw new FulaError("FULA_RECOVERY_STEP", `A statement failed at ${site.where} by itself: ${first}`, {
    hint: "nothing of the database was changed; the statement reads what is to be kept before it is discarded.",
  });
}
