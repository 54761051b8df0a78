import type Docker from "dockerode";
import { stopForGood } from "./compose-apply.ts";
import { isMadeByUs, LABELS, labelFilter, madeFrom } from "./compose-labels.ts";
import { askingEngine, orAbsent } from "./docker-errors.ts";
import { readProjectHealth, type ServiceHealth } from "./project-health.ts";

/** What of a project is a box's own: an older installer, or another base directory, may use the same project name. */
export interface OwnParts {
  /** Compose file of the box. */
  readonly file: string;
  /** Services that it names. */
  readonly services: readonly string[];
  /** Volumes that it names, as the engine calls them. */
  readonly volumes: readonly string[];
}

/** What ending a project needs beside the engine. */
export interface EndContext {
  readonly signal: AbortSignal;
  /** Gets what is being done now: one line. */
  readonly report: (text: string) => void;
  /** Spares what carries the project's label and is somebody else's; without it there is nobody else. */
  readonly own?: OwnParts;
}

/** What carries a project's label. */
export interface ProjectParts {
  readonly containers: readonly ServiceHealth[];
  readonly volumes: readonly string[];
  /** Names of containers and volumes that are somebody else's. */
  readonly others: readonly string[];
}

/** What was taken away. */
export interface RemovalReport {
  readonly containers: readonly string[];
  readonly networks: readonly string[];
  readonly volumes: readonly string[];
}

type Labels = Readonly<Record<string, string>>;

/** True for a container of the box: one that it made, or one of a service that it names and no other box made. */
export function isOwnContainer(labels: Labels, own: OwnParts | undefined): boolean {
  if (own === undefined) return true;
  const file = madeFrom(labels);
  return file === null ? own.services.includes(labels[LABELS.service] ?? "") : file === own.file;
}

interface Resource {
  readonly Name: string;
  readonly Labels?: Labels | null | undefined;
}

/** True for a volume or network of the box: one that its Compose file names, or that a fula-master made. */
export function isOwnResource({ Name, Labels }: Resource, own: OwnParts | undefined): boolean {
  return own === undefined || isMadeByUs(Labels) || own.volumes.includes(Name);
}

async function listResources(
  docker: Docker,
  kind: "networks" | "volumes",
  project: string,
): Promise<readonly Resource[]> {
  const filters = labelFilter({ [LABELS.project]: project });
  if (kind === "networks") return await docker.listNetworks({ filters });
  // The engine says null where there is none.
  const answer: { readonly Volumes: readonly Resource[] | null } = await docker.listVolumes({
    filters: JSON.stringify(filters),
  });
  return answer.Volumes ?? [];
}

/**
 * Looks at the containers and volumes that carry a project's label, and tells whose they are.
 * @throws FulaError FULA_DOCKER_UNREACHABLE, FULA_DOCKER_FAILED
 */
export async function readProjectParts(
  docker: Docker,
  project: string,
  { signal, own }: Pick<EndContext, "signal" | "own">,
): Promise<ProjectParts> {
  const all = await readProjectHealth(docker, project, { signal });
  return await askingEngine(`asking what ${project} has`, async () => {
    const listed = await docker.listContainers({ all: true, filters: labelFilter({ [LABELS.project]: project }) });
    const mine = new Set(listed.filter((info) => isOwnContainer(info.Labels, own)).map(({ Id }) => Id));
    const found = await listResources(docker, "volumes", project);
    const volumes = found.filter((volume) => isOwnResource(volume, own));
    return {
      containers: all.filter(({ containerId }) => mine.has(containerId)),
      volumes: volumes.map(({ Name }) => Name),
      others: [
        ...all.filter(({ containerId }) => !mine.has(containerId)).map(({ containerName }) => containerName),
        ...found.filter((volume) => !volumes.includes(volume)).map(({ Name }) => Name),
      ],
    };
  });
}

/**
 * Stops the containers of a project, so that neither the engine nor `serve` starts one again; `applyProject` does.
 * What depends on others is stopped first where `order`, the services as they are started, says so.
 * @returns the names of those that ran
 * @throws FulaError FULA_DOCKER_UNREACHABLE, FULA_DOCKER_FAILED
 */
export async function stopProject(
  docker: Docker,
  project: string,
  { signal, report, own, order = [] }: EndContext & { readonly order?: readonly string[] },
): Promise<readonly string[]> {
  const { containers } = await readProjectParts(docker, project, { signal, ...(own && { own }) });
  const last = containers.toSorted((a, b) => order.indexOf(b.service) - order.indexOf(a.service));
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

/**
 * Takes away the containers and networks that carry a project's label, and with `volumes` the data as well. What
 * carries another label, or none, is never touched.
 * @throws FulaError FULA_DOCKER_UNREACHABLE, FULA_DOCKER_FAILED
 */
export async function removeProject(
  docker: Docker,
  project: string,
  { signal, report, own, volumes }: EndContext & { readonly volumes: boolean },
): Promise<RemovalReport> {
  const spared = own && { own };
  await stopProject(docker, project, { signal, report, ...spared });
  const { containers, volumes: data } = await readProjectParts(docker, project, { signal, ...spared });
  return await askingEngine(`taking the project ${project} away`, async () => {
    for (const { containerId, containerName } of containers) {
      report(`removing ${containerName}`);
      await orAbsent(async () => await docker.getContainer(containerId).remove({ force: true, v: volumes }));
    }
    const found = await listResources(docker, "networks", project);
    const networks = found.filter((network) => isOwnResource(network, own)).map(({ Name }) => Name);
    for (const name of networks) await orAbsent(async () => await docker.getNetwork(name).remove());
    const gone = volumes ? data : [];
    for (const name of gone) {
      report(`removing the volume ${name}`);
      await orAbsent(async () => await docker.getVolume(name).remove());
    }
    return { containers: containers.map(({ containerName }) => containerName), networks, volumes: gone };
  });
}

/**
 * Takes one service of a project away for good: its containers and its volume, with all that is in it.
 * @param volume as the engine calls it
 * @throws FulaError FULA_DOCKER_UNREACHABLE, FULA_DOCKER_FAILED
 */
export async function removeService(
  docker: Docker,
  project: string,
  { service, volume }: { readonly service: string; readonly volume: string },
  context: Pick<EndContext, "signal" | "own">,
): Promise<void> {
  const { containers, volumes } = await readProjectParts(docker, project, context);
  await askingEngine(`taking ${service} of ${project} away`, async () => {
    for (const container of containers.filter((each) => each.service === service)) {
      await orAbsent(async () => {
        await stopForGood(docker, container);
      });
      await orAbsent(async () => await docker.getContainer(container.containerId).remove({ force: true, v: true }));
    }
    if (volumes.includes(volume)) await orAbsent(async () => await docker.getVolume(volume).remove());
  });
}
