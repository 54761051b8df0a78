import { z } from "zod";
import type { LoadedConfig } from "../config/load.ts";
import { connectDocker } from "../runtime/docker.ts";
import { readProjectHealth, type ServiceHealth } from "../runtime/project-health.ts";
import type { LookLimits } from "./look.ts";
import { imageOf, stackServices } from "./stack-values.ts";
import { bad, lookAtPart, OK } from "./status-part.ts";
import type { ContainersPart, DiskPart, ServiceLine } from "./status-report.ts";
import { readRoom } from "./status-stores.ts";

type Env = Readonly<Record<string, string | undefined>>;

/** A service that the settings want in a container, and the image that they name for it. */
interface WantedService {
  readonly service: string;
  readonly image: string;
}

/** The services that this box should have in containers of its own. */
export function wantedServices({ config }: LoadedConfig): readonly WantedService[] {
  return stackServices(config).map((service) => ({ service, image: imageOf(config, service) }));
}

/** Restarts within this time after one another are a loop. */
const LOOP_MS = 10 * 60_000;
const LOOP_RESTARTS_MIN = 3;

/** What is wrong with a container; null where nothing is. `nowMs` is this box's time. */
export function judgeContainer(found: ServiceHealth, nowMs: number): string | null {
  const { state, health, healthOutput, restarts, exitCode, startedAt } = found;
  if (state === "restarting") return `restarts again and again (exit code ${exitCode}, ${restarts} times)`;
  if (state !== "running") return `does not run: it is ${state} (exit code ${exitCode})`;
  if (health === "unhealthy") return `is unhealthy${healthOutput === null ? "" : `: ${healthOutput}`}`;
  const isYoung = startedAt !== null && nowMs - Date.parse(startedAt) < LOOP_MS;
  if (restarts >= LOOP_RESTARTS_MIN && isYoung) return `restarted ${restarts} times, the last time at ${startedAt}`;
  return null;
}

function lineOf({ service, containerName, state, health, image, restarts }: ServiceHealth): ServiceLine {
  return { service, container: containerName, state, health, image, restarts };
}

/** Looks at the containers of this box's project. */
export async function readContainers(loaded: LoadedConfig, env: Env, limits: LookLimits): Promise<ContainersPart> {
  const { project } = loaded.config.docker;
  return await lookAtPart<ContainersPart>(limits, { project, services: [] }, async (signal) => {
    const found = await readProjectHealth(await connectDocker(env), project, { signal });
    const missing = wantedServices(loaded).filter(({ service }) => !found.some((each) => each.service === service));
    const services = [
      ...found.map(lineOf),
      ...missing.map(
        ({ service, image }): ServiceLine => ({
          service,
          container: "",
          state: "absent",
          health: "none",
          image,
          restarts: 0,
        }),
      ),
    ];
    const problems = [
      ...found.flatMap((each) => {
        const problem = judgeContainer(each, limits.clock.nowMs());
        return problem === null ? [] : [`${each.service} ${problem}`];
      }),
      ...missing.map(({ service }) => `${service} has no container`),
    ];
    const known = { project, services };
    return problems.length === 0 ? { ...known, ...OK } : { ...known, ...bad(problems.join("; ")) };
  });
}

/** Looks at the file system that Docker keeps images, containers and volumes on. */
export async function readDockerDisk(env: Env, limits: LookLimits): Promise<DiskPart> {
  const unknown = { path: "", freeBytes: null, totalBytes: null };
  return await lookAtPart<DiskPart>(limits, unknown, async () => {
    const docker = await connectDocker(env);
    const root = z.object({ DockerRootDir: z.string() }).parse(await docker.info());
    return await readRoom(root.DockerRootDir, limits);
  });
}
