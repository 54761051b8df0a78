import { describe, expect, test } from "vitest";
import {
  advance,
  newSession,
  type RecoveryRange,
  type Session,
  type SessionStep,
} from "../../../src/lib/recovery/session.ts";
import { viewSession } from "../../../src/lib/recovery/session-view.ts";
import type { SessionKind } from "../../../src/lib/recovery/types.ts";
import { EPOCH } from "../../support/recovery-fakes.ts";

const CONNECT: SessionStep = { step: "connect" };
const BEGIN: SessionStep = { step: "begin_catchup", budget: null, nowMs: 1_000 };
const COMPLETE: SessionStep = { step: "complete" };
const TRANSFER: SessionStep = { step: "begin_transfer" };
const TAIL: SessionStep = { step: "begin_tail", nowMs: 1_000 };

function handshake(range: Partial<RecoveryRange> = {}): SessionStep {
  return { step: "handshake", range: { startLsn: 100n, targetLsn: 200n, truncateToLsn: null, ...range } };
}

function select(source: "rewind" | "snapshot_tail" | "full_base", snapshotLsn = 150n): SessionStep {
  return { step: "select_source", source, snapshotLsn };
}

function transferred(achievedLsn: bigint): SessionStep {
  return { step: "transferred", achievedLsn };
}

function progress(reachedLsn: bigint, nowMs = 1_010): SessionStep {
  return { step: "progress", reachedLsn, nowMs };
}

/** A session that has taken these steps. */
function after(kind: SessionKind, ...steps: readonly SessionStep[]): Session {
  return steps.reduce(
    (session, step) => {
      const next = advance(session, step);
      if (!next.ok) throw new Error(`${step.step}: ${next.refusal.code}: ${next.refusal.detail}`);
      return next.value;
    },
    newSession({ id: 1n, replicaId: "r", epoch: EPOCH, kind }),
  );
}

const HELLO = [CONNECT, handshake()];
const BASE = [...HELLO, select("full_base", 0n), TRANSFER];
const BACKUP = [...HELLO, select("snapshot_tail"), TRANSFER];
const AHEAD = [CONNECT, handshake({ startLsn: 200n, truncateToLsn: 200n })];

const REFUSED: readonly (readonly [string, SessionKind, readonly SessionStep[], SessionStep, string])[] = [
  ["progress behind the last", "catchup", [...HELLO, BEGIN, progress(150n)], progress(149n), "not_monotonic"],
  ["progress beyond the frozen target", "catchup", [...HELLO, BEGIN], progress(201n), "beyond_target"],
  ["progress of what was not begun", "catchup", HELLO, progress(150n), "wrong_phase"],
  ["completion short of the target", "catchup", [...HELLO, BEGIN, progress(199n)], COMPLETE, "not_converged"],
  [
    "completion of nothing",
    "catchup",
    [CONNECT, handshake({ startLsn: 0n, targetLsn: 0n })],
    COMPLETE,
    "not_converged",
  ],
  ["completion before anybody was asked", "catchup", [CONNECT], COMPLETE, "wrong_phase"],
  ["completion with a truncation that was not begun", "catchup", AHEAD, COMPLETE, "truncation_unrecorded"],
  [
    "completion with a truncation that was not recorded",
    "catchup",
    [...AHEAD, BEGIN],
    COMPLETE,
    "truncation_unrecorded",
  ],
  ["a truncation to elsewhere", "catchup", [...AHEAD, BEGIN], { step: "truncated", lsn: 199n }, "wrong_truncation"],
  [
    "a truncation that is not planned",
    "catchup",
    [...HELLO, BEGIN],
    { step: "truncated", lsn: 200n },
    "wrong_truncation",
  ],
  ["a handshake before the connection", "catchup", [], handshake(), "wrong_phase"],
  ["a second connection", "catchup", [CONNECT], CONNECT, "wrong_phase"],
  ["catching up by a rebuild", "rebuild", HELLO, BEGIN, "wrong_kind"],
  ["a source for what is no rebuild", "catchup", HELLO, select("rewind"), "wrong_kind"],
  ["a source before the handshake", "rebuild", [CONNECT], select("rewind"), "wrong_phase"],
  ["a second source", "rebuild", [...HELLO, select("rewind")], select("full_base"), "wrong_phase"],
  ["a transfer without a source", "rebuild", HELLO, TRANSFER, "wrong_phase"],
  [
    "the end of a transfer that was not begun",
    "rebuild",
    [...HELLO, select("rewind")],
    transferred(150n),
    "wrong_phase",
  ],
  ["a second end of a transfer", "rebuild", [...BASE, transferred(200n)], transferred(300n), "wrong_phase"],
  ["a tail before the transfer has ended", "rebuild", BACKUP, TAIL, "wrong_phase"],
  ["a tail of what ends before it", "rebuild", [...BACKUP, transferred(149n)], TAIL, "short_of_source"],
  ["a tail of a full base", "rebuild", [...BASE, transferred(200n)], TAIL, "wrong_phase"],
  [
    "completion of a rebuild that was not begun",
    "rebuild",
    [CONNECT, handshake({ startLsn: 200n })],
    COMPLETE,
    "not_converged",
  ],
  ["completion before the tail of a backup", "rebuild", [...BACKUP, transferred(250n)], COMPLETE, "not_converged"],
  [
    "completion in the midst of a tail",
    "rebuild",
    [...BACKUP, transferred(150n), TAIL, progress(199n)],
    COMPLETE,
    "not_converged",
  ],
  ["completion of a base that is too short", "rebuild", [...BASE, transferred(199n)], COMPLETE, "not_converged"],
  ["whatever comes after completion", "rebuild", [...BASE, transferred(200n), COMPLETE], COMPLETE, "inactive_session"],
  [
    "an end after the end",
    "catchup",
    [{ step: "invalidate", reason: "x" }],
    { step: "invalidate", reason: "y" },
    "inactive_session",
  ],
];

describe("a session", () => {
  test.each(REFUSED)("refuses %s", (_what, kind, steps, step, code) => {
    expect(advance(after(kind, ...steps), step)).toMatchObject({ ok: false, refusal: { code } });
  });

  test("counts what came since its own start, and when something came last", () => {
    const session = after("catchup", ...HELLO, BEGIN, progress(150n, 1_010), progress(150n, 1_900));
    expect(viewSession(session)).toMatchObject({
      frozenTargetLsn: 200n,
      recoveredTo: 150n,
      tracker: { startedAtMs: 1_000, lastProgressAtMs: 1_010, entries: 50n },
    });
  });

  test("counts a tail from where the transfer ended, and records what was achieved", () => {
    const session = after("rebuild", ...BACKUP, transferred(160n), TAIL, progress(190n));
    expect(viewSession(session)).toMatchObject({
      startLsn: 160n,
      recoveredTo: 190n,
      tracker: { entries: 30n },
      rebuild: { phase: "tail_replay", source: "snapshot_tail" },
    });
    expect(viewSession(after("rebuild", ...BACKUP, transferred(250n), TAIL, COMPLETE)).recoveredTo).toBe(250n);
  });

  test("that ended says why, and a rebuild that it was aborted", () => {
    const ended = after("rebuild", ...BACKUP, { step: "invalidate", reason: "endpoint_changed" });
    expect(viewSession(ended)).toMatchObject({
      phase: "invalidated",
      invalidateReason: "endpoint_changed",
      rebuild: { phase: "aborted" },
    });
  });
});
