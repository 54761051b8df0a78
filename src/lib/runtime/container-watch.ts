import { isWell, type ServiceHealth } from "./project-health.ts";

/** What a supervisor remembers of one container. */
export interface Watch {
  /** Looks in a row at which it was down or unhealthy. */
  readonly badLooks: number;
  /** How often it was restarted since it was well. */
  readonly attempts: number;
  /** Not restarted before this, on the monotonic clock. */
  readonly notBeforeMs: number;
}

/** What to do about a container now, and what to remember. */
export interface WatchDecision {
  readonly watch: Watch;
  readonly act: "nothing" | "start" | "restart";
}

/** A container nothing is known about. */
export const FRESH_WATCH: Watch = { badLooks: 0, attempts: 0, notBeforeMs: 0 };

/** One bad look may be the moment in which somebody else starts or replaces it. */
const BAD_LOOKS_MIN = 2;
/** What does not come up is tried again ever more seldom, but never given up: its cause may go away by itself. */
const PAUSE_MIN_MS = 10_000;
const PAUSE_MAX_MS = 300_000;

/** True where somebody has to do something: what starts, is being restarted by the engine, or paused, is not. */
function isDown({ state, health }: ServiceHealth): boolean {
  if (state === "running") return health === "unhealthy";
  return state === "exited" || state === "created" || state === "dead";
}

/** Decides about one container from what is seen of it. Pure. */
export function decideWatch(watch: Watch, container: ServiceHealth, nowMs: number): WatchDecision {
  // What was stopped on purpose stays down.
  if (!container.isWanted || isWell(container)) return { watch: FRESH_WATCH, act: "nothing" };
  if (!isDown(container)) return { watch: { ...watch, badLooks: 0 }, act: "nothing" };
  const badLooks = watch.badLooks + 1;
  if (badLooks < BAD_LOOKS_MIN || nowMs < watch.notBeforeMs) {
    return { watch: { ...watch, badLooks }, act: "nothing" };
  }
  const pauseMs = Math.min(PAUSE_MIN_MS * 2 ** watch.attempts, PAUSE_MAX_MS);
  return {
    watch: { badLooks: 0, attempts: watch.attempts + 1, notBeforeMs: nowMs + pauseMs },
    act: container.state === "running" ? "restart" : "start",
  };
}
