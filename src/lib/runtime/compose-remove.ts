import type Docker from "dockerode";
import { stopForGood } from "./compose-apply.ts";
import { LABELS, labelFilter } from "./compose-labels.ts";
import { askingEngine, orAbsent } from "./docker-errors.ts";
import { readProjectHealth } from "./project-health.ts";

/** What ending a project needs beside the engine. */
export interface EndContext {
  readonly signal: AbortSignal;
  /** Gets what is being done now: one line. */
  readonly report: (text: string) => void;
}

/** What was taken away. */
export interface RemovalReport {
  readonly containers: readonly string[];
  readonly networks: readonly string[];
  readonly volumes: readonly string[];
}

/**
 * Stops every container of a project, so that neither the engine nor `serve` starts one again; `applyProject` does.
 * What depends on others is stopped first where `order`, the services as they are started, says so.
 * @returns the names of those that ran
 * @throws FulaError FULA_DOCKER_UNREACHABLE, FULA_DOCKER_FAILED
 */
export async function stopProject(
  docker: Docker,
  project: string,
  { signal, report, order = [] }: EndContext & { readonly order?: readonly string[] },
): Promise<readonly string[]> {
  const all = await readProjectHealth(docker, project, { signal });
  const last = all.toSorted((a, b) => order.indexOf(b.service) - order.indexOf(a.service));
  const stopped: string[] = [];
  for (const container of last) {
    signal.throwIfAborted();
    const isUp = ["running", "paused", "restarting"].includes(container.state);
    if (!isUp && !container.isWanted) continue;
    report(`stopping ${container.containerName}`);
    await askingEngine(`stopping ${container.containerName}`, async () => {
      await orAbsent(async () => {
        await stopForGood(docker, container);
      });
    });
    if (isUp) stopped.push(container.containerName);
  }
  return stopped;
}

/** Names of the networks or volumes that carry the project's label. */
async function labelled(docker: Docker, kind: "networks" | "volumes", project: string): Promise<readonly string[]> {
  const filters = labelFilter({ [LABELS.project]: project });
  if (kind === "networks") return (await docker.listNetworks({ filters })).map(({ Name }) => Name);
  const { Volumes } = await docker.listVolumes({ filters: JSON.stringify(filters) });
  // The engine says null where there is none.
  return ((Volumes as typeof Volumes | null) ?? []).map(({ Name }) => Name);
}

/**
 * Takes away every container and network that carries a project's label, and with `volumes` the data as well. What
 * carries another label, or none, is never touched.
 * @throws FulaError FULA_DOCKER_UNREACHABLE, FULA_DOCKER_FAILED
 */
export async function removeProject(
  docker: Docker,
  project: string,
  { signal, report, volumes }: EndContext & { readonly volumes: boolean },
): Promise<RemovalReport> {
  await stopProject(docker, project, { signal, report });
  const containers = await readProjectHealth(docker, project, { signal });
  return await askingEngine(`taking the project ${project} away`, async () => {
    for (const { containerId, containerName } of containers) {
      report(`removing ${containerName}`);
      await orAbsent(async () => await docker.getContainer(containerId).remove({ force: true, v: volumes }));
    }
    const networks = await labelled(docker, "networks", project);
    for (const name of networks) await orAbsent(async () => await docker.getNetwork(name).remove());
    const gone = volumes ? await labelled(docker, "volumes", project) : [];
    for (const name of gone) {
      report(`removing the volume ${name}`);
      await orAbsent(async () => await docker.getVolume(name).remove());
    }
    return { containers: containers.map(({ containerName }) => containerName), networks, volumes: gone };
  });
}
