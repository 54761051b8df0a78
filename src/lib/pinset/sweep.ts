import type { Pin, PinCluster, PinStatus } from "../cluster/pins.ts";
import { type Clock, formatUtc } from "../kernel/clock.ts";
import { FulaError, isFulaError, messageOf } from "../kernel/errors.ts";
import { mapOrdered } from "../kernel/map-ordered.ts";
import type { AlertLog } from "./alert-log.ts";
import type { OrderedSources } from "./in-order.ts";
import { type JudgedPin, judgePin } from "./judge-pin.ts";
import type { Finding, SweepFindings } from "./sweep-findings.ts";
import type { SweepReport, SweepReportPin } from "./sweep-report.ts";

/** What a sweep works with. */
export interface SweepDeps {
  readonly cluster: PinCluster;
  readonly sources: OrderedSources;
  readonly findings: SweepFindings;
  readonly alerts: AlertLog;
  readonly clock: Clock;
  readonly signal: AbortSignal;
  readonly onProgress?: ((phase: "check" | "recover", done: number, total: number | null) => void) | undefined;
}

/** How a sweep judges. */
export interface SweepOptions {
  /** How many peers must hold a pin that names no minimum of its own. */
  readonly replMin: number;
  /** How long a pin may be on its way before it counts as held by too few. */
  readonly graceMs: number;
  /** True reads and re-hashes every block. */
  readonly deep: boolean;
  /** True asks the peers to try again what is held by too few. */
  readonly recover: boolean;
  /** True takes an empty pinset for what it is, even where the last sweep found pins. */
  readonly acceptEmpty: boolean;
  /** How many pins the last sweep that could be trusted found; null where there was none. */
  readonly lastPins: number | null;
}

/** What a sweep found, before the times of the run are added. */
export type SweepFigures = Omit<
  SweepReport,
  "formatVersion" | "clusterId" | "startedAt" | "finishedAt" | "deep" | "error"
>;

/** More pins than that without a status mean that the list was cut off, not that single pins are forgotten. */
const UNLISTED_MAX = 1_000;

/** A pinset that changes while it is counted is read again that often. */
const READINGS_MAX = 3;

const RECOVERIES_AT_ONCE = 8;
const WORST_SHOWN_MAX = 20;

interface Reading {
  readonly pins: number;
  readonly statuses: number;
  readonly expired: number;
  /** CIDs that have a status but are not in the pinset. */
  readonly withoutPin: number;
}

/**
 * Looks where every pin really stands, asks the peers to try again what is held by too few, and looks at those again.
 * @throws FulaError FULA_CLUSTER_UNREADABLE and what the source gives, where it could not be read in full: never "ok";
 * FULA_SWEEP_EMPTIED
 */
export async function sweep(deps: SweepDeps, options: SweepOptions): Promise<SweepFigures> {
  const reading = await readInFull(deps, options);
  if (reading.pins === 0 && (options.lastPins ?? 0) > 0 && !options.acceptEmpty) {
    throw new FulaError(
      "FULA_SWEEP_EMPTIED",
      `The pinset is empty; when it was last swept it had ${options.lastPins ?? 0} in it.`,
      {
        hint: "fula-master restore --dry-run shows what the last snapshot holds; if every pin was meant to go: fula-master sweep --accept-empty.",
        details: { lastPins: options.lastPins },
      },
    );
  }
  const belowBefore = countBelow(deps, options);
  const recovered = await recoverAndLookAgain(deps, options);
  const figures = await settle(deps, options);
  const { pins, statuses, expired, withoutPin } = reading;
  const gone = recovered.gone;
  const bad = figures.pinning + figures.under + figures.lost;
  return {
    outcome: figures.belowAfter === 0 ? "ok" : "below",
    pins: pins - gone,
    statuses,
    ok: pins - gone - expired - bad,
    pinning: figures.pinning,
    under: figures.under,
    lost: figures.lost,
    expired,
    withoutPin,
    belowBefore,
    belowAfter: figures.belowAfter,
    recovered: recovered.recovered,
    alertsRaised: figures.alertsRaised,
    alertsCleared: figures.alertsCleared,
    worst: figures.worst,
    lastPins: pins - gone,
  };
}

/** Reads everything; again where the pinset changed so much meanwhile that its count cannot be matched. */
async function readInFull(deps: SweepDeps, options: SweepOptions): Promise<Reading> {
  for (let attempt = 1; ; attempt += 1) {
    const before = await deps.cluster.count(deps.signal);
    const reading = await readOnce(deps, options);
    const after = await deps.cluster.count(deps.signal);
    const isWhole =
      before === null ||
      after === null ||
      (reading.pins >= Math.min(before, after) && reading.pins <= Math.max(before, after));
    if (isWhole) return reading;
    if (attempt >= READINGS_MAX) {
      throw unreadable(`the list of pins gave ${reading.pins} pins, but the pinset counts ${after}`);
    }
  }
}

function unreadable(what: string, cause?: unknown): FulaError {
  return new FulaError("FULA_CLUSTER_UNREADABLE", `Nothing is known about the pins: ${what}.`, {
    cause,
    hint: "this is no all-clear. Run fula-master sweep again; if it stays like this, fula-master status shows what is wrong.",
  });
}

async function readOnce(deps: SweepDeps, options: SweepOptions): Promise<Reading> {
  const { findings, clock, signal } = deps;
  const nowMs = clock.nowMs();
  const unlisted: Pin[] = [];
  const unowned: string[] = [];
  const seen = { pins: 0, statuses: 0, expired: 0, withoutPin: 0 };
  try {
    for await (const { pin, status } of pairUp(deps, options)) {
      if (status !== null) seen.statuses += 1;
      if (pin === null) {
        seen.withoutPin += 1;
        if (unowned.length < UNLISTED_MAX && status !== null) unowned.push(status.cid);
        continue;
      }
      seen.pins += 1;
      deps.onProgress?.("check", seen.pins, null);
      if (status === null) unlisted.push(pin);
      else if (noteJudged(findings, pin, judgePin(pin, status, options.replMin, nowMs), nowMs) === "expired")
        seen.expired += 1;
      if (unlisted.length > UNLISTED_MAX) throw unreadable(`more than ${UNLISTED_MAX} pins have no status at all`);
    }
    const { gone, expired } = await askForUnlisted(deps, options, unlisted, nowMs);
    seen.pins -= gone;
    seen.expired += expired;
    // A pin that was made after the list of pins was read has a status, but that is no stray one.
    for (const cid of unowned) if ((await deps.cluster.pin(cid)) !== null) seen.withoutPin -= 1;
  } catch (error) {
    signal.throwIfAborted();
    throw isFulaError(error) && error.kind === "unavailable" ? error : unreadable(messageOf(error), error);
  } finally {
    findings.commit();
  }
  return seen;
}

function noteJudged(findings: SweepFindings, pin: Pin, judged: JudgedPin, nowMs: number): JudgedPin["verdict"] {
  if (judged.verdict !== "ok" && judged.verdict !== "expired") findings.note(pin.cid, pin.name, judged, nowMs);
  return judged.verdict;
}

/**
 * Asks one by one for the pins that the list of statuses left out. An answer means that the list was not whole: then
 * nothing that it said, or did not say, can be trusted. @returns how many have been removed meanwhile, or have expired
 */
async function askForUnlisted(
  { cluster, findings, signal }: SweepDeps,
  { replMin }: SweepOptions,
  unlisted: readonly Pin[],
  nowMs: number,
): Promise<{ readonly gone: number; readonly expired: number }> {
  let gone = 0;
  let expired = 0;
  for (const pin of unlisted) {
    if ((await cluster.pin(pin.cid)) === null) {
      gone += 1;
      continue;
    }
    const status = await cluster.status(pin.cid, { signal });
    if (status !== null && status.peers.length > 0) {
      throw unreadable(`the list of statuses ended without ${pin.cid}, whose status is known when asked for alone`);
    }
    if (noteJudged(findings, pin, judgePin(pin, status, replMin, nowMs), nowMs) === "expired") expired += 1;
  }
  return { gone, expired };
}

interface Pair {
  readonly pin: Pin | null;
  readonly status: PinStatus | null;
}

/** Merges pins and statuses by CID, both ways: a pin without a status and a status without a pin both come out. */
async function* pairUp({ sources, signal }: SweepDeps, { deep }: SweepOptions): AsyncGenerator<Pair> {
  const pins = sources.pins(signal)[Symbol.asyncIterator]();
  const statuses = sources.statuses({ deep, signal })[Symbol.asyncIterator]();
  try {
    // The pins first: what is in their list must then have a status, however late the statuses are read.
    let pin = await pins.next();
    let status = await statuses.next();
    while (pin.done !== true || status.done !== true) {
      if (status.done === true || (pin.done !== true && pin.value.cid < status.value.cid)) {
        if (pin.done !== true) yield { pin: pin.value, status: null };
        pin = await nextInOrder(pins, pin, "pins");
      } else if (pin.done === true || status.value.cid < pin.value.cid) {
        yield { pin: null, status: status.value };
        status = await nextInOrder(statuses, status, "statuses");
      } else {
        yield { pin: pin.value, status: status.value };
        pin = await nextInOrder(pins, pin, "pins");
        status = await nextInOrder(statuses, status, "statuses");
      }
    }
  } finally {
    await pins.return?.();
    await statuses.return?.();
  }
}

async function nextInOrder<T extends { readonly cid: string }>(
  source: AsyncIterator<T>,
  before: IteratorResult<T>,
  name: string,
): Promise<IteratorResult<T>> {
  const next = await source.next();
  if (next.done !== true && before.done !== true && next.value.cid <= before.value.cid) {
    throw unreadable(`the list of ${name} is not in order: ${next.value.cid} after ${before.value.cid}`);
  }
  return next;
}

function countBelow({ findings, clock }: SweepDeps, { graceMs }: SweepOptions): number {
  let below = 0;
  const nowMs = clock.nowMs();
  for (const finding of findings.ofThisRun()) if (isBelow(finding, nowMs, graceMs)) below += 1;
  return below;
}

/** A pin that is on its way counts as well until the grace is over; what is stuck for longer is not on its way. */
function isBelow({ verdict, sinceMs }: Finding, nowMs: number, graceMs: number): boolean {
  return verdict === "under" || verdict === "lost" || (verdict === "pinning" && nowMs - sinceMs > graceMs);
}

async function recoverAndLookAgain(
  deps: SweepDeps,
  options: SweepOptions,
): Promise<{ readonly recovered: number; readonly gone: number }> {
  const { cluster, findings, clock, signal } = deps;
  const total = findings.count("under") + findings.count("lost") + findings.count("pinning");
  let done = 0;
  let recovered = 0;
  let gone = 0;
  const lookAgain = async (
    finding: Finding,
  ): Promise<{ finding: Finding; pin: Pin | null; status: PinStatus | null }> => {
    try {
      if (options.recover) await cluster.recover(finding.cid);
    } catch (error) {
      // The status that is read next tells how it stands; one pin that cannot be asked for must not end the sweep.
      if (!isFulaError(error)) throw error;
    }
    const pin = await cluster.pin(finding.cid);
    return { finding, pin, status: await cluster.status(finding.cid, { deep: options.deep, signal }) };
  };
  for await (const { finding, pin, status } of mapOrdered(
    asStream(findings.ofThisRun()),
    RECOVERIES_AT_ONCE,
    lookAgain,
  )) {
    signal.throwIfAborted();
    done += 1;
    deps.onProgress?.("recover", done, total);
    const nowMs = clock.nowMs();
    const judged = pin === null ? null : judgePin(pin, status, options.replMin, nowMs);
    if (judged === null) gone += 1;
    else if (judged.verdict === "ok") recovered += 1;
    // What is well again keeps its row for the moment: `settle` tells the log and forgets it.
    findings.note(finding.cid, finding.name, judged === null ? goneFrom(finding) : withBoth(judged, finding), nowMs);
  }
  findings.commit();
  return { recovered, gone };
}

function goneFrom(finding: Finding): JudgedPin {
  return { ...finding, verdict: "ok", reason: "it is no longer pinned" };
}

/** Keeps what was seen first beside what is seen now: a block that was found rotten is missing when it is looked for again. */
function withBoth(judged: JudgedPin, { reason }: Finding): JudgedPin {
  if (judged.reason === "" || judged.reason === reason) return judged;
  return { ...judged, reason: `${judged.reason}; before the repair: ${reason}` };
}

async function* asStream<T>(items: Iterable<T>): AsyncGenerator<T> {
  yield* items;
}

interface Settled {
  readonly pinning: number;
  readonly under: number;
  readonly lost: number;
  readonly belowAfter: number;
  readonly alertsRaised: number;
  readonly alertsCleared: number;
  readonly worst: SweepReportPin[];
}

/** Counts what is left, alerts what is new, and tells what is well again. */
async function settle(deps: SweepDeps, { graceMs }: SweepOptions): Promise<Settled> {
  const { findings, clock } = deps;
  const nowMs = clock.nowMs();
  const left = { pinning: 0, under: 0, lost: 0 };
  const worst: SweepReportPin[] = [];
  let belowAfter = 0;
  let alertsRaised = 0;
  let alertsCleared = 0;
  for (const finding of findings.ofThisRun()) {
    const { verdict } = finding;
    if (verdict === "ok" || verdict === "expired") {
      if (await tellCleared(deps, finding, nowMs)) alertsCleared += 1;
      continue;
    }
    left[verdict] += 1;
    if (!isBelow(finding, nowMs, graceMs)) continue;
    belowAfter += 1;
    if (worst.length < WORST_SHOWN_MAX) worst.push(reportPinOf(finding, verdict));
    if (await alertOnce(deps, finding, nowMs)) alertsRaised += 1;
  }
  for (const finding of findings.cleared()) if (await tellCleared(deps, finding, nowMs)) alertsCleared += 1;
  await deps.alerts.flush();
  findings.commit();
  return { ...left, belowAfter, alertsRaised, alertsCleared, worst };
}

function reportPinOf(finding: Finding, verdict: SweepReportPin["verdict"]): SweepReportPin {
  const { cid, name, pinned, required, reason, sinceMs } = finding;
  return { cid, name, verdict, pinned, required, reason, since: formatUtc(sinceMs) };
}

/** One alert a pin until it is well again, and another one when the last copy is gone. */
async function alertOnce({ findings, alerts }: SweepDeps, finding: Finding, nowMs: number): Promise<boolean> {
  const verdict = finding.verdict === "lost" ? "lost" : "under";
  if (finding.alerted === verdict || finding.alerted === "lost") return false;
  const { cid, name, pinned, required, reason } = finding;
  const times = { at: formatUtc(nowMs), since: formatUtc(finding.sinceMs) };
  await alerts.append({ ...times, event: "under-replicated", cid, name, verdict, pinned, required, reason });
  findings.markAlerted(cid, verdict);
  return true;
}

async function tellCleared({ findings, alerts }: SweepDeps, finding: Finding, nowMs: number): Promise<boolean> {
  findings.forget(finding.cid);
  if (finding.alerted === null) return false;
  const { cid, name, sinceMs } = finding;
  const times = { at: formatUtc(nowMs), since: formatUtc(sinceMs) };
  const reason = finding.verdict === "expired" ? "it has expired" : "it is well again or no longer pinned";
  await alerts.append({ ...times, event: "cleared", cid, name, verdict: null, pinned: null, required: null, reason });
  return true;
}
