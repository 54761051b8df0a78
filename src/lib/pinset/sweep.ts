import type { PinCluster } from "../cluster/pins.ts";
import type { Clock } from "../kernel/clock.ts";
import { FulaError } from "../kernel/errors.ts";
import type { AlertLog } from "./alert-log.ts";
import type { OrderedSources } from "./in-order.ts";
import type { LedgerPins } from "./ledger-pins.ts";
import { PeerWatch } from "./peer-watch.ts";
import { settleLedger } from "./sweep-ledger.ts";
import type { SweepMemory } from "./sweep-memory.ts";
import { readInFull } from "./sweep-reading.ts";
import { isBelow, repairAndLookAgain } from "./sweep-repair.ts";
import type { SweepLedgerCid, SweepReport } from "./sweep-report.ts";
import { settle } from "./sweep-settle.ts";

/** What a sweep works with. */
export interface SweepDeps {
  readonly cluster: PinCluster;
  readonly sources: OrderedSources;
  /** Null leaves the ledger out. */
  readonly ledger: LedgerPins | null;
  readonly memory: SweepMemory;
  readonly alerts: AlertLog;
  readonly clock: Clock;
  readonly signal: AbortSignal;
  readonly onProgress?: ((phase: "check" | "repair", done: number, total: number | null) => void) | undefined;
  /** Given each content that nobody holds, or that the ledger wants pinned and the pinset does not have, at the end. */
  readonly onGone?: ((gone: Pick<SweepLedgerCid, "cid" | "name" | "reason">) => void) | undefined;
}

/** How a sweep judges and what it does. */
export interface SweepOptions {
  /** How many peers must hold a pin that names no minimum of its own. */
  readonly replMin: number;
  /** How long a pin may be on its way before it counts as held by too few. */
  readonly graceMs: number;
  /** True reads and re-hashes every block. */
  readonly deep: boolean;
  /** True has what is held by too few repaired. */
  readonly repair: boolean;
  /** True pins again what the ledger wants pinned and the pinset lost. */
  readonly repairLedger: boolean;
  /** How long peers may take to fetch what the repair told them to, before the verdict is given. */
  readonly waitMs: number;
  /** True takes an empty pinset for what it is, even where the last sweep found pins. */
  readonly acceptEmpty: boolean;
  /** How many pins the last sweep that could be trusted found; null where there was none. */
  readonly lastPins: number | null;
  /** True keeps every alert for the alert command, too. */
  readonly forwardAlerts: boolean;
}

/** What a sweep found, before the times of the run are added. */
export type SweepFigures = Omit<
  SweepReport,
  "formatVersion" | "clusterId" | "startedAt" | "finishedAt" | "deep" | "error" | "alertCommand"
>;

/**
 * Looks where every pin really stands and what the ledger promised, has repaired what is held by too few, and looks at
 * that again.
 * @throws FulaError FULA_CLUSTER_UNREADABLE, FULA_LEDGER_UNREADABLE and what the source gives, where it could not be
 *   read in full: never "ok"; FULA_SWEEP_EMPTIED
 */
export async function sweep(deps: SweepDeps, options: SweepOptions): Promise<SweepFigures> {
  const watch = new PeerWatch(await deps.cluster.peers(deps.signal));
  const reading = await readInFull(deps, options, watch);
  if (reading.pins === 0 && (options.lastPins ?? 0) > 0 && !options.acceptEmpty) throw emptied(options.lastPins ?? 0);
  const belowBefore = countBelow(deps, options);
  const repaired = await repairAndLookAgain(deps, options, watch);
  const ledger = await settleLedger(deps, options, reading.ledger);
  const figures = await settle(deps, options, watch);
  const pins = reading.pins - repaired.gone;
  const bad = figures.pinning + figures.under + figures.lost;
  const { under, lost, pinning, belowAfter, worst, peers, alertsRaised, alertsCleared } = figures;
  const hasProblems = peers.length > 0 || (ledger?.missing ?? 0) > 0 || reading.withoutPin > 0;
  return {
    outcome: belowAfter > 0 ? "below" : hasProblems ? "problems" : "ok",
    pins,
    statuses: reading.statuses,
    ok: pins - reading.expired - bad,
    pinning,
    under,
    lost,
    expired: reading.expired,
    withoutPin: reading.withoutPin,
    belowBefore,
    belowAfter,
    recovered: repaired.recovered,
    reallocated: repaired.reallocated,
    alertsRaised,
    alertsCleared,
    worst,
    peers,
    ledger,
    lastPins: pins,
  };
}

function emptied(lastPins: number): FulaError {
  return new FulaError("FULA_SWEEP_EMPTIED", `The pinset is empty; when it was last swept it had ${lastPins} in it.`, {
    hint: "fula-master restore --dry-run shows what the last snapshot holds; if every pin was meant to go: fula-master sweep --accept-empty.",
    details: { lastPins },
  });
}

function countBelow({ memory, clock }: SweepDeps, { graceMs }: SweepOptions): number {
  let below = 0;
  const nowMs = clock.nowMs();
  for (const finding of memory.findings.ofThisRun()) if (isBelow(finding, nowMs, graceMs)) below += 1;
  return below;
}
