import { createHash } from "node:crypto";
import { formatUtc } from "../kernel/clock.ts";
import { FulaError } from "../kernel/errors.ts";
import { formatCount, formatDuration } from "../kernel/units.ts";
import type { GoodSnapshot } from "./catalog.ts";
import { renderManifest } from "./format.ts";
import type { MemoryState } from "./memory.ts";

/** The last good snapshot, as far as the next one has to know it. */
export interface Baseline {
  readonly sequence: number;
  readonly pinCount: number;
  readonly timeMs: number;
  readonly manifestSha256: string;
}

/** What is known about earlier snapshots, from this box's memory and from the directory. */
export interface History {
  /** Null where there never was one. */
  readonly baseline: Baseline | null;
  /** The highest sequence number that may have been used. */
  readonly sequenceMax: number;
  /** The most pins that a snapshot is known to have had. */
  readonly pinCountMax: number;
  readonly warnings: readonly string[];
}

/** How much the operator vouches for. */
export interface Acceptance {
  readonly maxShrinkPercent: number;
  /** `--accept-shrink`: the pinset is meant to be that small. */
  readonly acceptShrink: boolean;
  /** A master that was just made has no pins yet. */
  readonly allowEmptyFirst: boolean;
}

/** A clock that was set back by no more than this is put right by stamping the snapshot a second after the last one. */
const CLOCK_STEP_BACK_MS = 5 * 60_000;

/**
 * Puts together what is known about earlier snapshots. Memory and directory must both be lost before an old state
 * could pass for the newest, and a damaged memory is never taken for none.
 * @throws FulaError FULA_SNAPSHOT_MEMORY
 */
export function decideHistory(memory: MemoryState, newest: GoodSnapshot | null, acceptShrink: boolean): History {
  const fromDir = newest === null ? null : baselineOf(newest);
  if (memory.kind === "good") {
    const { sequence, pinCount, time, manifestSha256 } = memory.memory;
    const remembered =
      time === null || manifestSha256 === null
        ? null
        : { sequence, pinCount, timeMs: Date.parse(time), manifestSha256 };
    // The directory is ahead only where a crash came between the snapshot and the note about it.
    const isDirAhead = fromDir !== null && fromDir.sequence > sequence;
    const lost = remembered !== null && fromDir?.manifestSha256 !== remembered.manifestSha256 && !isDirAhead;
    return {
      baseline: isDirAhead ? fromDir : remembered,
      sequenceMax: Math.max(memory.memory.reservedSequence, sequence, fromDir?.sequence ?? 0),
      pinCountMax: Math.max(memory.memory.pinCountMax, fromDir?.pinCount ?? 0),
      warnings: lost ? [`the last snapshot (sequence ${sequence}) is damaged or no longer there.`] : [],
    };
  }
  if (memory.kind === "damaged" && fromDir === null && !acceptShrink) {
    throw new FulaError(
      "FULA_SNAPSHOT_MEMORY",
      `This box's note of its last snapshot, state/snapshot-last.json, is damaged (${memory.why}), and there is no good snapshot to compare with.`,
      { hint: "look at the pins with fula-master pin ls; if they are all there, run it again with --accept-shrink." },
    );
  }
  const why =
    memory.kind === "damaged" ? [`state/snapshot-last.json was damaged (${memory.why}) and is written anew.`] : [];
  return {
    baseline: fromDir,
    sequenceMax: fromDir?.sequence ?? 0,
    pinCountMax: fromDir?.pinCount ?? 0,
    warnings: why,
  };
}

/** Refuses a pinset that looks as if pins had been lost. @throws FulaError FULA_SNAPSHOT_SHRUNK */
export function assertNotShrunk(pinCount: number, history: History, acceptance: Acceptance): void {
  if (acceptance.acceptShrink) return;
  const { baseline, pinCountMax } = history;
  const details = {
    pinCount,
    previousPinCount: baseline?.pinCount ?? null,
    maxShrinkPercent: acceptance.maxShrinkPercent,
  };
  if (pinCount === 0) {
    // A master that never had a pin has nothing to lose, once `join` has said so with the first snapshot of its chain.
    if (pinCountMax === 0 && (acceptance.allowEmptyFirst || baseline !== null)) return;
    const before =
      baseline === null
        ? "there is no earlier snapshot"
        : `the last good snapshot had ${formatCount(baseline.pinCount, "pin")}`;
    throw new FulaError("FULA_SNAPSHOT_SHRUNK", `The pinset is empty, and ${before}. No snapshot was taken.`, {
      hint:
        baseline === null
          ? "add --accept-shrink if this master really holds nothing yet."
          : "fula-master restore --dry-run shows what is missing; add --accept-shrink only if the pins were all removed on purpose.",
      details,
    });
  }
  if (baseline === null || pinCount >= baseline.pinCount) return;
  const shrunkPercent = ((baseline.pinCount - pinCount) / baseline.pinCount) * 100;
  if (shrunkPercent <= acceptance.maxShrinkPercent) return;
  throw new FulaError(
    "FULA_SNAPSHOT_SHRUNK",
    `The pinset has ${formatCount(pinCount, "pin")}, the last good snapshot (sequence ${baseline.sequence}) had ${baseline.pinCount}: ` +
      `${shrunkPercent.toFixed(1)} % less, more than the ${acceptance.maxShrinkPercent} % that snapshot.maxShrinkPercent allows. No snapshot was taken.`,
    {
      hint: "fula-master restore --dry-run shows what is missing; add --accept-shrink only if they were removed on purpose.",
      details,
    },
  );
}

/**
 * When the new snapshot is taken to be made: now, in whole seconds, and after the last one.
 * @throws FulaError FULA_SNAPSHOT_CLOCK
 */
export function decideTime(
  nowMs: number,
  baseline: Baseline | null,
  acceptClock: boolean,
): { readonly timeMs: number; readonly warnings: readonly string[] } {
  const timeMs = Math.floor(nowMs / 1_000) * 1_000;
  if (baseline === null || timeMs > baseline.timeMs) return { timeMs, warnings: [] };
  const behindMs = baseline.timeMs - timeMs;
  if (behindMs <= CLOCK_STEP_BACK_MS) {
    const warnings = behindMs > 1_000 ? [`the clock is ${formatDuration(behindMs)} behind the last snapshot.`] : [];
    return { timeMs: baseline.timeMs + 1_000, warnings };
  }
  if (acceptClock) {
    return { timeMs, warnings: [`the last snapshot is dated ${formatUtc(baseline.timeMs)}, later than this one.`] };
  }
  throw new FulaError(
    "FULA_SNAPSHOT_CLOCK",
    `The clock says ${formatUtc(nowMs)}, but the last snapshot was taken at ${formatUtc(baseline.timeMs)}. No snapshot was taken.`,
    { hint: "set the clock (timedatectl); if it is right and was wrong before, add --accept-clock." },
  );
}

function baselineOf({ manifest }: GoodSnapshot): Baseline {
  return {
    sequence: manifest.sequence,
    pinCount: manifest.pinCount,
    timeMs: Date.parse(manifest.time),
    manifestSha256: createHash("sha256").update(renderManifest(manifest)).digest("hex"),
  };
}
