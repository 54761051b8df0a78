import type Docker from "dockerode";
import { z } from "zod";
import { formatCount } from "../kernel/units.ts";
import { LABELS, labelFilter } from "../runtime/compose-labels.ts";
import { removeProject, stopProject } from "../runtime/compose-remove.ts";
import { connectDocker } from "../runtime/docker.ts";
import { askingEngine } from "../runtime/docker-errors.ts";
import { readProjectHealth } from "../runtime/project-health.ts";
import type { RunStep } from "./join-step.ts";
import type { LeaveBox } from "./leave-box.ts";
import type { LeaveStepId } from "./leave-journal.ts";
import { already, type Assessment, todo } from "./plan.ts";

/** PostgreSQL last: whatever else there is may still want to write into the ledger. */
const START_ORDER = ["postgres", "kubo", "cluster", "gateway", "ingest"] as const;

// Nothing to list is null.
const volumesSchema = z.object({ Volumes: z.array(z.object({ Name: z.string() })).nullable() });

async function volumesOf(docker: Docker, project: string): Promise<readonly string[]> {
  const filters = JSON.stringify(labelFilter({ [LABELS.project]: project }));
  const answer = await askingEngine(`asking for the volumes of ${project}`, async () => {
    return await docker.listVolumes({ filters });
  });
  return (volumesSchema.parse(answer).Volumes ?? []).map(({ Name }) => Name);
}

async function assessStop(docker: Docker, project: string, signal: AbortSignal): Promise<Assessment> {
  const wanted = (await readProjectHealth(docker, project, { signal })).filter(
    ({ state, isWanted }) => isWanted || state === "running",
  );
  if (wanted.length === 0) return already(`no container of ${project} runs`);
  return todo(
    "they serve nobody any more; their volumes stay",
    wanted.map(({ containerName }) => `stop ${containerName}`),
  );
}

async function assessRemoval(docker: Docker, project: string, signal: AbortSignal): Promise<Assessment> {
  const containers = await readProjectHealth(docker, project, { signal });
  const volumes = await volumesOf(docker, project);
  if (containers.length + volumes.length === 0) return already(`nothing of ${project} is left`);
  return todo("asked for by --purge; it cannot be undone", [
    ...containers.map(({ containerName }) => `remove the container ${containerName}`),
    ...volumes.map((name) => `remove the volume ${name}, with all that is in it`),
  ]);
}

/** Step: stops the containers of this box; with `--purge` removes them with their volumes. */
export function containersStep({ context, options }: LeaveBox, project: string): RunStep<LeaveStepId> {
  const { env, signal } = context;
  const isPurge = options.purge === true;
  return {
    id: "containers",
    title: "Containers",
    assess: async () => {
      const docker = await connectDocker(env);
      return isPurge ? await assessRemoval(docker, project, signal) : await assessStop(docker, project, signal);
    },
    apply: async (report) => {
      const docker = await connectDocker(env);
      if (!isPurge) {
        const stopped = await stopProject(docker, project, { signal, report, order: START_ORDER });
        return stopped.length === 0 ? "none ran" : `${stopped.join(", ")} stopped`;
      }
      const gone = await removeProject(docker, project, { signal, report, volumes: true });
      return `${formatCount(gone.containers.length, "container")} and ${formatCount(gone.volumes.length, "volume")} removed`;
    },
  };
}
