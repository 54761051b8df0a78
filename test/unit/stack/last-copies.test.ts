import { expect, test } from "vitest";
import { makePin, type PinOptions } from "../../../src/lib/cluster/pins.ts";
import { countLastCopies } from "../../../src/lib/stack/last-copies.ts";
import { createMemoryCluster, type MemoryCluster } from "../../support/memory-cluster.ts";
import { blockPin } from "../../support/pin-of-block.ts";

const signal = new AbortController().signal;
const a = blockPin(1).cid;
const b = blockPin(2).cid;
const c = blockPin(3).cid;

/** "self" is the peer that is asked. */
function clusterOf(cids: readonly string[], options: PinOptions = {}): MemoryCluster {
  const cluster = createMemoryCluster({
    peers: ["self", "other", "third"],
    pins: cids.map((cid) => makePin(cid, "2026-11-20T03:00:00Z", options)),
  });
  cluster.peerFacts.set("self", { isSelf: true });
  for (const peer of ["other", "third"]) cluster.peerFacts.set(peer, { isSelf: false });
  return cluster;
}

test("a pin that another peer holds too is no last copy", async () => {
  expect(await countLastCopies(clusterOf([a, b]), "statuses", signal)).toEqual({
    pins: 2,
    count: 0,
    shown: [],
    alone: false,
  });
});

test.each([
  ["is still fetching it", "pinning"],
  ["failed to pin it", "pin_error"],
  ["lost it", "unexpectedly_unpinned"],
] as const)("a peer that %s does not hold it", async (_, status) => {
  const cluster = clusterOf([a, b]);
  cluster.reported.set(`${b}@other`, status).set(`${b}@third`, status);
  expect(await countLastCopies(cluster, "statuses", signal)).toMatchObject({ pins: 2, count: 1, shown: [b] });
});

test("a peer that says it holds a pin, and does not answer by now, is no other copy", async () => {
  const cluster = clusterOf([a]);
  cluster.peerFacts.set("other", { isSelf: false, state: "gone" });
  cluster.peerFacts.set("third", { isSelf: false, state: "failing" });
  expect(await countLastCopies(cluster, "statuses", signal)).toMatchObject({ count: 1, alone: true });
});

test("what this box does not hold itself is not lost with it", async () => {
  const cluster = clusterOf([a]);
  for (const peer of ["self", "other", "third"]) cluster.reported.set(`${a}@${peer}`, "pin_error");
  expect(await countLastCopies(cluster, "statuses", signal)).toMatchObject({ pins: 1, count: 0 });
});

test("of many only the first few are named, and all are counted", async () => {
  const cids = Array.from({ length: 40 }, (_, number) => blockPin(number).cid);
  const cluster = clusterOf(cids);
  for (const cid of cids) for (const peer of ["other", "third"]) cluster.reported.set(`${cid}@${peer}`, "pin_error");
  const { count, shown } = await countLastCopies(cluster, "statuses", signal);
  expect({ count, shown: shown.length }).toEqual({ count: 40, shown: 5 });
});

test("a follower, that is told no statuses, goes by who was chosen to hold a pin", async () => {
  const cluster = clusterOf([]);
  const put = async (cid: string, allocations: readonly string[]): Promise<void> => {
    await cluster.put(makePin(cid, "2026-11-20T03:00:00Z", { allocations }));
  };
  await put(a, ["self"]);
  await put(b, ["self", "other"]);
  await put(c, ["other", "third"]);
  expect(await countLastCopies(cluster, "allocations", signal)).toMatchObject({ pins: 3, count: 1, shown: [a] });
  cluster.peerFacts.set("other", { isSelf: false, state: "gone" });
  expect(await countLastCopies(cluster, "allocations", signal)).toMatchObject({ count: 2, shown: [a, b].toSorted() });
});

test("a pin of every peer is no follower's last copy while any other peer answers", async () => {
  const cluster = clusterOf([a]);
  expect(await countLastCopies(cluster, "allocations", signal)).toMatchObject({ count: 0 });
  for (const peer of ["other", "third"]) cluster.peerFacts.set(peer, { isSelf: false, state: "gone" });
  expect(await countLastCopies(cluster, "allocations", signal)).toMatchObject({ count: 1, alone: true });
});

test("statuses that break off are no all-clear", async () => {
  const cluster = clusterOf([a, b]);
  cluster.faults.throwAfter = { entries: 1, error: new Error("cut") };
  await expect(countLastCopies(cluster, "statuses", signal)).rejects.toThrow("cut");
});
