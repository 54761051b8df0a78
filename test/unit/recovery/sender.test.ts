import { describe, expect, test } from "vitest";
import type { Result } from "../../../src/lib/recovery/result.ts";
import {
  act,
  attach,
  type Authority,
  authorize,
  endSession,
  newSender,
  rewrite,
  type RewritingRung,
  type Sender,
} from "../../../src/lib/recovery/sender.ts";
import type { SessionStep } from "../../../src/lib/recovery/session.ts";
import type { SessionKind } from "../../../src/lib/recovery/types.ts";
import { EPOCH } from "../../support/recovery-fakes.ts";

const NEXT = { number: 2n, uuid: "two" };
const AUTHORITY: Authority = { replicaId: "r", sessionId: 1n, epoch: EPOCH };
const HANDSHAKE: SessionStep = { step: "handshake", range: { startLsn: 750n, targetLsn: 800n, truncateToLsn: 750n } };
const CATCHING_UP: readonly SessionStep[] = [
  { step: "connect" },
  HANDSHAKE,
  { step: "begin_catchup", budget: null, nowMs: 1 },
];
const BASE: readonly SessionStep[] = [
  { step: "connect" },
  { step: "handshake", range: { startLsn: 0n, targetLsn: 800n, truncateToLsn: null } },
  { step: "select_source", source: "full_base", snapshotLsn: 0n },
  { step: "begin_transfer" },
];

function must<T>(result: Result<T>): T {
  if (!result.ok) throw new Error(`${result.refusal.code}: ${result.refusal.detail}`);
  return result.value;
}

function fresh(): Sender {
  return newSender("r", { dataAddr: "r:5432", ctrlAddr: "r:9", version: 1 }, EPOCH);
}

/** A sender with a session of that kind that has taken these steps. */
function inSession(kind: SessionKind, steps: readonly SessionStep[] = [], from: Sender = fresh(), id = 1n): Sender {
  const authority = { ...AUTHORITY, sessionId: id };
  return steps.reduce((sender, step) => must(act(sender, authority, step)), must(attach(from, id, kind, EPOCH)));
}

function rewriting(rung: RewritingRung, from: Sender = inSession("rebuild", BASE)): Sender {
  return must(rewrite(from, { ...AUTHORITY, sessionId: from.session?.id ?? 0n }, rung));
}

function broken(sender: Sender, hasFailed = false): Sender {
  return endSession(sender, { reason: "broken off", state: "disconnected", hasFailed });
}

describe("who may begin a session, and act in it", () => {
  test.each([
    ["of an older epoch", { ...fresh(), epoch: NEXT }, EPOCH, "stale_epoch"],
    ["of an epoch of the same number", fresh(), { ...EPOCH, uuid: "another" }, "foreign_epoch"],
    ["while one is active", inSession("catchup"), EPOCH, "session_active"],
    ["of a replica that was stopped", { ...fresh(), stopped: true }, EPOCH, "sender_stopped"],
  ])("none is begun %s", (_what, sender, epoch, code) => {
    expect(attach(sender, 2n, "catchup", epoch)).toMatchObject({ ok: false, refusal: { code } });
  });

  test.each([
    ["another session's id", inSession("catchup"), { ...AUTHORITY, sessionId: 2n }, "wrong_session"],
    ["an older epoch", { ...inSession("catchup"), epoch: NEXT }, AUTHORITY, "stale_epoch"],
    ["no session to name", fresh(), AUTHORITY, "no_session"],
    ["one that has ended", broken(inSession("catchup")), AUTHORITY, "inactive_session"],
    ["a replica that was stopped", { ...inSession("catchup"), stopped: true }, AUTHORITY, "sender_stopped"],
  ])("a call with %s changes nothing", (_what, sender, authority, code) => {
    for (const result of [
      authorize(sender, authority),
      act(sender, authority, { step: "connect" }),
      rewrite(sender, authority, "rewind"),
    ]) {
      expect(result).toMatchObject({ ok: false, refusal: { code } });
    }
  });
});

describe("the state that a step leaves a replica in", () => {
  test.each([
    ["a catch-up that connects", inSession("catchup", [{ step: "connect" }]), "connecting"],
    ["one that streams", inSession("catchup", CATCHING_UP), "catching_up"],
    ["a rebuild that begins", inSession("rebuild"), "needs_rebuild"],
    ["a rebuild that copies", inSession("rebuild", BASE), "needs_rebuild"],
  ])("%s", (_what, sender, state) => {
    expect(sender.state).toBe(state);
  });

  test("a base is followed by a second catch-up, and only then in sync; what failed before is over", () => {
    const failed = broken(rewriting("rewind"));
    expect(failed.floor?.rung).toBe("snapshot_tail");
    const laying = rewriting("full_base", inSession("rebuild", BASE, failed, 2n));
    const laid = [{ step: "transferred", achievedLsn: 800n } as const, { step: "complete" } as const].reduce(
      (sender: Sender, step) => must(act(sender, { ...AUTHORITY, sessionId: 2n }, step)),
      laying,
    );
    expect(laid).toMatchObject({ state: "degraded", floor: null, rewriting: null });
  });
});

describe("what is left when work at the data ends before it is done", () => {
  test.each([
    ["truncate_only", "rewind", "rewind"],
    ["rewind", "snapshot_tail", "snapshot_tail"],
    ["snapshot_tail", "snapshot_tail", "full_base"],
    ["full_base", "full_base", "full_base"],
  ] as const)("%s: next is %s where it was broken off, %s where it failed", (rung, afterBreak, afterFailure) => {
    const ended = [broken(rewriting(rung)), broken(rewriting(rung), true)];
    expect(ended.map(({ floor }) => floor?.rung)).toEqual([afterBreak, afterFailure]);
    for (const sender of ended) expect(sender).toMatchObject({ state: "needs_rebuild", rewriting: null });
  });

  test("a dearer rung that was needed before stays needed", () => {
    const base = broken(rewriting("full_base"));
    const rewound = broken(rewriting("rewind", inSession("rebuild", BASE, base, 2n)));
    expect(rewound.floor?.rung).toBe("full_base");
  });

  test("a session that touched nothing leaves a replica that was broken before as it was", () => {
    const again = inSession("catchup", [], broken(rewriting("rewind")), 2n);
    expect(broken(again)).toMatchObject({ state: "needs_rebuild", floor: { rung: "snapshot_tail" } });
  });

  test("a truncation that was recorded is done: what breaks afterwards is no doubt about the data", () => {
    const truncated = must(
      act(rewriting("truncate_only", inSession("catchup", CATCHING_UP)), AUTHORITY, { step: "truncated", lsn: 750n }),
    );
    expect(broken(truncated, true)).toMatchObject({ state: "disconnected", floor: null });
  });
});
