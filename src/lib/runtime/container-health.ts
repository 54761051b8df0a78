import type Docker from "dockerode";
import type { Clock } from "../kernel/clock.ts";
import { FulaError } from "../kernel/errors.ts";
import { formatDuration } from "../kernel/units.ts";
import { lastLogLines } from "./container-logs.ts";
import { orAbsent } from "./docker-errors.ts";
import { isWell, readHealth, type ServiceHealth } from "./project-health.ts";

/** How long to wait for a container, and whom to tell. */
export interface HealthWait {
  readonly clock: Clock;
  readonly signal: AbortSignal;
  readonly report: (text: string) => void;
  readonly patienceMs: number;
}

const POLL_MS = 300;
/** A container that ends and is started again that often will not come up by itself. */
const RESTARTS_MAX = 3;
const LOG_LINES = 12;

/** What was seen of a container before the look at hand. */
interface Seen {
  readonly restarts: number;
  /** Null where it was never seen between two runs. */
  readonly exitCode: number | null;
}

/** Why there is no use in waiting any longer; null while there is. */
function hopeless(health: ServiceHealth | null, seen: Seen): string | null {
  if (health === null) return "it was taken away meanwhile";
  const { state, exitCode, restarts } = health;
  if (state === "exited" || state === "dead") return `it ended with exit code ${exitCode}`;
  // Its exit code shows between two runs alone, and the engine takes longer there from time to time.
  if (restarts - seen.restarts >= (seen.exitCode === null ? 2 * RESTARTS_MAX : RESTARTS_MAX)) {
    const code = seen.exitCode === null ? "" : `, with exit code ${seen.exitCode}`;
    return `it ended ${restarts - seen.restarts} times${code}`;
  }
  // Between two runs the engine calls it unhealthy, too.
  return state === "running" && health.health === "unhealthy" ? "it says that it is unhealthy" : null;
}

async function unhealthy(
  docker: Docker,
  containerId: string,
  service: string,
  facts: { readonly why: string; readonly output: string | null },
): Promise<FulaError> {
  const { why, output } = facts;
  const log = await lastLogLines(docker, containerId, LOG_LINES);
  const said = [
    ...(output === null || output === "" ? [] : [`Its health check said: ${output}`]),
    ...(log.length === 0 ? [] : ["Its last log lines:", ...log.map((line) => `  ${line}`)]),
  ];
  return new FulaError(
    "FULA_CONTAINER_UNHEALTHY",
    [`The container of ${service} did not become healthy: ${why}.`, ...said].join("\n"),
    {
      hint: `docker logs ${containerId.slice(0, 12)} shows all that it wrote.`,
      details: { service, containerId, why, healthOutput: output, log },
    },
  );
}

/**
 * Waits until a container runs and says that it is healthy; one that nobody asks is healthy when it runs at two looks.
 * @throws FulaError FULA_CONTAINER_UNHEALTHY with its last log lines
 */
export async function awaitHealthy(
  docker: Docker,
  containerId: string,
  service: string,
  { clock, signal, report, patienceMs }: HealthWait,
): Promise<void> {
  const startMs = clock.monotonicMs();
  let seen: Seen | null = null;
  let looksWell = 0;
  let secondsSaid = -1;
  for (;;) {
    signal.throwIfAborted();
    const info = await orAbsent(async () => await docker.getContainer(containerId).inspect({ abortSignal: signal }));
    const health = info === null ? null : await readHealth(docker, info, { signal });
    seen ??= { restarts: health?.restarts ?? 0, exitCode: null };
    // While it runs, the engine gives 0.
    if (health?.state === "restarting") seen = { ...seen, exitCode: health.exitCode };
    looksWell = health !== null && isWell(health) ? looksWell + 1 : 0;
    if (health !== null && looksWell >= (health.health === "none" ? 2 : 1)) return;
    const waitedMs = clock.monotonicMs() - startMs;
    const why =
      hopeless(health, seen) ??
      (waitedMs >= patienceMs ? `it is still starting after ${formatDuration(patienceMs)}` : null);
    if (why !== null) {
      throw await unhealthy(docker, containerId, service, { why, output: health?.healthOutput ?? null });
    }
    const seconds = Math.floor(waitedMs / 1_000);
    if (seconds !== secondsSaid) report(`starting, ${seconds}s`);
    secondsSaid = seconds;
    await clock.sleep(POLL_MS, signal);
  }
}
