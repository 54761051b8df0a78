import type { PinCluster } from "../../cluster/pins.ts";
import { isFulaError, messageOf } from "../../kernel/errors.ts";
import type { Random } from "../../kernel/random.ts";
import { handOverPin, type PlaceParts, placePin } from "../place-pin.ts";
import { lookDelayMs, retryDelayMs } from "./backoff.ts";
import type { ClaimedJob, JobOutcome, ContentWish } from "./job.ts";
import { judgeStatus, type PinProgress } from "./judge-status.ts";

/** What working on jobs needs. */
export interface WorkParts extends PlaceParts {
  readonly pins: PinCluster;
  /** Bytes of all blocks below a CID, each once. */
  readonly measure: (cid: string, signal: AbortSignal) => Promise<bigint>;
  /** Connects our node with the nodes that a user said have the content; what does not answer is left alone. */
  readonly dial: (origins: readonly string[], signal: AbortSignal) => Promise<void>;
  readonly random: Random;
  /** Content that no peer has found for so long is given up. */
  readonly giveUpMs: number;
}

/** The first try; each later one has twice as long. Every block is read, and what lies elsewhere has to be fetched. */
const MEASURE_FIRST_MS = 20_000;
/** The largest contents are those that must not be kept for nothing. */
const MEASURE_MAX_MS = 12 * 3_600_000;

/**
 * Makes the pinset agree with what users want of one content, as far as that goes now. Whatever was done can be done
 * again: a claim that ends while somebody works costs nothing but the work.
 * @throws the signal's reason
 */
export async function workOn(
  parts: WorkParts,
  job: ClaimedJob,
  wish: ContentWish,
  signal: AbortSignal,
): Promise<JobOutcome> {
  try {
    if (wish.wanted > 0) return await fulfil(parts, job, wish, signal);
    await handOverPin(parts, job.cid, signal);
    return { kind: "gone" };
  } catch (error) {
    signal.throwIfAborted();
    return await judgeFailure(parts, job, wish, error, signal);
  }
}

async function fulfil(parts: WorkParts, job: ClaimedJob, wish: ContentWish, signal: AbortSignal): Promise<JobOutcome> {
  const { pins, dial } = parts;
  const { name, origins } = wish;
  if (wish.waiting > 0 && origins.length > 0) await dial(origins, signal);
  const pin = await placePin(parts, { cid: job.cid, name, origins, replaces: job.replaces }, signal);
  if (wish.waiting > 0) {
    const status = await pins.status(job.cid, { signal });
    // Null: the peer that we ask has not heard of it yet.
    const progress = judgeStatus(pin, status ?? { cid: job.cid, name, peers: [] });
    if (progress.held < progress.needed) return await waitFor(parts, job, progress, signal);
  }
  return await measured(parts, job, wish, signal);
}

function isTooOld({ giveUpMs }: WorkParts, { ageMs }: ClaimedJob): boolean {
  return ageMs > giveUpMs;
}

async function waitFor(
  parts: WorkParts,
  job: ClaimedJob,
  { held, needed, hasFailed, error }: PinProgress,
  signal: AbortSignal,
): Promise<JobOutcome> {
  // What a single peer has found is worth keeping, however long the others take.
  if (hasFailed && held === 0 && isTooOld(parts, job)) {
    return await giveUp(parts, job, error === "" ? "no peer has all of its blocks" : error, signal);
  }
  if (hasFailed) await parts.pins.recover(job.cid);
  const missing = hasFailed ? " Not all of its blocks were found so far." : "";
  const details = `${held} of ${needed} peers hold it.${missing}`;
  return {
    kind: "later",
    rows: { status: "pinning", details },
    delayMs: lookDelayMs(job.looks, hasFailed),
    error: null,
  };
}

async function measured(
  { measure, random }: WorkParts,
  { cid, attempts }: ClaimedJob,
  { unmeasured, measuredBytes }: ContentWish,
  signal: AbortSignal,
): Promise<JobOutcome> {
  if (unmeasured === 0) return { kind: "pinned", sizeBytes: null };
  // What a CID names does not change.
  if (measuredBytes !== null) return { kind: "pinned", sizeBytes: measuredBytes };
  const late = AbortSignal.timeout(Math.min(MEASURE_FIRST_MS * 2 ** Math.min(attempts, 30), MEASURE_MAX_MS));
  try {
    return { kind: "pinned", sizeBytes: await measure(cid, AbortSignal.any([signal, late])) };
  } catch (error) {
    signal.throwIfAborted();
    // It is kept, and users are told so; the job goes on until what they pay for is known.
    return {
      kind: "later",
      rows: { status: "pinned", details: "" },
      delayMs: retryDelayMs(attempts, random),
      error: `its size is not known: ${messageOf(error)}`,
    };
  }
}

function isOfContent(error: unknown): boolean {
  if (isFulaError(error, "FULA_PIN_INVALID")) return true;
  // Too few peers for any pin is an outage, too, though the cluster has answered.
  return isFulaError(error, "FULA_PIN_REFUSED") && Number(error.details?.["status"] ?? 0) < 500;
}

/** A content is given up where the pinset does not take it; a cluster or ledger that is silent says nothing about it. */
async function judgeFailure(
  parts: WorkParts,
  job: ClaimedJob,
  { wanted }: ContentWish,
  error: unknown,
  signal: AbortSignal,
): Promise<JobOutcome> {
  if (isOfContent(error) && wanted > 0 && isTooOld(parts, job))
    return await giveUp(parts, job, messageOf(error), signal);
  return { kind: "later", rows: null, delayMs: retryDelayMs(job.attempts, parts.random), error: messageOf(error) };
}

async function giveUp(
  parts: WorkParts,
  { cid, attempts }: ClaimedJob,
  why: string,
  signal: AbortSignal,
): Promise<JobOutcome> {
  try {
    // Nobody pays for what failed: the peers are not to go on looking for it.
    await handOverPin(parts, cid, signal);
  } catch (error) {
    signal.throwIfAborted();
    return { kind: "later", rows: null, delayMs: retryDelayMs(attempts, parts.random), error: messageOf(error) };
  }
  return { kind: "dead", error: why, details: "Its blocks could not be found, or the pinset did not take it." };
}
