import type { Clock } from "../kernel/clock.ts";
import { FulaError, messageOf } from "../kernel/errors.ts";

/** `degraded` = an operator should look, but requests are served; `failed` = not ready. */
export type CheckState = "ok" | "degraded" | "failed";

/** What one look at a dependency found. */
export interface CheckOutcome {
  readonly state: CheckState;
  /** Why it is not `ok`; null where it is. */
  readonly error?: string;
  /** Facts for the report: numbers with their unit in the name, never secrets. */
  readonly details?: Readonly<Record<string, unknown>>;
}

/** One dependency and how it is looked at. A `run` that throws, or does not end in time, is a failed check. */
export interface HealthCheck {
  readonly name: string;
  /** False = requests are served without it: when it fails, the whole is `degraded` and not `unready`. */
  readonly critical: boolean;
  readonly timeoutMs: number;
  /** A result younger than this is given again instead of looking anew. */
  readonly cacheMs: number;
  readonly run: (signal: AbortSignal) => Promise<CheckOutcome>;
}

/** One line of the readiness report. */
export interface CheckReport {
  readonly name: string;
  readonly state: CheckState;
  readonly critical: boolean;
  readonly latencyMs: number;
  /** How long ago it was looked at. */
  readonly ageMs: number;
  readonly error: string | null;
  readonly details?: Readonly<Record<string, unknown>>;
}

/** What `/readyz` answers. */
export interface HealthReport {
  readonly status: "ready" | "degraded" | "unready";
  readonly checks: readonly CheckReport[];
}

/** Looks at all dependencies. */
export interface Health {
  report(): Promise<HealthReport>;
}

interface Measured {
  readonly outcome: CheckOutcome;
  readonly latencyMs: number;
  readonly atMs: number;
}

function describeFailure(error: unknown): string {
  return error instanceof FulaError ? `${error.code}: ${error.message}` : messageOf(error);
}

/** Whoever waits for a service to be well again, as a failover does, is not told for long that it is not. */
const FAILED_CACHE_MS = 500;

/** One check with its cache: never runs twice at the same time, however many ask and however long it hangs. */
class CachedCheck {
  readonly #check: HealthCheck;
  readonly #clock: Clock;
  #last: Measured | null = null;
  #running: Promise<Measured> | null = null;
  #runningSinceMs = 0;

  constructor(check: HealthCheck, clock: Clock) {
    this.#check = check;
    this.#clock = clock;
  }

  async report(): Promise<CheckReport> {
    const { name, critical } = this.#check;
    const measured = await this.#measured();
    const { state, error, details } = measured.outcome;
    return {
      name,
      state,
      critical,
      latencyMs: Math.round(measured.latencyMs),
      ageMs: Math.max(0, Math.round(this.#clock.monotonicMs() - measured.atMs)),
      error: error ?? null,
      ...(details === undefined ? {} : { details }),
    };
  }

  async #measured(): Promise<Measured> {
    const { cacheMs, timeoutMs } = this.#check;
    const nowMs = this.#clock.monotonicMs();
    const keptMs = this.#last?.outcome.state === "failed" ? Math.min(cacheMs, FAILED_CACHE_MS) : cacheMs;
    if (this.#last !== null && nowMs - this.#last.atMs < keptMs) return this.#last;
    this.#running ??= this.#start();
    const leftMs = timeoutMs - (nowMs - this.#runningSinceMs);
    return await this.#withDeadline(this.#running, Math.max(0, leftMs));
  }

  async #start(): Promise<Measured> {
    const startMs = this.#clock.monotonicMs();
    this.#runningSinceMs = startMs;
    let outcome: CheckOutcome;
    try {
      outcome = await this.#check.run(AbortSignal.timeout(this.#check.timeoutMs));
    } catch (error) {
      outcome = { state: "failed", error: describeFailure(error) };
    }
    const atMs = this.#clock.monotonicMs();
    this.#last = { outcome, latencyMs: atMs - startMs, atMs };
    this.#running = null;
    return this.#last;
  }

  async #withDeadline(running: Promise<Measured>, leftMs: number): Promise<Measured> {
    const done = new AbortController();
    const late = this.#clock.sleep(leftMs, done.signal).then(
      (): Measured => this.#timedOut(),
      (): Measured => this.#timedOut(),
    );
    try {
      return await Promise.race([running, late]);
    } finally {
      done.abort();
    }
  }

  #timedOut(): Measured {
    const atMs = this.#clock.monotonicMs();
    const latencyMs = atMs - this.#runningSinceMs;
    const error = `no answer within ${this.#check.timeoutMs} ms`;
    return { outcome: { state: "failed", error }, latencyMs, atMs };
  }
}

function statusOf(checks: readonly CheckReport[]): HealthReport["status"] {
  if (checks.some(({ state, critical }) => state === "failed" && critical)) return "unready";
  return checks.every(({ state }) => state === "ok") ? "ready" : "degraded";
}

/** Puts checks together. They are looked at side by side, each at most once every `cacheMs`, one that failed twice a second. */
export function createHealth(checks: readonly HealthCheck[], clock: Clock): Health {
  const cached = checks.map((check) => new CachedCheck(check, clock));
  return {
    report: async () => {
      const reports = await Promise.all(cached.map(async (check) => await check.report()));
      return { status: statusOf(reports), checks: reports };
    },
  };
}
