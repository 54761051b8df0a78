import { expect, test } from "vitest";
import { type HoldFacts, judgeHold } from "../../../../src/lib/buckets/keeping/judge-hold.ts";
import { makePin, type PeerPinStatus } from "../../../../src/lib/cluster/pins.ts";

const HOUR_MS = 3_600_000;

function facts(
  least: number,
  statuses: Readonly<Record<string, PeerPinStatus>>,
  ownPeer: string | null = "own",
): HoldFacts {
  const factors = { replication_factor_min: least, replication_factor_max: least };
  const peers = Object.entries(statuses).map(([peer, status]) => ({ peer, status, error: "" }));
  return {
    pin: makePin("bafy", "2026-11-20T03:00:00Z", factors),
    status: { cid: "bafy", name: "", peers },
    ownPeer,
    ageMs: 0,
  };
}

test.each([
  ["enough others have it", facts(2, { own: "remote", b: "pinned", c: "pinned" }), "let-go"],
  ["too few others have it", facts(2, { own: "remote", b: "pinned", c: "pinning" }), "keep"],
  ["one must have it where the cluster asks for none", facts(0, { own: "remote", b: "pinning" }), "keep"],
  ["one has it where the cluster asks for none", facts(0, { own: "remote", b: "pinned" }), "let-go"],
  ["our own peer has pinned it: its pin is this one", facts(2, { own: "pinned", b: "pinning" }), "forget"],
  ["our own peer is about to pin it", facts(1, { own: "pin_queued", b: "pinned" }), "keep"],
  ["our own peer failed to pin it", facts(1, { own: "pin_error", b: "pinned" }), "keep"],
  ["every peer shall have it, and not all do", facts(-1, { b: "pinned", c: "pinning" }, null), "keep"],
  ["every peer shall have it, and all do", facts(-1, { b: "pinned", c: "pinned" }, null), "let-go"],
  ["nobody tells of it", { ...facts(1, {}), status: null }, "keep"],
  ["no peer is there at all", facts(-1, {}, null), "keep"],
  ["nobody pins it yet", { ...facts(1, {}), pin: null, ageMs: HOUR_MS - 1 }, "keep"],
  ["nobody has pinned it for an hour", { ...facts(1, {}), pin: null, ageMs: HOUR_MS }, "let-go"],
] as const)("a hold where %s", (_why, known, verdict) => {
  expect(judgeHold(known).verdict).toBe(verdict);
});
