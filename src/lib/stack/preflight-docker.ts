import { isDockerPresent } from "../runtime/docker.ts";
import { diskRoom } from "../runtime/host.ts";
import { formatBytes } from "../kernel/units.ts";
import type { LoadedConfig } from "../config/load.ts";
import type { Config } from "../config/schema.ts";
import type { ComposeResource } from "../runtime/compose-file.ts";
import { type DockerFacts, readDockerFacts } from "./detect-docker.ts";
import { compareVersions } from "./installation.ts";
import type { JoinBox } from "./join-box.ts";
import { planStack, readStack } from "./docker-stack.ts";
import type { Check, Finding } from "./preflight.ts";
import { judgeDisk } from "./preflight-base-dir.ts";

/** The oldest engine that has been tried; its API is 1.41. */
const ENGINE_VERSION_MIN = "20.10.0";
/** With less, PostgreSQL, Kubo and IPFS Cluster do not get through a day. */
const MEMORY_BYTES_MIN = 1024 ** 3;

const ENGINE_REMEDY =
  "install it from your distribution and start it (Debian: apt install docker.io), see whether `docker version` works as this user; or join with --runtime embedded.";

/** Judges who runs this: files of containers belong to other users, and only root can make such files. */
export function judgeRoot(uid: number): Finding {
  if (uid === 0) return { state: "ok", message: "run by root" };
  return {
    state: "failed",
    code: "FULA_ROOT_NEEDED",
    message: `This run is user ${uid}; secrets of containers are files of the users inside them, which only root can make.`,
    remedy: "run the command with sudo, or join with --runtime embedded.",
    details: { uid },
  };
}

/** Judges the engine itself. */
export function judgeEngine(docker: JoinBox["docker"]): Finding {
  if (!isDockerPresent(docker)) {
    return {
      state: "failed",
      code: "FULA_DOCKER_UNREACHABLE",
      message: `No Docker Engine answers: ${docker.absent}.`,
      remedy: ENGINE_REMEDY,
    };
  }
  if (compareVersions(docker.version, ENGINE_VERSION_MIN) >= 0) {
    return { state: "ok", message: `Docker Engine ${docker.version}, API ${docker.apiVersion}` };
  }
  return {
    state: "failed",
    code: "FULA_DOCKER_TOO_OLD",
    message: `Docker Engine ${docker.version} is older than ${ENGINE_VERSION_MIN}.`,
    remedy: "upgrade it from your distribution or from docs.docker.com/engine/install.",
    details: { version: docker.version },
  };
}

/** Most memory that the containers of our own may use together, in bytes. */
export function memoryLimit({ postgres, blocks, cluster, gateway, docker: { memory } }: Config): number {
  return (
    (postgres.mode === "docker" ? memory.postgres : 0) +
    (blocks.mode === "docker" ? memory.kubo : 0) +
    (cluster.mode === "docker" ? memory.cluster : 0) +
    (gateway.mode === "container" ? memory.gateway : 0)
  );
}

/** Judges whether what the containers may use is there. */
export function judgeMemory(totalBytes: number, limitBytes: number): Finding {
  const total = formatBytes(totalBytes);
  if (totalBytes < MEMORY_BYTES_MIN) {
    return {
      state: "failed",
      code: "FULA_PREFLIGHT_FAILED",
      message: `This box has ${total} of memory; containers of a master need at least ${formatBytes(MEMORY_BYTES_MIN)}.`,
      remedy: "take a larger box, or join with --runtime embedded.",
      details: { totalBytes, bytesMin: MEMORY_BYTES_MIN },
    };
  }
  if (limitBytes > totalBytes) {
    return {
      state: "warning",
      message: `The containers may use ${formatBytes(limitBytes)} together, and this box has ${total}.`,
      remedy: "lower docker.memory.… in fula-master.yaml, or add memory.",
    };
  }
  return { state: "ok", message: `${total}, of which the containers may use ${formatBytes(limitBytes)}` };
}

async function findRoom({ rootDir }: DockerFacts): Promise<Finding> {
  try {
    return judgeDisk(await diskRoom(rootDir), rootDir);
  } catch {
    // The engine may run on another machine, or in one of its own.
    return {
      state: "warning",
      message: `${rootDir} of the engine cannot be looked at from here.`,
      remedy: "see to it that the engine has room for blocks.",
    };
  }
}

/** Data of an earlier master whose secrets are gone: new ones would open none of it. */
function lockedVolumes({ secrets, paths }: LoadedConfig, there: readonly ComposeResource[]): readonly Finding[] {
  const keys = {
    pgdata: ["POSTGRES_PASSWORD", secrets.postgresPassword],
    "cluster-data": ["CLUSTER_SECRET", secrets.clusterSecret],
  } as const;
  return there.flatMap(({ key, name }): readonly Finding[] => {
    const [secretName, secret] = key === "pgdata" || key === "cluster-data" ? keys[key] : ["", undefined];
    if (secret !== null) return [];
    return [
      {
        state: "failed",
        code: "FULA_STATE_LOST",
        message: `The volume ${name} has the data of an earlier master, and ${paths.envFile} has no ${secretName} that opens it.`,
        remedy: `put .env back from your backup; or take another --project; or, if the data is not needed: docker volume rm ${name}.`,
        details: { volume: name, secret: secretName },
      },
    ];
  });
}

/** Everything that stands in the way of our containers and is not ours, each a finding of its own. */
async function lookForForeign({ wanted, context }: Pick<JoinBox, "context" | "wanted">): Promise<readonly Finding[]> {
  const stack = await readStack(wanted);
  const { foreign, orphans, volumes } = await planStack(stack, context.env);
  const findings: Finding[] = foreign.map(
    ({ kind, name, what, remedy }): Finding => ({
      state: "failed",
      code: "FULA_DOCKER_FOREIGN",
      message: `Another one's ${kind} ${name}: ${what}. Nothing was changed.`,
      remedy: `${remedy}.`,
      details: { kind, name },
    }),
  );
  findings.push(
    ...lockedVolumes(
      wanted,
      stack.project.volumes.filter((volume) => !volumes.includes(volume)),
    ),
  );
  if (findings.length > 0) return findings;
  if (orphans.length === 0) return [{ state: "ok", message: "nothing foreign is in the way" }];
  const names = orphans.map(({ containerName }) => containerName).join(", ");
  return [
    {
      state: "warning",
      message: `The project ${stack.project.name} has containers that this master does not use: ${names}.`,
      remedy: "they are left alone; stop those of an older installer once this master serves in their place.",
    },
  ];
}

/** The checks of a box whose services run in containers; none elsewhere. */
export function dockerChecks(
  box: Pick<JoinBox, "choice" | "context" | "docker" | "wanted">,
  uid: number,
): readonly Check[] {
  if (box.choice.runtime !== "docker") return [];
  const { context, docker, wanted } = box;
  const facts = isDockerPresent(docker) ? readDockerFacts(context.env, wanted.config) : null;
  facts?.catch(() => {});
  const afterEngine = async (
    run: (facts: DockerFacts) => Promise<Finding | readonly Finding[]>,
  ): Promise<Finding | readonly Finding[]> =>
    facts === null ? { state: "skipped", message: "not looked at before the engine answers" } : await run(await facts);
  return [
    { name: "root", run: async () => judgeRoot(uid) },
    { name: "docker", run: async () => judgeEngine(docker) },
    { name: "docker", run: async () => await afterEngine(async (found) => await findRoom(found)) },
    {
      name: "memory",
      run: async () =>
        await afterEngine(async ({ memoryBytes }) => judgeMemory(memoryBytes, memoryLimit(wanted.config))),
    },
    { name: "containers", run: async () => await afterEngine(async () => await lookForForeign(box)) },
  ];
}
