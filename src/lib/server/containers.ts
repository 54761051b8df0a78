import type { LoadedConfig } from "../config/load.ts";
import type { Clock } from "../kernel/clock.ts";
import type { Log } from "../kernel/log.ts";
import { type ContainersSeen, type ContainerSupervisor, superviseContainers } from "../runtime/container-supervisor.ts";
import { connectDocker } from "../runtime/docker.ts";
import { isWell, type ServiceHealth } from "../runtime/project-health.ts";
import { hasContainers, stackServices } from "../stack/stack-values.ts";
import type { CheckOutcome, HealthCheck } from "./health.ts";

/** After a boot the containers come up beside `serve`; the ledger is opened when they are there, or after this. */
const SETTLE_PATIENCE_MS = 60_000;

/** What keeps the containers of this box running; null where it has none of its own. */
export async function startContainerSupervisor(
  { config }: LoadedConfig,
  deps: {
    readonly clock: Clock;
    readonly log: Log;
    readonly env: Readonly<Record<string, string | undefined>>;
    readonly onRestart: (service: string) => void;
    readonly signal?: AbortSignal | undefined;
  },
): Promise<ContainerSupervisor | null> {
  if (!hasContainers(config)) return null;
  const { clock, log, onRestart, env, signal } = deps;
  const supervisor = superviseContainers(await connectDocker(env), config.docker.project, { clock, log, onRestart });
  try {
    if (!(await supervisor.settled(SETTLE_PATIENCE_MS, signal))) {
      log.warn("containers.not_settled", { project: config.docker.project, patienceMs: SETTLE_PATIENCE_MS });
    }
    return supervisor;
  } catch (error) {
    await supervisor[Symbol.asyncDispose]();
    throw error;
  }
}

function wordOf({ state, health, isWanted }: ServiceHealth): string {
  if (!isWanted) return `${state}, stopped on purpose`;
  return state === "running" && health !== "none" ? health : state;
}

/**
 * What the supervisor saw last, as a check result. An engine that was not heard is never taken for a good sign.
 * @param wanted the services that this box runs in containers of its own: one that was taken away is not seen at all
 */
export function judgeContainers(seen: ContainersSeen | null, wanted: readonly string[]): CheckOutcome {
  if (seen === null) return { state: "degraded", error: "the containers have not been looked at yet" };
  if (seen.error !== null) return { state: "degraded", error: `the Docker Engine cannot be asked: ${seen.error}` };
  const details = Object.fromEntries(seen.containers.map((each) => [each.service, wordOf(each)]));
  if (seen.containers.length === 0) return { state: "degraded", error: "the project has no containers", details };
  const missing = wanted.filter((service) => details[service] === undefined);
  const problems = [
    ...seen.containers.filter((each) => !isWell(each)).map((each) => `${each.service} is ${wordOf(each)}`),
    ...missing.map((service) => `${service} has no container`),
  ];
  if (problems.length === 0) return { state: "ok", details };
  return { state: "degraded", error: problems.join("; "), details };
}

/**
 * Readiness check: the containers as the supervisor sees them. What they are for has checks of its own.
 * @param current gives the settings as they are by now
 */
export function containersCheck(supervisor: ContainerSupervisor, current: () => LoadedConfig): HealthCheck {
  return {
    name: "containers",
    critical: false,
    timeoutMs: 1_000,
    cacheMs: 0,
    run: async () => await Promise.resolve(judgeContainers(supervisor.seen(), stackServices(current().config))),
  };
}

/** Which services are well, for `/metrics`; null where it is not known. */
export function wellServices(supervisor: ContainerSupervisor | null): ReadonlyMap<string, boolean> | null {
  const seen = supervisor?.seen() ?? null;
  if (seen === null || seen.error !== null) return null;
  return new Map(seen.containers.map((each) => [each.service, isWell(each)]));
}
