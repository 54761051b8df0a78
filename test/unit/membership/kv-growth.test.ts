import { describe, expect, test } from "vitest";
import { type GrowthWish, isLeftAlone, planGrowth } from "../../../src/lib/membership/kv/grow.ts";
import { leadsToHandOn } from "../../../src/lib/membership/kv/lead.ts";
import { assertRemovable } from "../../../src/lib/membership/kv/peers.ts";
import type { ClusterView, PeerView, StreamView } from "../../../src/lib/membership/kv/state.ts";

const BUCKETS = ["FULA_rooms", "FULA_users"];

function peer(name: string, change: Partial<PeerView> = {}): PeerView {
  return { name, current: true, offline: false, lag: 0, silentMs: 10, ...change };
}

const away = (name: string): PeerView => peer(name, { current: false, offline: true });
const behind = (name: string): PeerView => peer(name, { current: false, lag: 7 });

function stream(bucket: string, leader: string | null, ...peers: readonly PeerView[]): StreamView {
  return { bucket, leader, peers, replicas: peers.length + 1, storage: "file", directGets: false };
}

/** Servers of which the first leads; both buckets lie on `holders`, of which the first leads. */
function view(members: readonly (string | PeerView)[], holders: readonly (string | PeerView)[]): ClusterView {
  const asPeer = (one: string | PeerView): PeerView => (typeof one === "string" ? peer(one) : one);
  const [leader, ...others] = members.map(asPeer);
  const [first, ...rest] = holders.map(asPeer);
  return {
    servers: members
      .map(asPeer)
      .filter(({ offline }) => !offline)
      .map(({ name }) => ({ name, version: "2.15.2", syncAlways: true, clockOffsetMs: 0 })),
    clustered: true,
    metaLeader: leader?.name ?? null,
    members: others,
    streams: BUCKETS.map((bucket) => stream(bucket, first?.name ?? null, ...rest)),
  };
}

const wish: GrowthWish = { buckets: BUCKETS, replicas: 0, witness: null };
const first: GrowthWish = { ...wish, witness: "w" };
const raised = { raise: BUCKETS.map((bucket) => ({ bucket, replicas: 3 })), dismiss: null, waits: null };
const nothing = { raise: [], dismiss: null, waits: null };

describe("the control plane grows", () => {
  test.each([
    ["a master and its witness", view(["a", "w"], ["w"]), first, nothing],
    ["a second master: three hold every record", view(["a", "w", "b"], ["w"]), first, raised],
    ["a second master that is still behind", view(["a", "w", behind("b")], ["a"]), first, nothing],
    ["records are still copied to the second", view(["a", "w", "b"], ["a", "w", behind("b")]), first, nothing],
    ["two masters and the witness", view(["a", "w", "b"], ["a", "w", "b"]), first, nothing],
    [
      "a third master: the witness goes",
      view(["a", "w", "b", "c"], ["a", "w", "b"]),
      first,
      { ...nothing, dismiss: "member" },
    ],
    [
      "the witness leads: another is to lead first",
      view(["w", "a", "b", "c"], ["w", "a", "b"]),
      first,
      { ...nothing, dismiss: "lead" },
    ],
    ["a third master that is away", view(["a", "w", "b", away("c")], ["a", "w", "b"]), first, nothing],
    [
      "a third master, and one of the first away",
      view(["a", "w", away("b"), "c"], ["a", "w", away("b")]),
      first,
      nothing,
    ],
    [
      "the witness is out, and its records are elsewhere",
      view(["a", "b", "c"], ["a", "b", "c"]),
      first,
      { ...nothing, dismiss: "server" },
    ],
    ["three masters without a witness", view(["a", "b", "c"], ["a", "b", "c"]), wish, nothing],
    [
      "another master's witness is not this box's to dismiss",
      view(["a", "w", "b", "c"], ["a", "w", "b"]),
      wish,
      nothing,
    ],
    ["one of three is away: nothing is lowered", view(["a", "b", away("c")], ["a", "b", away("c")]), wish, nothing],
    ["one copy is all that the settings want", view(["a", "b", "c"], ["a"]), { ...wish, replicas: 1 }, nothing],
  ])("%s", (_, seen, wanted, expected) => {
    expect(planGrowth(seen, wanted)).toEqual(expected);
  });

  test.each([
    ["without a leader", { ...view(["a", "w", "b"], ["a"]), metaLeader: null }, first, "the servers have no leader"],
    [
      "to five copies with three servers",
      view(["a", "b", "c"], ["a", "b", "c"]),
      { ...wish, replicas: 5 },
      "5 servers are wanted, and 3 have everything",
    ],
    [
      "while records are copied",
      view(["a", "b", "w", "c"], ["a", "w", behind("b")]),
      first,
      "bucket FULA_rooms is not whole on all its servers",
    ],
    ["while the witness has records", view(["a", "b", "c"], ["a", "b", "w"]), first, "records still move away from w"],
    [
      "from one that nobody leads",
      view(["a", "b", "c"], []),
      wish,
      "bucket FULA_rooms is not whole on all its servers",
    ],
  ])("%s it waits, and says for what", (_, seen, wanted, waits) => {
    expect(planGrowth(seen, wanted)).toEqual({ ...nothing, waits });
  });

  test("not with a server that its leader takes for current and that does not answer any more", () => {
    const seen = view(["a", "w", "b", "c"], ["a", "w", "b"]);
    const silent = { ...seen, servers: seen.servers.filter(({ name }) => name !== "c") };
    expect(planGrowth(silent, first)).toEqual(nothing);
    expect(planGrowth(seen, first)).toEqual({ ...nothing, dismiss: "member" });
  });

  test("not where one server is alone by design, and not by what other programs keep on the same servers", () => {
    expect(planGrowth({ ...view(["a", "b", "c"], ["a"]), clustered: false }, wish)).toEqual(nothing);
    expect(planGrowth(view(["a", "b", "c"], ["a"]), { ...wish, buckets: ["OTHER_rooms"] })).toEqual(nothing);
  });
});

describe("a server is taken out", () => {
  const refusal = (seen: ClusterView, name: string, force = false, buckets: readonly string[] = []): string | null => {
    try {
      assertRemovable(seen, name, { force, buckets });
      return null;
    } catch (error) {
      return error instanceof Error ? error.message : String(error);
    }
  };

  test("once it is dead and those that are left can agree", () => {
    expect(refusal(view(["a", "b", away("c")], []), "c")).toBeNull();
    expect(refusal(view(["a", away("b"), away("c"), "d"], []), "c")).toBeNull();
    expect(refusal(view(["a", away("b")], []), "b")).toBeNull();
  });

  test("while it runs only by force", () => {
    expect(refusal(view(["a", "b", "c"], []), "c")).toMatch(/it runs, and would be back/);
    expect(refusal(view(["a", "b", "c"], []), "a")).toMatch(/it runs/);
    expect(refusal(view(["a", "b", "c"], []), "c", true)).toBeNull();
    expect(refusal(view(["a", "b", "c"], []), "a", true)).toBeNull();
  });

  test("never where the others could not agree then, whoever forces it", () => {
    expect(refusal(view(["a", "b", behind("c")], []), "b", true)).toMatch(/of the 2 that would be left only 1/);
    expect(refusal(view(["a"], []), "a", true)).toMatch(/it is the last one/);
    expect(refusal({ ...view(["a", "b"], []), metaLeader: null }, "b", true)).toMatch(/have no leader/);
  });

  test("never with records that no other has, seen or not", () => {
    const alone = /no other server has FULA_rooms, FULA_users/;
    expect(refusal(view(["a", "b", "c"], ["c"]), "c", true, BUCKETS)).toMatch(alone);
    expect(refusal(view(["a", "b", "c"], ["c", behind("a")]), "c", true, BUCKETS)).toMatch(alone);
    expect(refusal({ ...view(["a", "b", away("c")], []), streams: [] }, "c", false, BUCKETS)).toMatch(alone);
    expect(refusal(view(["a", "b", "c"], ["c", "a"]), "c", true, BUCKETS)).toBeNull();
    expect(refusal(view(["a", "b", away("c")], ["a"]), "c", false, BUCKETS)).toBeNull();
  });

  test("and one that is left alone is told from one of two, from one without a leader and from one by design", () => {
    expect(isLeftAlone(view(["a"], ["a"]))).toBe(true);
    expect(isLeftAlone(view(["a", away("b")], ["a"]))).toBe(false);
    expect(isLeftAlone(view([], []))).toBe(false);
    expect(isLeftAlone({ ...view(["a"], ["a"]), clustered: false })).toBe(false);
  });

  test("only if it is one of them", () => {
    expect(refusal(view(["a", "b", "c"], []), "d")).toMatch(/none of its servers, which are a, b, c/);
  });
});

describe("the box with the ledger's primary hands the lead of records on", () => {
  const own = new Set(["a", "w"]);

  test.each([
    ["where the others have everything and agree without it", view(["a", "b", "c"], ["a", "b", "c"]), BUCKETS],
    ["not where another leads", view(["a", "b", "c"], ["b", "a", "c"]), []],
    ["not where nobody leads", view(["a", "b", "c"], []), []],
    ["not where it alone has them", view(["a", "b", "c"], ["a"]), []],
    ["not to one that is behind", view(["a", "b", "c"], ["a", "b", behind("c")]), []],
    ["not to one that is away", view(["a", "b", "c"], ["a", away("b"), "c"]), []],
    ["not where most of them are its own", view(["a", "w", "b"], ["a", "w", "b"]), []],
  ])("%s", (_name, seen, buckets) => {
    expect(leadsToHandOn(seen, own)).toEqual(buckets);
  });
});
