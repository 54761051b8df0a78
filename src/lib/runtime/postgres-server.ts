import type { ChildProcess } from "node:child_process";
import { realpath } from "node:fs/promises";
import { join } from "node:path";
import type { Clock } from "../kernel/clock.ts";
import { FulaError, messageOf } from "../kernel/errors.ts";
import { readTextIfExists, SECRET_FILE_MODE, writeFileAtomic } from "../kernel/files.ts";
import type { Log } from "../kernel/log.ts";
import type { Random } from "../kernel/random.ts";
import type { Secret } from "../kernel/secret.ts";
import { logOffset, readLogTail, rotateLog } from "./log-files.ts";
import { findPortOwner, probePort } from "./port-owner.ts";
import type { PostgresBinaries } from "./postgres-binaries.ts";
import {
  assertSameMajor,
  type ClusterPlace,
  initialiseCluster,
  readAdminPassword,
  readDataMajor,
  resetAdminPassword,
} from "./postgres-cluster.ts";
import { ensureServerFiles, serverFiles } from "./postgres-files.ts";
import {
  findPostmaster,
  launchPostmaster,
  type Postmaster,
  settlePostmaster,
  stopPostmaster,
} from "./postgres-process.ts";
import { connectionErrorCode, withAdmin } from "./postgres-roles.ts";
import type { SystemUser } from "./postgres-user.ts";
import { findFreePort, isSameProcessRunning } from "./processes.ts";

/** The only address that an embedded server listens on. */
export const LOOPBACK = "127.0.0.1";
/** An orderly stop writes what is in memory: seconds, on a slow disk tens of them. */
export const FAST_STOP_PATIENCE_MS = 30_000;
/** Replaying 256 MB of log (max_wal_size) takes well under a minute on the slowest disk that we know. */
const READY_PATIENCE_MS = 120_000;
const READY_POLL_MS = 50;
const LOG_TAIL_LINES = 12;
const ROUNDS_MAX = 4;

/** What bringing a server up needs to know. */
export interface ServerSite {
  readonly place: ClusterPlace;
  readonly user: SystemUser;
  readonly logFile: string;
  /** 0 = choose one and remember it. */
  readonly port: number;
  /** Address that it listens on for other boxes; null = loopback alone. */
  readonly listen: string | null;
  /** Ports that must not be chosen, though nobody may listen on them at this moment. */
  readonly avoidPorts?: readonly number[] | undefined;
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Log;
  readonly signal?: AbortSignal | undefined;
  /** True where a data directory was made before: a missing one was lost, and an empty one must not take its place. */
  readonly mustExist: boolean;
  /** Looked for only when a server must be started. */
  readonly findBinaries: () => Promise<PostgresBinaries>;
}

/** A server that answers queries. */
export interface ReadyServer {
  readonly postmaster: Postmaster;
  readonly adminPassword: Secret;
  /** The child that we started, or null where it ran already. */
  readonly child: ChildProcess | null;
}

/** SQLSTATE 57P03 and the system errors of a server that is not there yet, or is just going. */
const NOT_READY: ReadonlySet<string> = new Set(["57P03", "57P01", "57P02", "ECONNREFUSED", "ECONNRESET", "EPIPE"]);
const WRONG_PASSWORD = "28P01";

/** Asks the server which directory it serves, the first query that it must answer. */
async function assertServes(dataDir: string, port: number, adminPassword: Secret): Promise<void> {
  const served = await withAdmin(port, adminPassword, async (admin) => {
    const { rows } = await admin.query<{ dir: string }>("select current_setting('data_directory') as dir");
    return rows[0]?.dir ?? "";
  });
  if ((await realpath(served)) === (await realpath(dataDir))) return;
  throw new FulaError("FULA_POSTGRES_DATA", `The server on port ${port} serves ${served}, not ${dataDir}.`, {
    hint: "two servers are mixed up; stop both (pg_ctl stop -D <directory>), then run the command again.",
  });
}

/** @returns "ended" where the server went away before it was ready */
async function waitUntilReady(
  site: ServerSite,
  server: { readonly port: number; readonly isRunning: () => boolean },
  adminPassword: Secret,
): Promise<"ready" | "wrong-password" | "ended" | "silent"> {
  const { clock, signal, place } = site;
  const deadlineMs = clock.monotonicMs() + READY_PATIENCE_MS;
  while (clock.monotonicMs() < deadlineMs) {
    signal?.throwIfAborted();
    if (!server.isRunning()) return "ended";
    try {
      await assertServes(place.dataDir, server.port, adminPassword);
      return "ready";
    } catch (error) {
      const code = connectionErrorCode(error);
      if (code === WRONG_PASSWORD) return "wrong-password";
      // node-postgres' own "Connection terminated" errors have no code: the server went away in mid-answer.
      if (error instanceof FulaError || (code !== undefined && !NOT_READY.has(code))) throw error;
    }
    await clock.sleep(READY_POLL_MS, signal);
  }
  return "silent";
}

async function startFailure(site: ServerSite, what: string, fromOffset: number): Promise<FulaError> {
  const tail = await readLogTail(site.logFile, LOG_TAIL_LINES, fromOffset);
  const diskFull = tail.some((line) => line.includes("No space left on device"));
  const said = tail.length === 0 ? "It wrote nothing to its log." : `Its log ends with:\n${tail.join("\n")}`;
  return new FulaError(diskFull ? "FULA_DISK_FULL" : "FULA_POSTGRES_START", `PostgreSQL ${what}. ${said}`, {
    hint: diskFull
      ? `free space on the file system of ${site.place.root}, then run the command again.`
      : `mend what the log names, then run the command again; the whole log is ${site.logFile}.`,
    details: { dataDir: site.place.dataDir, logFile: site.logFile },
  });
}

async function portInUse(port: number): Promise<FulaError> {
  const owner = await findPortOwner(port);
  const who = owner === null ? "another user's process" : `process ${owner.pid} (${owner.command})`;
  return new FulaError("FULA_PORT_IN_USE", `Port ${port}, which postgres.port asks for, is taken by ${who}.`, {
    hint: "stop that process, choose another postgres.port (POSTGRES_PORT), or set it to 0 to have a free one chosen.",
    details: { port, owner },
  });
}

function portFile(place: ClusterPlace): string {
  return join(place.root, "port");
}

async function choosePort(site: ServerSite): Promise<number> {
  if (site.port !== 0) {
    if ((await probePort(LOOPBACK, site.port)) === "in-use") throw await portInUse(site.port);
    return site.port;
  }
  const avoided = new Set(site.avoidPorts);
  const remembered = Number(await readTextIfExists(portFile(site.place)));
  const isUsable = Number.isInteger(remembered) && remembered > 0 && !avoided.has(remembered);
  if (isUsable && (await probePort(LOOPBACK, remembered)) === "free") return remembered;
  let port = await findFreePort(LOOPBACK);
  while (avoided.has(port)) port = await findFreePort(LOOPBACK);
  return port;
}

/** Makes the data directory where there is none, and checks that the programs fit it where there is one. */
async function prepareData(site: ServerSite, binaries: PostgresBinaries): Promise<Secret> {
  const { place, user, random, signal, log } = site;
  const dataMajor = await readDataMajor(place.dataDir);
  if (dataMajor === null && site.mustExist) {
    throw new FulaError(
      "FULA_STATE_LOST",
      `The ledger's data directory ${place.dataDir} is gone; it was there before.`,
      {
        hint: "mount or restore it; a new, empty ledger in its place would bill nobody and know no pins.",
        details: { dataDir: place.dataDir },
      },
    );
  }
  if (dataMajor === null) {
    log.info("postgres.initialising", { dataDir: place.dataDir, version: binaries.version, user: user.name });
    await initialiseCluster({ place, binaries, user, random, ...(signal === undefined ? {} : { signal }) });
  } else {
    assertSameMajor(place.dataDir, dataMajor, binaries);
  }
  const password = await readAdminPassword(place);
  if (password !== null) return password;
  log.warn("postgres.admin_password_reset", { file: place.adminPasswordFile, because: "the file is gone" });
  return await resetAdminPassword({ place, binaries, user, random });
}

async function terminate(child: ChildProcess, postmaster: Postmaster | null, clock: Clock): Promise<void> {
  if (postmaster === null) child.kill("SIGINT");
  else await stopPostmaster(postmaster, clock, FAST_STOP_PATIENCE_MS);
}

/** Starts a server once. @returns null where it lost the race for its port, or its superuser's password had to be set anew */
async function tryStart(site: ServerSite, binaries: PostgresBinaries): Promise<ReadyServer | null> {
  const { place, user, logFile, clock } = site;
  const adminPassword = await prepareData(site, binaries);
  const port = await choosePort(site);
  await rotateLog(logFile, false);
  const offset = await logOffset(logFile);
  await ensureServerFiles(place.root, user, site.listen);
  const { serverConf: configFile } = serverFiles(place.root);
  const child = await launchPostmaster({ binaries, dataDir: place.dataDir, port, user, logFile, configFile });
  let failure: Error | null = null;
  child.once("error", (error) => {
    failure = error;
  });
  const isRunning = (): boolean => failure === null && child.exitCode === null && child.signalCode === null;
  try {
    const outcome = await waitUntilReady(site, { port, isRunning }, adminPassword);
    const postmaster = await findPostmaster(place.dataDir);
    if (outcome === "ready" && postmaster !== null) {
      await writeFileAtomic(portFile(place), `${port}\n`, { mode: SECRET_FILE_MODE });
      return { postmaster, adminPassword, child };
    }
    if (outcome === "wrong-password") {
      await terminate(child, postmaster, clock);
      site.log.warn("postgres.admin_password_reset", { file: place.adminPasswordFile, because: "it does not fit" });
      await resetAdminPassword({ place, binaries, user, random: site.random });
      return null;
    }
    if (failure !== null) throw await startFailure(site, `could not be started: ${messageOf(failure)}`, offset);
    if (outcome === "silent")
      throw await startFailure(site, `did not answer within ${READY_PATIENCE_MS / 1000} s`, offset);
    const tail = await readLogTail(logFile, LOG_TAIL_LINES, offset);
    if (!tail.some((line) => line.includes("Address already in use")))
      throw await startFailure(site, "ended at once", offset);
    if (site.port !== 0) throw await portInUse(port);
    return null;
  } catch (error) {
    if (isRunning()) await terminate(child, await findPostmaster(place.dataDir), clock);
    throw error;
  }
}

async function attach(site: ServerSite, postmaster: Postmaster): Promise<ReadyServer | null> {
  const adminPassword = await readAdminPassword(site.place);
  const outcome =
    adminPassword === null
      ? "wrong-password"
      : await waitUntilReady(
          site,
          { port: postmaster.port, isRunning: () => isSameProcessRunning(postmaster.identity) },
          adminPassword,
        );
  if (adminPassword !== null && outcome === "ready") return { postmaster, adminPassword, child: null };
  if (outcome === "ended") return null;
  const { pid } = postmaster.identity;
  throw new FulaError(
    "FULA_POSTGRES_DATA",
    outcome === "silent"
      ? `The server that runs on ${site.place.dataDir} (process ${pid}) does not answer on port ${postmaster.port}.`
      : `The server that runs on ${site.place.dataDir} (process ${pid}) does not take the password in ${site.place.adminPasswordFile}.`,
    {
      hint: "stop everything that uses it (fula-master stop); the next start sets a new password by itself.",
      details: { pid, port: postmaster.port },
    },
  );
}

/**
 * Attaches to the server that runs on the data directory, else starts one; makes the directory first where there is
 * none. The caller has the gate.
 * @throws FulaError FULA_PORT_IN_USE, FULA_POSTGRES_VERSION, FULA_POSTGRES_BINARIES, FULA_POSTGRES_DATA,
 *   FULA_POSTGRES_START, FULA_DISK_FULL
 */
export async function bringUp(site: ServerSite): Promise<ReadyServer> {
  for (let round = 0; round < ROUNDS_MAX; round += 1) {
    const found = await settlePostmaster(site.place.dataDir, site.clock, site.signal);
    const ready = found === null ? await tryStart(site, await site.findBinaries()) : await attach(site, found);
    if (ready !== null) return ready;
  }
  throw new FulaError(
    "FULA_POSTGRES_START",
    `PostgreSQL on ${site.place.dataDir} went away ${ROUNDS_MAX} times while we tried.`,
    {
      hint: `something else starts and stops it; ${site.logFile} tells when.`,
    },
  );
}
