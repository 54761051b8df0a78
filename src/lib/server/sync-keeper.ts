import type { LoadedConfig } from "../config/load.ts";
import type { Clock } from "../kernel/clock.ts";
import { messageOf } from "../kernel/errors.ts";
import type { Log } from "../kernel/log.ts";
import { StandbyCare, type StandbyCareContext } from "../stack/standby-care.ts";
import type { PrimarySeen } from "../stack/standby-look.ts";
import { narrateCare } from "./care-narrator.ts";
import { repeat } from "./repeat.ts";

/** Between two looks at who streams: what a standby that is gone holds up is every write. */
const INTERVAL_MS = 1_000;

/** What the keeper saw last, for readiness and metrics. */
export interface StandbysSeen {
  /** Null on a box that is not the primary. */
  readonly primary: PrimarySeen | null;
  /** Number of the epoch; null where there is none, or it could not be asked. */
  readonly epoch: number | null;
  /** Who may be promoted without loss. */
  readonly syncSet: readonly string[];
  /** Boxes that have a standby, or are getting one. */
  readonly standbys: readonly string[];
  /** What it waits for; null where nothing stands in the way. */
  readonly waits: string | null;
  /** Why the last round failed; null where it did not. */
  readonly error: string | null;
}

/** Looks after this box's server of the ledger, and those that copy it, until it is disposed of. */
export interface SyncKeeper extends AsyncDisposable {
  /** Null before the first round. */
  seen(): StandbysSeen | null;
}

/** What the keeper needs beside what it looks after. */
export interface KeeperDeps {
  readonly clock: Clock;
  readonly log: Log;
  /** Told of each round, for metrics. */
  readonly onSeen?: (seen: StandbysSeen) => void;
  readonly intervalMs?: number;
}

/** What is looked after. */
export interface KeptStandbys extends Omit<StandbyCareContext, "signal" | "loaded"> {
  /** As they are by now: whom commits wait for follows a change of them. */
  readonly settings: () => LoadedConfig;
}

/** Starts it. */
export function keepStandbys(
  { settings, store, server, random }: KeptStandbys,
  { clock, log, onSeen, intervalMs = INTERVAL_MS }: KeeperDeps,
): SyncKeeper {
  const end = new AbortController();
  const care = new StandbyCare({
    get loaded() {
      return settings();
    },
    store,
    server,
    random,
    signal: end.signal,
  });
  const { tell, fail } = narrateCare(log, {
    cared: "standby.cared",
    waits: "standby.waits",
    notCared: "standby.not_cared",
    waitLevel: "warn",
  });
  let seen: StandbysSeen | null = null;
  const loop = repeat({ intervalMs, clock }, async () => {
    try {
      const report = await care.round();
      const { seen: primary, done: _, ...rest } = report;
      seen = { ...rest, primary, error: null };
      onSeen?.(seen);
      tell(report);
    } catch (error) {
      if (end.signal.aborted) return;
      seen = { primary: null, waits: null, epoch: null, syncSet: [], standbys: [], error: messageOf(error) };
      onSeen?.(seen);
      fail(error);
    }
  });
  return {
    seen: () => seen,
    [Symbol.asyncDispose]: async () => {
      end.abort();
      await loop[Symbol.asyncDispose]();
    },
  };
}
