import { createReadStream } from "node:fs";
import { join } from "node:path";
import type Docker from "dockerode";
import type { LoadedConfig } from "../config/load.ts";
import { FulaError } from "../kernel/errors.ts";
import type { BackupOptions } from "../postgres/adopt.ts";
import type { DumpTools } from "../postgres/backup.ts";
import type { Pool } from "../postgres/pool.ts";
import { LABELS, labelFilter } from "../runtime/compose-labels.ts";
import { runInContainer } from "../runtime/container-exec.ts";
import { connectDocker } from "../runtime/docker.ts";

async function postgresContainer(docker: Docker, project: string): Promise<string> {
  const filters = labelFilter({ [LABELS.project]: project, [LABELS.service]: "postgres" });
  const [found] = await docker.listContainers({ filters });
  if (found !== undefined) return found.Id;
  throw new FulaError(
    "FULA_BACKUP_TOOL",
    `No PostgreSQL container of the project ${project} runs, so no dump can be taken.`,
    {
      hint: "fula-master join starts it.",
      details: { project },
    },
  );
}

async function outputOf(docker: Docker, container: string, args: readonly string[], path?: string): Promise<string> {
  const pieces: Buffer[] = [];
  const { exitCode, stderr } = await runInContainer(docker, container, {
    args,
    ...(path === undefined ? {} : { stdin: createReadStream(path) }),
    onOutput: async (piece) => {
      pieces.push(Buffer.from(piece));
      await Promise.resolve();
    },
  });
  if (exitCode !== 0) throw new Error(stderr || `${args[0]} ended with exit code ${exitCode}`);
  return Buffer.concat(pieces).toString("utf8");
}

/** Inside of its container the server is on the port of the image, whatever the host publishes it as. */
function connectionEnv({ options }: Pool): Record<string, string> {
  const { database, user, password } = options;
  return {
    LC_ALL: "C",
    PGHOST: "127.0.0.1",
    PGPORT: "5432",
    PGDATABASE: database ?? "",
    PGUSER: user ?? "",
    PGAPPNAME: "fula-master/backup",
    ...(typeof password === "string" ? { PGPASSWORD: password } : {}),
  };
}

/**
 * pg_dump and pg_restore of the PostgreSQL image itself, which always fit its server: a Docker host has none.
 * @throws FulaError FULA_BACKUP_TOOL where the container does not run
 */
async function containerDumpTools(docker: Docker, project: string): Promise<DumpTools> {
  const container = await postgresContainer(docker, project);
  const version = await outputOf(docker, container, ["pg_dump", "--version"]);
  return {
    pgDump: "pg_dump of the PostgreSQL container",
    pgRestore: "pg_restore of the PostgreSQL container",
    major: Number(/\(PostgreSQL\) (\d+)/.exec(version)?.[1] ?? 0),
    runner: {
      dump: async (args, pool, file, signal) =>
        await runInContainer(docker, container, {
          args: ["pg_dump", ...args],
          env: connectionEnv(pool),
          signal,
          onOutput: async (piece) => {
            await file.writeFile(piece);
          },
        }),
      list: async (path) => await outputOf(docker, container, ["pg_restore", "--list"], path),
    },
  };
}

/**
 * How a database in a container of our own is dumped: into `<base dir>/backups`.
 * @throws FulaError FULA_BACKUP_TOOL where the container does not run
 */
export async function containerBackupOptions(
  { config, paths }: LoadedConfig,
  env: Readonly<Record<string, string | undefined>>,
): Promise<BackupOptions> {
  const tools = await containerDumpTools(await connectDocker(env), config.docker.project);
  return { dir: join(paths.baseDir, "backups"), binDirs: [], path: "", tools };
}
