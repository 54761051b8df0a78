import { parseCid } from "../blocks/cid.ts";
import { makePin, type PinCluster } from "../cluster/pins.ts";
import { formatUtc } from "../kernel/clock.ts";
import { isFulaError, messageOf } from "../kernel/errors.ts";
import { mapOrdered } from "../kernel/map-ordered.ts";
import type { LedgerPins, LedgerRecord } from "./ledger-pins.ts";
import type { SweepDeps, SweepOptions } from "./sweep.ts";
import type { LedgerReading } from "./sweep-reading.ts";
import type { SweepLedgerCid, SweepReport } from "./sweep-report.ts";
import type { Trouble } from "./sweep-troubles.ts";

const LOOKS_AT_ONCE = 8;
const SHOWN_MAX = 20;

/** What is well and is told so in the log. */
export const NO_PROBLEM = "none";

interface Outcome {
  readonly trouble: Trouble;
  readonly name: string;
  readonly problem: string;
  readonly reason: string;
  readonly isRepinned: boolean;
}

/**
 * Asks ledger and pinset again about each CID that seemed to be missing, because both may have moved on while they were
 * read, and pins again what is really missing where that is wanted. @returns null where the ledger was left out
 */
export async function settleLedger(
  deps: SweepDeps,
  options: SweepOptions,
  reading: LedgerReading | null,
): Promise<SweepReport["ledger"]> {
  const { ledger, memory, clock } = deps;
  if (ledger === null || reading === null) return null;
  const shown: SweepLedgerCid[] = [];
  let missing = 0;
  let repinned = 0;
  const outcomes = mapOrdered(troublesOf(deps), LOOKS_AT_ONCE, async (trouble) =>
    lookAgain(deps, options, ledger, trouble),
  );
  for await (const { trouble, name, problem, reason, isRepinned } of outcomes) {
    deps.signal.throwIfAborted();
    memory.troubles.note("ledger", { id: trouble.id, name, problem, reason }, clock.nowMs());
    if (isRepinned) repinned += 1;
    if (problem === NO_PROBLEM) continue;
    missing += 1;
    deps.onGone?.({ cid: trouble.id, name, reason });
    if (shown.length < SHOWN_MAX) {
      shown.push({ cid: trouble.id, name, problem, reason, since: formatUtc(trouble.sinceMs) });
    }
  }
  memory.commit();
  return { ...reading, missing, repinned, shown };
}

async function* troublesOf({ memory }: SweepDeps): AsyncGenerator<Trouble> {
  yield* memory.troubles.ofThisRun("ledger");
}

async function lookAgain(
  { cluster, clock }: SweepDeps,
  { graceMs, repairLedger }: SweepOptions,
  ledger: LedgerPins,
  trouble: Trouble,
): Promise<Outcome> {
  const { id: cid, name: text } = trouble;
  const well: Outcome = { trouble, name: "", problem: NO_PROBLEM, reason: "", isRepinned: false };
  const isCid = trouble.problem !== "not-a-cid";
  const record = await ledger.record({ cid, text });
  if (record === null || record.isBlocked) return well;
  const name = record.options.name ?? "";
  if (record.damage !== null) return { ...well, name, problem: "unreadable", reason: record.damage };
  if (!isCid) return { ...well, name, problem: "not-a-cid", reason: "the ledger names something that is no CID" };
  const isWaiting = record.state === "waiting" && clock.nowMs() - record.changedMs <= graceMs;
  if (isWaiting || (await isPinned(cluster, cid))) return well;
  const missing: Outcome = { ...well, name, problem: "missing", reason: reasonOf(record) };
  if (!repairLedger) return missing;
  try {
    await cluster.put(makePin(cid, formatUtc(clock.nowMs()), { ...record.options, ...cluster.defaultFactors }));
    return { ...well, name, isRepinned: true };
  } catch (error) {
    if (!isFulaError(error)) throw error;
    return { ...missing, reason: `${missing.reason}; it could not be pinned again: ${messageOf(error)}` };
  }
}

/** The pinning service pins every content by its CIDv1, however a user wrote it. */
async function isPinned(cluster: PinCluster, cid: string): Promise<boolean> {
  if ((await cluster.pin(cid)) !== null) return true;
  const parsed = parseCid(cid);
  return parsed.version === 0 && (await cluster.pin(parsed.toV1().toString())) !== null;
}

function reasonOf({ state, changedMs }: LedgerRecord): string {
  const since = formatUtc(changedMs);
  return state === "pinned"
    ? `the ledger says since ${since} that it is pinned; it is not in the pinset`
    : `it has been waiting to be pinned since ${since}; it is not in the pinset`;
}
