import { describe, expect, test } from "vitest";
import { makePin, type PeerPinStatus, type PinOptions } from "../../../src/lib/cluster/pins.ts";
import { judgePin } from "../../../src/lib/pinset/judge-pin.ts";

const NOW = Date.parse("2026-11-21T00:00:00Z");

interface Case {
  readonly why: string;
  readonly factor: number;
  readonly peers: readonly PeerPinStatus[];
  readonly replMin: number;
  readonly expected: string;
  readonly options?: PinOptions;
}

const cases: readonly Case[] = [
  { why: "as many as it asks for", factor: 2, peers: ["pinned", "pinned"], replMin: 5, expected: "ok 2/2" },
  {
    why: "its own factor counts, not the setting",
    factor: 3,
    peers: ["pinned", "pinned"],
    replMin: 1,
    expected: "under 2/3",
  },
  {
    why: "a factor of one is content with one",
    factor: 1,
    peers: ["pinned", "remote"],
    replMin: 2,
    expected: "ok 1/1",
  },
  { why: "no factor falls back to the setting", factor: 0, peers: ["pinned"], replMin: 2, expected: "under 1/2" },
  { why: "no factor, enough", factor: 0, peers: ["pinned", "pinned"], replMin: 2, expected: "ok 2/2" },
  {
    why: "everywhere means every peer",
    factor: -1,
    peers: ["pinned", "pin_error", "pinned"],
    replMin: 1,
    expected: "under 2/3",
  },
  {
    why: "a dead peer is not listed; the setting is the floor",
    factor: -1,
    peers: ["pinned"],
    replMin: 2,
    expected: "under 1/2",
  },
  { why: "one box alone", factor: -1, peers: ["pinned"], replMin: 1, expected: "ok 1/1" },
  { why: "nobody has it", factor: -1, peers: ["pin_error", "cluster_error"], replMin: 2, expected: "lost 0/2" },
  { why: "nobody knows it", factor: -1, peers: [], replMin: 1, expected: "lost 0/1" },
  { why: "blocks vanished", factor: 1, peers: ["unexpectedly_unpinned"], replMin: 1, expected: "lost 0/1" },
  { why: "enough are fetching it", factor: 2, peers: ["pinned", "pinning"], replMin: 2, expected: "pinning 1/2" },
  { why: "queued is on its way too", factor: 1, peers: ["pin_queued"], replMin: 1, expected: "pinning 0/1" },
  {
    why: "fetching, but too few even then",
    factor: 3,
    peers: ["pinned", "pinning"],
    replMin: 1,
    expected: "under 1/3",
  },
  { why: "being unpinned is no copy", factor: 1, peers: ["unpinning"], replMin: 1, expected: "lost 0/1" },
  { why: "undefined is no copy", factor: 1, peers: ["undefined"], replMin: 1, expected: "lost 0/1" },
  {
    why: "a meta pin is held by nobody",
    factor: 2,
    peers: ["sharded"],
    replMin: 2,
    expected: "ok 0/0",
    options: { type: "meta-pin" },
  },
  {
    why: "its time is over",
    factor: 2,
    peers: ["unpinned"],
    replMin: 2,
    expected: "expired 0/2",
    options: { expire_at: "2026-11-21T00:00:00Z" },
  },
  {
    why: "its time is not over yet",
    factor: 1,
    peers: ["unpinned"],
    replMin: 2,
    expected: "lost 0/1",
    options: { expire_at: "2026-11-21T00:00:01Z" },
  },
];

describe("judgePin", () => {
  test.each(cases)("$why: $expected", ({ factor, peers, replMin, expected, options }) => {
    const pin = makePin("bafy", "2026-01-01T00:00:00Z", {
      replication_factor_min: factor,
      replication_factor_max: factor,
      ...options,
    });
    const status = {
      cid: "bafy",
      name: "",
      peers: peers.map((state, number) => ({ peer: `p${number}`, status: state, error: "" })),
    };
    const { verdict, pinned, required, reason } = judgePin(pin, status, { replMin, members: peers.length }, NOW);
    expect(`${verdict} ${pinned}/${required}`).toBe(expected);
    expect(reason === "").toBe(verdict === "ok");
  });

  test("a pin without any status is lost", () => {
    const pin = makePin("bafy", "2026-01-01T00:00:00Z");
    expect(judgePin(pin, null, { replMin: 1, members: 1 }, NOW)).toMatchObject({
      verdict: "lost",
      pinned: 0,
      required: 1,
      reason: "no peer knows it",
    });
  });

  test("says each different thing that peers say once, and no more than a few", () => {
    const pin = makePin("bafy", "2026-01-01T00:00:00Z");
    const errors = ["disk", "disk", "net", "key", "time", "oops"];
    const peers = errors.map((error, number) => ({ peer: `p${number}`, status: "pin_error" as const, error }));
    const { reason } = judgePin(pin, { cid: "bafy", name: "", peers }, { replMin: 1, members: 6 }, NOW);
    expect(reason).toBe("pin_error: disk; pin_error: net; pin_error: key; and 2 more");
  });

  test("everywhere counts a member that keeps its pins from us among those that must hold it", () => {
    const pin = makePin("bafy", "2026-01-01T00:00:00Z");
    const status = { cid: "bafy", name: "", peers: [{ peer: "p0", status: "pinned" as const, error: "" }] };
    expect(judgePin(pin, status, { replMin: 1, members: 2 }, NOW)).toMatchObject({ verdict: "under", required: 2 });
  });

  test("names the peers that shall hold it and that nothing is heard of", () => {
    const pin = makePin("bafy", "2026-01-01T00:00:00Z", {
      replication_factor_min: 2,
      replication_factor_max: 2,
      allocations: ["p0", "p1"],
    });
    const status = { cid: "bafy", name: "", peers: [{ peer: "p0", status: "pinned" as const, error: "" }] };
    const judged = judgePin(pin, status, { replMin: 1, members: 1 }, NOW);
    expect(judged).toMatchObject({ verdict: "under", reason: "no word from p1" });
  });
});
