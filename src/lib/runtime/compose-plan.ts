import type Docker from "dockerode";
import type { ContainerInfo } from "dockerode";
import type { ComposeProject, ComposeResource, ComposeService } from "./compose-file.ts";
import { configHashOf } from "./compose-container.ts";
import {
  foreignContainer,
  foreignPorts,
  foreignResource,
  type ForeignThing,
  nameOf,
  ofAnotherBaseDir,
} from "./compose-foreign.ts";
import { LABELS } from "./compose-labels.ts";
import { askingEngine, orAbsent } from "./docker-errors.ts";
import { isWell, readHealth, type ServiceHealth } from "./project-health.ts";

/** What is to be done about a service: `start` also restarts what is unhealthy and waits for what is not healthy yet. */
export type ServiceAction = "create" | "recreate" | "start" | "keep";

/** One service of the file, what is there of it, and what is to be done. */
export interface ServicePlan {
  readonly service: ComposeService;
  readonly action: ServiceAction;
  readonly why: string;
  /** Hash of what its container is made from. */
  readonly configHash: string;
  /** Its container; null where there is none. */
  readonly current: ServiceHealth | null;
  /** Further containers of it: a predecessor that an update which was cut off had set aside. */
  readonly setAside: readonly ServiceHealth[];
  /** Id of the image that the file's name for it means now; null where it is not on this box. */
  readonly imageId: string | null;
  /** True where somebody else decides whether it runs: its container is made, and started only where it ran before. */
  readonly isHeldBack: boolean;
}

/** What has to be done so that the engine has what a Compose file says. */
export interface ProjectPlan {
  readonly project: ComposeProject;
  /** Each after those that it depends on. */
  readonly services: readonly ServicePlan[];
  /** What has to be made. */
  readonly networks: readonly ComposeResource[];
  readonly volumes: readonly ComposeResource[];
  /** What stands in the way and is not of this project; nothing may be applied then. */
  readonly foreign: readonly ForeignThing[];
  /** Containers of this project whose service the file does not have, or whose profile is off. They are left alone. */
  readonly orphans: readonly ServiceHealth[];
}

/** Which services of a file count, and what makes a container too old. */
export interface PlanOptions {
  /** Profiles that are on; a service without profiles always counts. Default none. */
  readonly profiles?: readonly string[];
  /** Services whose containers are also made anew where their image's name means another image by now. */
  readonly freshImages?: readonly string[];
  /** Services that are not to be started, because somebody else decides whether they may run. Default none. */
  readonly heldBack?: readonly string[];
  readonly signal?: AbortSignal;
}

/** True where the engine has everything as the file says, and every container is well. */
export function isApplied({ services, networks, volumes, foreign }: ProjectPlan): boolean {
  return (
    foreign.length === 0 &&
    networks.length === 0 &&
    volumes.length === 0 &&
    services.every(({ action }) => action === "keep")
  );
}

interface Existing {
  readonly health: ServiceHealth;
  readonly configHash: string | null;
}

interface Found {
  readonly current: Existing | null;
  readonly setAside: readonly Existing[];
}

/** The one of the right name, else one that runs, comes first. */
function sortOut(all: readonly Existing[], { containerName }: ComposeService): Found {
  const rank = ({ health }: Existing): number =>
    (health.containerName === containerName ? 2 : 0) + (health.state === "running" ? 1 : 0);
  const [current = null, ...setAside] = all.toSorted((a, b) => rank(b) - rank(a));
  return { current, setAside };
}

function whyStart({ state, health, healthOutput, exitCode }: ServiceHealth): string {
  if (state === "running") {
    if (health === "starting") return "it is not healthy yet";
    return `it is unhealthy${healthOutput === null || healthOutput === "" ? "" : `: ${healthOutput}`}`;
  }
  if (state === "exited") return `it has ended with exit code ${exitCode}`;
  return `it is ${state}`;
}

/** Decides about one service from what is there. Pure. */
export function decideAction(facts: {
  readonly service: ComposeService;
  readonly configHash: string;
  readonly current: Existing | null;
  readonly imageId: string | null;
  readonly wantsFreshImage: boolean;
  readonly isHeldBack: boolean;
}): { readonly action: ServiceAction; readonly why: string } {
  const { service, configHash, current, imageId, wantsFreshImage, isHeldBack } = facts;
  if (current === null) return { action: "create", why: "there is none yet" };
  const { health } = current;
  if (current.configHash !== configHash) {
    if (health.image === service.image) return { action: "recreate", why: "its settings have changed" };
    return { action: "recreate", why: `its image is ${health.image}, and ${service.image} is wanted` };
  }
  if (wantsFreshImage && imageId !== null && health.imageId !== imageId) {
    return { action: "recreate", why: `${service.image} names another image by now` };
  }
  if (isHeldBack && health.state !== "running") return { action: "keep", why: "serve starts it when it may run" };
  if (!isWell(health)) return { action: "start", why: whyStart(health) };
  if (!health.isWanted && service.restart !== "no") {
    return { action: "start", why: "it would not be started again: a stop or an update was cut off" };
  }
  if (health.isWanted && service.restart === "no") {
    return { action: "start", why: "the engine would start it at boot, and serve is to" };
  }
  if (health.containerName !== service.containerName) {
    return { action: "start", why: `it is named ${health.containerName}: an update was cut off` };
  }
  return { action: "keep", why: "it runs as it should" };
}

/** Everything that the engine has and that a plan depends on. */
interface EngineFacts {
  readonly containers: readonly ContainerInfo[];
  readonly inspected: ReadonlyMap<string, Existing>;
}

async function readEngine(docker: Docker, project: string, signal?: AbortSignal): Promise<EngineFacts> {
  const abort = signal === undefined ? {} : { abortSignal: signal };
  const containers = await docker.listContainers({ all: true, ...abort });
  const own = containers.filter(({ Labels }) => Labels[LABELS.project] === project && Labels[LABELS.oneOff] !== "True");
  const inspected = new Map<string, Existing>();
  await Promise.all(
    own.map(async ({ Id }) => {
      const info = await orAbsent(async () => await docker.getContainer(Id).inspect(abort));
      if (info === null) return;
      const health = await readHealth(docker, info, { signal });
      inspected.set(Id, { health, configHash: info.Config.Labels[LABELS.configHash] ?? null });
    }),
  );
  return { containers, inspected };
}

function isOn({ profiles }: ComposeService, on: readonly string[]): boolean {
  return profiles.length === 0 || profiles.some((profile) => on.includes(profile));
}

async function planService(
  docker: Docker,
  project: ComposeProject,
  service: ComposeService,
  context: {
    readonly facts: EngineFacts;
    readonly freshImages: readonly string[];
    readonly heldBack: readonly string[];
  },
): Promise<ServicePlan> {
  const mine = [...context.facts.inspected.values()].filter(
    ({ health }) => health.service === service.name || health.containerName === service.containerName,
  );
  const { current, setAside } = sortOut(mine, service);
  const configHash = await configHashOf(project, service);
  const image = await orAbsent(async () => await docker.getImage(service.image).inspect());
  const imageId = image?.Id ?? null;
  const wantsFreshImage = context.freshImages.includes(service.name);
  const isHeldBack = context.heldBack.includes(service.name);
  const decided = decideAction({ service, configHash, current, imageId, wantsFreshImage, isHeldBack });
  // A predecessor that still lies there says that the update never got to its end.
  const isUnfinished = decided.action === "keep" && setAside.length > 0;
  return {
    service,
    ...(isUnfinished ? { action: "start" as const, why: "its predecessor is still to be taken away" } : decided),
    configHash,
    current: current?.health ?? null,
    setAside: setAside.map(({ health }) => health),
    imageId,
    isHeldBack,
  };
}

interface ResourceLook {
  readonly missing: readonly ComposeResource[];
  readonly foreign: readonly ForeignThing[];
}

async function lookAtResources(
  kind: "network" | "volume",
  wanted: readonly ComposeResource[],
  project: string,
  find: (name: string) => Promise<{ readonly Labels?: Readonly<Record<string, string>> | null | undefined } | null>,
): Promise<ResourceLook> {
  const missing: ComposeResource[] = [];
  const foreign: ForeignThing[] = [];
  for (const resource of wanted) {
    const found = await find(resource.name);
    if (found === null) missing.push(resource);
    else if (found.Labels?.[LABELS.project] !== project) {
      foreign.push(foreignResource(kind, resource.name, found.Labels));
    }
  }
  return { missing, foreign };
}

/**
 * Compares a Compose file with what the engine has. Reads only.
 * @throws FulaError FULA_COMPOSE_INVALID, FULA_DOCKER_UNREACHABLE, FULA_DOCKER_FAILED
 */
export async function planProject(
  docker: Docker,
  project: ComposeProject,
  options: PlanOptions = {},
): Promise<ProjectPlan> {
  const { profiles = [], freshImages = [], heldBack = [], signal } = options;
  return await askingEngine(`looking at the project ${project.name}`, async () => {
    const facts = await readEngine(docker, project.name, signal);
    const wanted = project.services.filter((service) => isOn(service, profiles));
    const services = await Promise.all(
      wanted.map(async (service) => await planService(docker, project, service, { facts, freshImages, heldBack })),
    );
    const usedVolumes = new Set(wanted.flatMap(({ mounts }) => mounts.map(({ source }) => source)));
    const networks = await lookAtResources(
      "network",
      project.networks,
      project.name,
      // By name and not by id: the engine takes the beginning of an id for one, too.
      async (name) =>
        (await docker.listNetworks({ filters: { name: [name] } })).find(({ Name }) => Name === name) ?? null,
    );
    const volumes = await lookAtResources(
      "volume",
      project.volumes.filter(({ key }) => usedVolumes.has(key)),
      project.name,
      async (name) => await orAbsent(async () => await docker.getVolume(name).inspect()),
    );
    const names = new Set(wanted.map(({ containerName }) => containerName));
    const strangers = facts.containers.filter((info) => names.has(nameOf(info)) && !facts.inspected.has(info.Id));
    const ofOthers = facts.containers
      .filter(({ Id }) => facts.inspected.has(Id))
      .map((info) => ofAnotherBaseDir(info, project.file));
    // On the host's own network a port that the service itself has cannot be told from another's.
    const asksForPorts = services.filter(
      ({ action, service, current }) => action !== "keep" && !(service.isOnHost && current?.state === "running"),
    );
    const toRun = asksForPorts.map(({ service }) => service);
    const counted = new Set(services.flatMap(({ current, setAside }) => [current, ...setAside]));
    return {
      project,
      services,
      networks: networks.missing,
      volumes: volumes.missing,
      foreign: [
        ...strangers.map((info) => foreignContainer(info)),
        ...ofOthers.filter((thing) => thing !== null),
        ...networks.foreign,
        ...volumes.foreign,
        ...(await foreignPorts(toRun, project.name, facts.containers)),
      ],
      orphans: [...facts.inspected.values()].map(({ health }) => health).filter((health) => !counted.has(health)),
    };
  });
}
