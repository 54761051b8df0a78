import type Docker from "dockerode";
import type { ContainerInspectInfo } from "dockerode";
import { LABELS, labelFilter } from "./compose-labels.ts";
import { runInContainer } from "./container-exec.ts";
import { askingEngine, orAbsent } from "./docker-errors.ts";

/** One container of a Compose project, as it is now. */
export interface ServiceHealth {
  /** Name of the service in the Compose file. */
  readonly service: string;
  readonly containerId: string;
  readonly containerName: string;
  /** The reference that it was made from, and the id of the image that this named then. */
  readonly image: string;
  readonly imageId: string;
  readonly state: "created" | "running" | "paused" | "restarting" | "removing" | "exited" | "dead";
  /** `none` where nobody asks it how it is. */
  readonly health: "healthy" | "unhealthy" | "starting" | "none";
  /** What it said when it was last asked and was not well; null where it is. */
  readonly healthOutput: string | null;
  /** How often the engine has started it again since it was made. */
  readonly restarts: number;
  readonly exitCode: number;
  /** False where it was stopped on purpose: nobody shall start it. */
  readonly isWanted: boolean;
  /** RFC 3339; null where it never ran. */
  readonly startedAt: string | null;
}

/** What Docker gives as the time of something that never was. */
const NEVER = "0001-01-01T00:00:00Z";
const OUTPUT_CHARS = 500;
const NS_PER_MS = 1_000_000;
/** What the engine takes where a health check says nothing of it. */
const TIMEOUT_MS = 30_000;

function lastOutput(info: ContainerInspectInfo): string | null {
  const last = info.State.Health?.Log?.at(-1);
  if (last === undefined || last.ExitCode === 0) return null;
  return last.Output.trim().slice(-OUTPUT_CHARS);
}

const STATES: ReadonlySet<string> = new Set([
  "created",
  "running",
  "paused",
  "restarting",
  "removing",
  "exited",
  "dead",
]);
const HEALTHS: ReadonlySet<string> = new Set(["healthy", "unhealthy", "starting"]);

function isState(text: string): text is ServiceHealth["state"] {
  return STATES.has(text);
}

function isHealth(text: string | undefined): text is Exclude<ServiceHealth["health"], "none"> {
  return text !== undefined && HEALTHS.has(text);
}

function healthOf(info: ContainerInspectInfo): ServiceHealth {
  const { State, Config, HostConfig, RestartCount } = info;
  const status: string = State.Status;
  const health: string | undefined = State.Health?.Status;
  return {
    service: Config.Labels[LABELS.service] ?? "",
    containerId: info.Id,
    containerName: info.Name.replace(/^\//, ""),
    image: Config.Image,
    imageId: info.Image,
    state: isState(status) ? status : "dead",
    health: isHealth(health) ? health : "none",
    healthOutput: lastOutput(info),
    restarts: RestartCount,
    exitCode: State.ExitCode,
    isWanted: HostConfig.RestartPolicy?.Name !== "no",
    startedAt: State.StartedAt === NEVER ? null : State.StartedAt,
  };
}

/**
 * The health check of a container whose engine asks it late: one before 25.0 knows no interval for the start, and its first
 * question comes after the whole one.
 * @returns null where the engine asks in time
 */
function lateCheckOf({
  Config,
}: ContainerInspectInfo): { readonly args: readonly string[]; readonly ms: number } | null {
  const check = Config.Healthcheck;
  if (check === undefined || (check.StartInterval ?? 0) > 0) return null;
  const [kind, ...words] = check.Test ?? [];
  const ms = check.Timeout === undefined || check.Timeout === 0 ? TIMEOUT_MS : check.Timeout / NS_PER_MS;
  if (kind === "CMD") return { args: words, ms };
  return kind === "CMD-SHELL" ? { args: ["/bin/sh", "-c", ...words], ms } : null;
}

async function discard(): Promise<void> {}

async function passes(
  docker: Docker,
  containerId: string,
  { args, ms }: { readonly args: readonly string[]; readonly ms: number },
  signal: AbortSignal | undefined,
): Promise<boolean> {
  const late = AbortSignal.timeout(ms);
  const ended = signal === undefined ? late : AbortSignal.any([signal, late]);
  try {
    return (await runInContainer(docker, containerId, { args, onOutput: discard, signal: ended })).exitCode === 0;
  } catch {
    // It has ended meanwhile, or answers too late: what the engine says of it stands.
    signal?.throwIfAborted();
    return false;
  }
}

/** What an inspected container says about itself. One that starts is asked here where its engine asks only later. */
export async function readHealth(
  docker: Docker,
  info: ContainerInspectInfo,
  { signal }: { readonly signal?: AbortSignal | undefined } = {},
): Promise<ServiceHealth> {
  const health = healthOf(info);
  const check = health.state === "running" && health.health === "starting" ? lateCheckOf(info) : null;
  if (check === null || !(await passes(docker, info.Id, check, signal))) return health;
  return { ...health, health: "healthy", healthOutput: null };
}

/** True for a container that runs and does not say that it is unwell. */
export function isWell({ state, health }: ServiceHealth): boolean {
  return state === "running" && (health === "healthy" || health === "none");
}

/**
 * Looks at every container of a Compose project, running or not, in the order of their services' names.
 * @throws FulaError FULA_DOCKER_UNREACHABLE, FULA_DOCKER_FAILED
 */
export async function readProjectHealth(
  docker: Docker,
  project: string,
  options: { readonly signal?: AbortSignal } = {},
): Promise<readonly ServiceHealth[]> {
  const { signal } = options;
  const abort = signal === undefined ? {} : { abortSignal: signal };
  return await askingEngine(`asking for the containers of ${project}`, async () => {
    const filters = labelFilter({ [LABELS.project]: project, [LABELS.oneOff]: "False" });
    const listed = await docker.listContainers({ all: true, filters, ...abort });
    const infos = await Promise.all(
      // One that was removed meanwhile is none of the project's any more.
      listed.map(async ({ Id }) => await orAbsent(async () => await docker.getContainer(Id).inspect(abort))),
    );
    const present = infos.filter((info) => info !== null);
    const all = await Promise.all(present.map(async (info) => await readHealth(docker, info, options)));
    return all.toSorted((a, b) => a.service.localeCompare(b.service) || a.containerName.localeCompare(b.containerName));
  });
}
