import { appendFile, chmod, chown, open, readdir, rename, rm, rmdir } from "node:fs/promises";
import { join } from "node:path";
import { execa } from "execa";
import { FulaError, messageOf, systemErrorCode } from "../kernel/errors.ts";
import {
  ensureDir,
  explainWriteError,
  fsyncDir,
  PRIVATE_DIR_MODE,
  readTextIfExists,
  SECRET_FILE_MODE,
  writeFileAtomic,
} from "../kernel/files.ts";
import type { Random } from "../kernel/random.ts";
import { Secret } from "../kernel/secret.ts";
import type { PostgresBinaries } from "./postgres-binaries.ts";
import { type SystemUser, spawnIdentity } from "./postgres-user.ts";
import { argumentsOf, identifyProcess, listPids, signalProcess } from "./processes.ts";

/** The server's superuser: ours alone, never the configured role, which owns its database and nothing else. */
export const ADMIN_ROLE = "fula_admin";
const ADMIN_PASSWORD_BYTES = 32;
const INIT_PREFIX = "init-";
/** All that the programs may see of our environment: PG* variables of an operator's shell would change what they do. */
const SERVER_ENV = { PATH: "/usr/bin:/bin", LC_ALL: "C", TZ: "UTC" };

// Small enough for a box with 1 GB of memory that runs the rest of a master too; durable whatever the speed.
const SETTINGS = `
# Written once by fula-master; yours to tune. Where it listens and what its role is stands beside the data directory.
max_connections = 60
shared_buffers = 64MB
work_mem = 4MB
maintenance_work_mem = 64MB
max_wal_size = 256MB
min_wal_size = 64MB
fsync = on
synchronous_commit = on
full_page_writes = on
timezone = 'UTC'
log_timezone = 'UTC'
log_line_prefix = '%m [%p] %q%u@%d '
log_checkpoints = off
`;

/** Where everything of one embedded server lies. */
export interface ClusterPlace {
  /** `state/postgres` */
  readonly root: string;
  readonly dataDir: string;
  readonly adminPasswordFile: string;
}

/** The places below a state directory. */
export function clusterPlace(stateDir: string): ClusterPlace {
  const root = join(stateDir, "postgres");
  return { root, dataDir: join(root, "data"), adminPasswordFile: join(root, "admin.password") };
}

/** The major version that a data directory was made by; null where there is none yet. @throws FulaError FULA_POSTGRES_DATA */
export async function readDataMajor(dataDir: string): Promise<number | null> {
  const text = await readTextIfExists(join(dataDir, "PG_VERSION"));
  if (text !== null) return Number.parseInt(text, 10);
  try {
    if ((await readdir(dataDir)).length === 0) return null;
  } catch (error) {
    if (systemErrorCode(error) === "ENOENT") return null;
    throw error;
  }
  throw new FulaError(
    "FULA_POSTGRES_DATA",
    `${dataDir} has files in it, but is no PostgreSQL data directory (no PG_VERSION).`,
    {
      hint: "move it away and look what it is; a new one is made when nothing is there.",
      details: { dataDir },
    },
  );
}

/** @throws FulaError FULA_POSTGRES_VERSION where the binaries cannot open the directory */
export function assertSameMajor(dataDir: string, dataMajor: number, binaries: PostgresBinaries): void {
  if (dataMajor === binaries.major) return;
  throw new FulaError(
    "FULA_POSTGRES_VERSION",
    `${dataDir} was written by PostgreSQL ${dataMajor}; the server programs are ${binaries.version} and cannot open it.`,
    {
      hint: `set postgres.binDir to the programs of PostgreSQL ${dataMajor} (Debian: /usr/lib/postgresql/${dataMajor}/bin), or move the data with pg_dump or pg_upgrade.`,
      details: { dataDir, dataMajor, binariesVersion: binaries.version },
    },
  );
}

/** The superuser's password; null where the file is not there. */
export async function readAdminPassword(place: ClusterPlace): Promise<Secret | null> {
  const text = await readTextIfExists(place.adminPasswordFile);
  return text === null || text.trim() === "" ? null : new Secret(text.trim());
}

async function makeAdminPassword(place: ClusterPlace, random: Random): Promise<Secret> {
  const password = Buffer.from(random.bytes(ADMIN_PASSWORD_BYTES)).toString("hex");
  await writeFileAtomic(place.adminPasswordFile, `${password}\n`, { mode: SECRET_FILE_MODE });
  return new Secret(password);
}

async function localeArguments(major: number): Promise<readonly string[]> {
  // The built-in provider sorts the same on every machine and after every upgrade of the C library.
  if (major >= 17) return ["--locale=C", "--locale-provider=builtin", "--builtin-locale=C.UTF-8"];
  const { stdout } = await execa("locale", ["-a"]).catch(() => ({ stdout: "" }));
  return /^C\.utf-?8$/im.test(stdout) ? ["--locale=C.UTF-8"] : ["--locale=C"];
}

/** Removes what an interrupted initdb left, and ends one whose parent was killed. The caller holds the lock. */
async function removeUnfinished(root: string): Promise<void> {
  const prefix = join(root, INIT_PREFIX);
  for (const pid of listPids()) {
    if (!argumentsOf(pid).some((argument) => argument.includes(prefix))) continue;
    const identity = identifyProcess(pid);
    if (identity !== null) signalProcess(identity, "SIGKILL");
  }
  for (const name of (await readdir(root)).filter((entry) => entry.startsWith(INIT_PREFIX))) {
    await rm(join(root, name), { recursive: true, force: true, maxRetries: 10, retryDelay: 50 });
  }
}

async function writeFileAs(path: string, content: string, user: SystemUser): Promise<void> {
  const handle = await open(path, "w", SECRET_FILE_MODE);
  try {
    await handle.chmod(SECRET_FILE_MODE);
    await handle.chown(user.uid, user.gid);
    await handle.writeFile(content);
    await handle.sync();
  } finally {
    await handle.close();
  }
}

async function runInitdb(
  dir: string,
  passwordFile: string,
  binaries: PostgresBinaries,
  user: SystemUser,
  signal?: AbortSignal,
): Promise<void> {
  const args = [
    `--pgdata=${dir}`,
    `--username=${ADMIN_ROLE}`,
    `--pwfile=${passwordFile}`,
    "--auth=scram-sha-256",
    "--encoding=UTF8",
    "--data-checksums",
    "--no-instructions",
    ...(await localeArguments(binaries.major)),
  ];
  try {
    await execa(binaries.initdb, args, {
      ...spawnIdentity(user),
      cwd: "/",
      env: SERVER_ENV,
      extendEnv: false,
      ...(signal === undefined ? {} : { cancelSignal: signal }),
    });
  } catch (error) {
    signal?.throwIfAborted();
    const output = error instanceof Error && "stderr" in error ? String(error.stderr).trim() : messageOf(error);
    const noSpace = /No space left on device/.test(output);
    throw new FulaError(noSpace ? "FULA_DISK_FULL" : "FULA_POSTGRES_START", `initdb failed in ${dir}:\n${output}`, {
      cause: error,
      hint: noSpace
        ? `free space on the file system of ${dir}; about 50 MiB are needed.`
        : "mend what it names, then run the command again.",
    });
  }
}

/**
 * Makes a new data directory: built under another name and renamed when it is whole, so that one that a crash cut
 * short is never taken for one that is ready.
 * @throws FulaError FULA_POSTGRES_START, FULA_DISK_FULL, FULA_PATH_NOT_WRITABLE
 */
export async function initialiseCluster(options: {
  readonly place: ClusterPlace;
  readonly binaries: PostgresBinaries;
  readonly user: SystemUser;
  readonly random: Random;
  readonly signal?: AbortSignal;
}): Promise<void> {
  const { place, binaries, user, random, signal } = options;
  await removeUnfinished(place.root);
  const dir = join(place.root, `${INIT_PREFIX}${random.uuid()}`);
  const passwordFile = `${dir}.password`;
  const password = (await readAdminPassword(place)) ?? (await makeAdminPassword(place, random));
  try {
    await ensureDir(dir);
    await chown(dir, user.uid, user.gid);
    await chmod(dir, PRIVATE_DIR_MODE);
    await writeFileAs(passwordFile, `${password.reveal()}\n`, user);
    await runInitdb(dir, passwordFile, binaries, user, signal);
    await appendFile(join(dir, "postgresql.conf"), SETTINGS, { flush: true });
    await fsyncDir(dir);
    await rmdir(place.dataDir).catch(() => {});
    await rename(dir, place.dataDir);
    await fsyncDir(place.root);
  } catch (error) {
    await rm(dir, { recursive: true, force: true }).catch(() => {});
    throw explainWriteError(error, dir);
  } finally {
    await rm(passwordFile, { force: true });
  }
}

/**
 * Gives the superuser a new password while no server runs, through PostgreSQL's single-user mode: the way back in
 * when `admin.password` was lost or no longer fits. No other data is touched.
 * @throws FulaError FULA_POSTGRES_START
 */
export async function resetAdminPassword(options: {
  readonly place: ClusterPlace;
  readonly binaries: PostgresBinaries;
  readonly user: SystemUser;
  readonly random: Random;
}): Promise<Secret> {
  const { place, binaries, user, random } = options;
  const password = await makeAdminPassword(place, random);
  const { exitCode, stderr, shortMessage } = await execa(
    binaries.postgres,
    ["--single", "-D", place.dataDir, "postgres"],
    {
      ...spawnIdentity(user),
      cwd: "/",
      env: SERVER_ENV,
      extendEnv: false,
      input: `alter role ${ADMIN_ROLE} password '${password.reveal()}'\n`,
      stdout: "ignore",
      reject: false,
    },
  );
  // Single-user mode exits with 0 even when a statement failed.
  if (exitCode === 0 && !stderr.includes("ERROR:")) return password;
  throw new FulaError(
    "FULA_POSTGRES_START",
    `Cannot set the superuser's password in ${place.dataDir}:\n${stderr.trim() || shortMessage}`,
    {
      hint: "mend what it names, then run the command again.",
    },
  );
}
