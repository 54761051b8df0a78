import type { LoadedConfig } from "../config/load.ts";
import { formatCount } from "../kernel/units.ts";
import {
  type OwnParts,
  type ProjectParts,
  readProjectParts,
  removeProject,
  stopProject,
} from "../runtime/compose-remove.ts";
import { connectDocker } from "../runtime/docker.ts";
import { composeFileOf, readStack } from "./docker-stack.ts";
import type { RunStep } from "./join-step.ts";
import type { LeaveBox } from "./leave-box.ts";
import type { LeaveStepId } from "./leave-journal.ts";
import { already, type Assessment, todo } from "./plan.ts";
import { hasContainers } from "./stack-values.ts";

/** PostgreSQL last: whatever else there is may still want to write into the ledger. */
const START_ORDER = ["postgres", "kubo", "cluster", "nats", "nats-witness", "gateway"] as const;

/** What the Compose file of this box names; settings that a purge has taken away name nothing. */
async function readOwnParts(loaded: LoadedConfig): Promise<OwnParts> {
  const file = composeFileOf(loaded.paths.baseDir);
  if (!hasContainers(loaded.config)) return { file, services: [], volumes: [] };
  const { project } = await readStack(loaded);
  return { file, services: project.services.map(({ name }) => name), volumes: project.volumes.map(({ name }) => name) };
}

/** Says in a plan what stays although it carries the project's label. */
function spared({ others }: ProjectParts): string {
  return others.length === 0 ? "" : `; what is not this box's own stays as it is: ${others.join(", ")}`;
}

function assessStop(project: string, parts: ProjectParts): Assessment {
  const wanted = parts.containers.filter(({ state, isWanted }) => isWanted || state === "running");
  if (wanted.length === 0) return already(`no container of ${project} runs${spared(parts)}`);
  return todo(
    `they serve nobody any more; their volumes stay${spared(parts)}`,
    wanted.map(({ containerName }) => `stop ${containerName}`),
  );
}

function assessRemoval(project: string, parts: ProjectParts): Assessment {
  const { containers, volumes } = parts;
  if (containers.length + volumes.length === 0) return already(`nothing of ${project} is left${spared(parts)}`);
  return todo(`asked for by --purge; it cannot be undone${spared(parts)}`, [
    ...containers.map(({ containerName }) => `remove the container ${containerName}`),
    ...volumes.map((name) => `remove the volume ${name}, with all that is in it`),
  ]);
}

/** Step: stops the containers of this box; with `--purge` removes them with their volumes. */
export function containersStep({ context, options, loaded }: LeaveBox, project: string): RunStep<LeaveStepId> {
  const { env, signal } = context;
  const isPurge = options.purge === true;
  return {
    id: "containers",
    title: "Containers",
    assess: async () => {
      const own = await readOwnParts(loaded);
      const parts = await readProjectParts(await connectDocker(env), project, { signal, own });
      return isPurge ? assessRemoval(project, parts) : assessStop(project, parts);
    },
    apply: async (report) => {
      const docker = await connectDocker(env);
      const own = await readOwnParts(loaded);
      if (!isPurge) {
        const stopped = await stopProject(docker, project, { signal, report, own, order: START_ORDER });
        return stopped.length === 0 ? "none ran" : `${stopped.join(", ")} stopped`;
      }
      const gone = await removeProject(docker, project, { signal, report, own, volumes: true });
      return `${formatCount(gone.containers.length, "container")} and ${formatCount(gone.volumes.length, "volume")} removed`;
    },
  };
}
