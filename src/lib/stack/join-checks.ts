import { readdir, stat } from "node:fs/promises";
import { join } from "node:path";
import type { ConfigReading, LoadedConfig } from "../config/load.ts";
import { errorOf } from "../config/problems.ts";
import type { Paths } from "../config/paths.ts";
import { toolVersion } from "../kernel/project.ts";
import { systemErrorCode } from "../kernel/errors.ts";
import { inspectEmbeddedPostgres, planEmbeddedPostgres } from "../runtime/embedded-postgres.ts";
import { diskRoom, hostFacts, isClockSynchronized } from "../runtime/host.ts";
import { readInstallation } from "./installation.ts";
import type { JoinBox, JoinContext } from "./join-box.ts";
import type { Check, Finding } from "./preflight.ts";
import {
  checkWritable,
  type ExpectedPath,
  judgeContents,
  judgeDisk,
  judgeOwnership,
  judgeVersions,
  nearestExisting,
  readContents,
  readOwnership,
} from "./preflight-base-dir.ts";
import { settingWarnings } from "./warnings.ts";
import { dockerChecks } from "./preflight-docker.ts";
import { checkPorts, judgeClock, judgeNode, type WantedPort } from "./preflight-host.ts";

/** What the checks look at. */
export interface CheckTarget {
  readonly context: JoinContext;
  readonly reading: ConfigReading;
  /** Processes of this master that may hold its ports: serve. */
  readonly ownPids: ReadonlySet<number>;
  /** What is decided for the box; null where its settings cannot be read, or contradict what is there. */
  readonly box: Pick<JoinBox, "choice" | "context" | "docker" | "wanted"> | null;
}

/** Files and directories whose owner and mode matter. */
export function importantFiles(paths: Paths): readonly { readonly path: string; readonly ours: boolean }[] {
  return [
    { path: paths.baseDir, ours: false },
    { path: paths.configFile, ours: true },
    { path: paths.envFile, ours: true },
    { path: paths.snapshotKeyFile, ours: true },
  ];
}

/** What must be a directory or a file, and writable, where it is there. */
export function expectedPaths(paths: Paths): readonly ExpectedPath[] {
  const { keysDir, snapshotsDir, journalDir, stateDir, locksDir, logsDir, envFile, configFile } = paths;
  return [
    ...[keysDir, snapshotsDir, journalDir, stateDir, locksDir, logsDir].map(
      (path): ExpectedPath => ({ path, kind: "directory" }),
    ),
    { path: envFile, kind: "file" },
    { path: configFile, kind: "file" },
  ];
}

/** The newest time that stands on a file that the clock of this box dated: journals and snapshots. */
export async function newestFile(paths: Paths): Promise<{ readonly path: string; readonly mtimeMs: number } | null> {
  let newest: { path: string; mtimeMs: number } | null = null;
  for (const dir of [paths.journalDir, paths.snapshotsDir]) {
    const names = await readdir(dir).catch((error: unknown) => {
      // A file in the place of the directory is the business of the check "base-dir".
      if (["ENOENT", "ENOTDIR"].includes(systemErrorCode(error) ?? "")) return [];
      throw error;
    });
    for (const name of names) {
      const path = join(dir, name);
      const { mtimeMs } = await stat(path);
      if (newest === null || mtimeMs > newest.mtimeMs) newest = { path, mtimeMs };
    }
  }
  return newest;
}

function settingsFinding(reading: ConfigReading): Finding {
  const error = errorOf(reading.problems);
  if (error === null) {
    return {
      state: "ok",
      message: reading.envFile === null ? "no secrets file yet" : "settings and secrets can be read",
    };
  }
  const { code, message, hint, details } = error;
  return { state: "failed", code, message, remedy: hint ?? "", ...(details === undefined ? {} : { details }) };
}

/** Said before the question: once containers run with such a secret, it is what every node of the pool has. */
function legacyPoolFinding(wanted: LoadedConfig): readonly Finding[] {
  const warning = settingWarnings(wanted).find(({ id }) => id === "legacy-cluster-secret");
  return warning === undefined ? [] : [{ state: "warning", message: warning.message, remedy: warning.remedy }];
}

async function wantedPorts({ config, paths }: LoadedConfig): Promise<readonly WantedPort[]> {
  const isStorage = config.node.role === "storage";
  const ports: WantedPort[] = [
    {
      setting: "server.port",
      remedy: isStorage ? "--set server.port=<port>" : "--server-port <port>",
      ...config.server,
    },
    ...(config.gateway.mode === "own" && !isStorage
      ? [{ setting: "gateway.port", remedy: "--gateway-port <port>", ...config.gateway }]
      : []),
    ...(isStorage ? [] : [{ setting: "api.port", remedy: "--api-port <port>", ...config.api }]),
    ...(isStorage && config.ingest.mode === "on"
      ? [{ setting: "ingest.port", remedy: "--ingest-port <port>", ...config.ingest }]
      : []),
  ];
  const { mode, port } = config.postgres;
  // The ports of containers are looked at together with everything else that stands in their way.
  if (mode !== "embedded" || port === 0) return ports;
  // Its own server may hold it already: PostgreSQL tells by its pid file, which the port's owner cannot fake.
  const { running } = await inspectEmbeddedPostgres(paths);
  if (running?.port === port) return ports;
  return [
    ...ports,
    { setting: "postgres.port", remedy: "postgres.port: 0 in fula-master.yaml", host: "127.0.0.1", port },
  ];
}

async function postgresFinding({ config, paths }: LoadedConfig): Promise<Finding> {
  if (config.postgres.mode === "docker") return { state: "ok", message: "PostgreSQL runs in a container" };
  if (config.postgres.mode === "external") {
    return { state: "ok", message: `${config.postgres.host}:${config.postgres.port} is asked when its turn comes` };
  }
  const plan = await planEmbeddedPostgres({ ...paths, runAs: config.postgres.runAs });
  if (plan.kind === "create") return { state: "ok", message: `PostgreSQL will run as ${plan.name}, a new system user` };
  return { state: "ok", message: `PostgreSQL will run as ${plan.user.name}` };
}

/** All checks of `join`. None of them writes. */
export function joinChecks({ context, reading, ownPids, box }: CheckTarget): readonly Check[] {
  const { paths } = reading;
  const wanted = box?.wanted ?? reading;
  const host = hostFacts();
  const readable = errorOf(reading.problems) === null;
  const afterSettings = async (
    run: () => Promise<Finding | readonly Finding[]>,
  ): Promise<Finding | readonly Finding[]> =>
    readable ? await run() : { state: "skipped", message: "not looked at before the settings are right" };
  return [
    { name: "node", run: async () => judgeNode(host.nodeVersion) },
    {
      name: "base-dir",
      run: async () => await checkWritable(paths.baseDir, expectedPaths(paths)),
    },
    {
      name: "contents",
      run: async () =>
        judgeContents(
          await readContents(paths.baseDir, await readInstallation(paths.stateDir)),
          box?.choice.runtime === "docker",
        ),
    },
    {
      name: "permissions",
      run: async () => judgeOwnership(await readOwnership(importantFiles(paths)), host.uid),
    },
    { name: "settings", run: async () => [settingsFinding(reading), ...legacyPoolFinding(wanted)] },
    {
      name: "versions",
      run: async () => judgeVersions(await readInstallation(paths.stateDir), toolVersion()),
    },
    {
      name: "disk",
      run: async () => judgeDisk(await diskRoom(await nearestExisting(paths.baseDir)), paths.baseDir),
    },
    {
      name: "ports",
      run: async () => await afterSettings(async () => await checkPorts(await wantedPorts(wanted), ownPids)),
    },
    {
      name: "clock",
      run: async () =>
        judgeClock({
          nowMs: context.clock.nowMs(),
          newestFile: await newestFile(paths),
          synchronized: await isClockSynchronized(context.signal),
        }),
    },
    { name: "postgres", run: async () => await afterSettings(async () => await postgresFinding(wanted)) },
    ...(box === null ? [] : dockerChecks(box, host.uid)),
  ];
}
