import { FulaError } from "../kernel/errors.ts";
import { parseDurationMs } from "../kernel/units.ts";
import type { StatusReport } from "./status-report.ts";
import { readStatus, type StatusContext } from "./status.ts";

/** One look of a watch: a report, or why there could be none. */
export type WatchedStatus = { readonly report: StatusReport } | { readonly error: FulaError };

/** How a watch goes. */
export interface WatchOptions {
  /** Pause between two looks. */
  readonly intervalMs: number;
  readonly scheduleRoot?: string | undefined;
}

const INTERVAL_MIN_MS = 200;
const INTERVAL_DEFAULT_MS = 2_000;

/** Reads the value of `--watch`. @throws FulaError FULA_USAGE */
export function parseInterval(value: string | true): number {
  if (value === true) return INTERVAL_DEFAULT_MS;
  const ms = parseDurationMs(value);
  if (ms !== null && ms >= INTERVAL_MIN_MS) return ms;
  throw new FulaError("FULA_USAGE", `--watch ${JSON.stringify(value)} is not a duration of at least 200ms.`, {
    hint: "fula-master status --watch 5s",
  });
}

/** What moves at every look although nothing has changed. */
const RESTLESS = new Set(["at", "ageMs", "freeBytes", "repoBytes", "peersConnected", "stampAgeMs", "lag"]);

/** The same for two looks that say the same, but for what always moves. */
function fingerprintOf(look: WatchedStatus): string {
  if ("error" in look) return `${look.error.code}: ${look.error.message}`;
  return JSON.stringify(look.report, (key, value: unknown) => (RESTLESS.has(key) ? undefined : value));
}

async function lookOnce(context: StatusContext, scheduleRoot: string | undefined): Promise<WatchedStatus> {
  try {
    return { report: await readStatus(context, scheduleRoot) };
  } catch (error) {
    context.signal.throwIfAborted();
    if (error instanceof FulaError) return { error };
    throw error;
  }
}

/**
 * Looks again and again until the run's signal aborts, and returns then. Settings that cannot be read any more, or
 * whatever dies, do not end it; what cannot be read at the first look does.
 * @param show gets each look; `changed` is true where it says something else than the one before
 * @throws FulaError FULA_CONFIG_* at the first look
 */
export async function watchStatus(
  context: StatusContext,
  { intervalMs, scheduleRoot }: WatchOptions,
  show: (look: WatchedStatus, changed: boolean) => void,
): Promise<void> {
  const { clock, signal } = context;
  let last: string | null = null;
  try {
    for (;;) {
      const look = await lookOnce(context, scheduleRoot);
      if (last === null && "error" in look) throw look.error;
      const fingerprint = fingerprintOf(look);
      show(look, fingerprint !== last);
      last = fingerprint;
      await clock.sleep(intervalMs, signal);
    }
  } catch (error) {
    if (!signal.aborted) throw error;
  }
}
