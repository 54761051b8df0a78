import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { type FileHandle, open, readdir, rename, rm, stat } from "node:fs/promises";
import { delimiter, dirname, join } from "node:path";
import { execa } from "execa";
import type { Pool } from "pg";
import { FulaError, messageOf, systemErrorCode } from "../kernel/errors.ts";
import { ensureDir, explainWriteError, fsyncDir, SECRET_FILE_MODE } from "../kernel/files.ts";
import { formatTarget, targetOf } from "./database-errors.ts";
import { tlsEnvironment } from "./pool.ts";

/** A pair of client tools of one PostgreSQL release. */
export interface DumpTools {
  readonly pgDump: string;
  readonly pgRestore: string;
  /** Major version of `pgDump`: 15. */
  readonly major: number;
  /** Runs the two; absent = as programs of this machine. */
  readonly runner?: DumpRunner;
}

/** How the tools are run where they are no programs of this machine: in the container of the server. */
export interface DumpRunner {
  /** Runs pg_dump on the database of the pool; what it prints goes into the file. */
  dump(args: readonly string[], pool: Pool, file: FileHandle, signal: AbortSignal | undefined): Promise<DumpEnd>;
  /** What `pg_restore --list` prints of a dump. */
  list(path: string): Promise<string>;
}

/** How a pg_dump ended. */
export interface DumpEnd {
  readonly exitCode: number | null;
  readonly stderr: string;
}

/** A backup that was taken and read back. */
export interface Backup {
  readonly path: string;
  readonly bytes: number;
  /** Entries of its table of contents. */
  readonly entries: number;
}

/** The table of contents of a dump; a hundred bytes an entry. */
const LISTING_CHARS_MAX = 256 * 1024 * 1024;
/** Where Debian and the packages of postgresql.org put each release's own tools. */
const RELEASE_ROOTS = ["/usr/lib/postgresql", "/usr/local/pgsql", "/usr/pgsql"];

async function releaseDirs(roots: readonly string[]): Promise<readonly string[]> {
  const found = await Promise.all(
    roots.map(async (root) => {
      try {
        return (await readdir(root)).map((release) => join(root, release, "bin"));
      } catch {
        return [];
      }
    }),
  );
  return found.flat();
}

async function run(file: string, args: readonly string[]): Promise<string> {
  const options = { env: { LC_ALL: "C" }, extendEnv: false, maxBuffer: LISTING_CHARS_MAX };
  return (await execa(file, args, options)).stdout;
}

async function toolsIn(dir: string): Promise<DumpTools | null> {
  const pgDump = join(dir, "pg_dump");
  const pgRestore = join(dir, "pg_restore");
  try {
    const major = /^pg_dump \(PostgreSQL\) (\d+)/.exec(await run(pgDump, ["--version"]))?.[1];
    await stat(pgRestore);
    return major === undefined ? null : { pgDump, pgRestore, major: Number(major) };
  } catch {
    return null;
  }
}

/** Where to look for `pg_dump`. */
export interface DumpToolSearch {
  /** Looked at first: the configuration's `postgres.binDir`. */
  readonly binDirs: readonly string[];
  /** The PATH of this run. */
  readonly path: string;
  /** Default: where distributions put each release. Tests hand in none. */
  readonly releaseRoots?: readonly string[];
}

/**
 * Finds a `pg_dump` that can read a server of `serverMajor`: its own release or a newer one; an older one refuses.
 * The nearest release wins. @returns null where there is none.
 */
export async function findDumpTools(serverMajor: number, search: DumpToolSearch): Promise<DumpTools | null> {
  const dirs = [
    ...search.binDirs,
    ...search.path.split(delimiter).filter((dir) => dir !== ""),
    ...(await releaseDirs(search.releaseRoots ?? RELEASE_ROOTS)),
  ];
  const found = await Promise.all(dirs.map(toolsIn));
  return (
    found
      .filter((tools): tools is DumpTools => tools !== null && tools.major >= serverMajor)
      .toSorted((a, b) => a.major - b.major)[0] ?? null
  );
}

function connectionEnv(pool: Pool): Record<string, string> {
  const { host, port, database, user, password, application_name: name } = pool.options;
  return {
    LC_ALL: "C",
    PGHOST: host ?? "localhost",
    PGPORT: String(port ?? 5432),
    PGDATABASE: database ?? "",
    PGUSER: user ?? "",
    PGAPPNAME: name ?? "fula-master/backup",
    PGCONNECT_TIMEOUT: "10",
    // In the environment, not in the arguments: those can be read by every user of the machine.
    ...(typeof password === "string" ? { PGPASSWORD: password } : {}),
    ...tlsEnvironment(pool),
  };
}

const STDERR_KEPT_CHARS = 4_000;

const DUMP_ARGS = ["--format=custom", "--no-password", "--lock-wait-timeout=60s"] as const;

async function runPgDump(
  { pgDump }: DumpTools,
  pool: Pool,
  file: FileHandle,
  signal: AbortSignal | undefined,
): Promise<DumpEnd> {
  // Not execa: the dump goes straight into our file, without passing through this process.
  const child: ChildProcess = spawn(pgDump, DUMP_ARGS, {
    env: connectionEnv(pool),
    stdio: ["ignore", file.fd, "pipe"],
    ...(signal === undefined ? {} : { signal }),
  });
  let stderr = "";
  child.stderr?.setEncoding("utf8").on("data", (text: string) => {
    stderr = (stderr + text).slice(-STDERR_KEPT_CHARS);
  });
  const [exitCode, killedBy] = await once(child, "close");
  return { exitCode, stderr: stderr.trim() || (killedBy === null ? "" : `it was ended by ${killedBy}`) };
}

async function dumpTo(path: string, tools: DumpTools, pool: Pool, signal: AbortSignal | undefined): Promise<void> {
  const file = await open(path, "wx", SECRET_FILE_MODE);
  try {
    const { runner } = tools;
    const { exitCode, stderr } =
      runner === undefined
        ? await runPgDump(tools, pool, file, signal)
        : await runner.dump(DUMP_ARGS, pool, file, signal);
    if (exitCode !== 0) throw new Error(stderr || `pg_dump ended with exit code ${exitCode}`);
    await file.sync();
  } finally {
    await file.close();
  }
}

async function readBack(path: string, tools: DumpTools): Promise<{ bytes: number; entries: number }> {
  const { size } = await stat(path);
  if (size === 0) throw new Error("pg_dump wrote nothing");
  const { runner } = tools;
  const list = runner === undefined ? await run(tools.pgRestore, ["--list", path]) : await runner.list(path);
  const entries = list.split("\n").filter((line) => /^\d/.test(line)).length;
  if (entries === 0) throw new Error("the dump's table of contents is empty");
  return { bytes: size, entries };
}

/**
 * Dumps the whole database in pg_dump's custom format (`pg_restore` reads it), mode 0600, and reads the dump's table of
 * contents back before the file gets its name.
 * @throws FulaError FULA_BACKUP_FAILED, FULA_DISK_FULL, FULA_PATH_NOT_WRITABLE
 */
export async function takeBackup(pool: Pool, path: string, tools: DumpTools, signal?: AbortSignal): Promise<Backup> {
  const partial = `${path}.partial`;
  try {
    await ensureDir(dirname(path));
    await rm(partial, { force: true });
    await dumpTo(partial, tools, pool, signal);
    const { bytes, entries } = await readBack(partial, tools);
    await rename(partial, path);
    await fsyncDir(dirname(path));
    return { path, bytes, entries };
  } catch (error) {
    await rm(partial, { force: true });
    const explained = explainWriteError(error, path);
    if (signal?.aborted === true || explained instanceof FulaError) throw explained;
    throw new FulaError(
      "FULA_BACKUP_FAILED",
      `The backup of ${formatTarget(targetOf(pool))} failed (${tools.pgDump}): ${systemErrorCode(error) ?? messageOf(error)}. Nothing was changed.`,
      {
        hint: "mend what pg_dump says; or take a backup yourself and run the command with --no-backup.",
        cause: error,
        details: { path, pgDump: tools.pgDump },
      },
    );
  }
}
