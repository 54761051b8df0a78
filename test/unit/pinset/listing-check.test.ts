import { describe, expect, test } from "vitest";
import {
  assertCaughtUp,
  countKnownToPeers,
  type ListingCheck,
  waitUntilCaughtUp,
} from "../../../src/lib/pinset/listing-check.ts";
import { FakeClock } from "../../support/clock.ts";
import { createMemoryCluster } from "../../support/memory-cluster.ts";
import { manyPins } from "../../support/pins.ts";

function checkOf(peers: readonly string[], known: number, more: Partial<ListingCheck> = {}): ListingCheck {
  const cluster = createMemoryCluster({ peers, pins: manyPins(known) });
  return { cluster, expectsPeers: false, isFirst: true, clock: new FakeClock(), ...more };
}

describe("a listing of a cluster peer", () => {
  test("is compared with what all peers know together", async () => {
    const check = checkOf(["a", "b"], 200);
    const known = await countKnownToPeers(check);
    expect(known).toEqual({ held: 200, answering: 2 });
    for (const listed of [200, 199, 198]) await assertCaughtUp(listed, known, check);
    for (const listed of [0, 100, 197]) {
      await expect(assertCaughtUp(listed, known, check)).rejects.toMatchObject({ code: "FULA_CLUSTER_UNREADABLE" });
    }
  });

  test("is good where the pins that it lacks have been removed meanwhile", async () => {
    await assertCaughtUp(200, { held: 300, answering: 2 }, checkOf(["a", "b"], 200));
  });

  test("is good once every peer has heard of what was unpinned before it was made", async () => {
    const late = createMemoryCluster({ peers: ["a", "b"], pins: manyPins(103) });
    const clock = new FakeClock();
    clock.onSleep = () => {
      const [cid = ""] = late.records.keys();
      if (late.records.size > 100) late.records.delete(cid);
    };
    const check = checkOf(["a", "b"], 0, { cluster: late, clock });
    await assertCaughtUp(100, await countKnownToPeers(check), check);
    expect(clock.sleptMs).toEqual([2_000, 2_000]);
  });

  test("is refused where peers fell silent that knew more: what they knew is not gone with them", async () => {
    const known = { held: 300, answering: 3 };
    const check = checkOf(["a", "b"], 200);
    const refusal = { code: "FULA_CLUSTER_UNREADABLE", message: expect.stringContaining("know 300") };
    await expect(assertCaughtUp(200, known, check)).rejects.toMatchObject(refusal);
  });

  test("is not compared where this box is the whole cluster", async () => {
    expect(await countKnownToPeers(checkOf(["a"], 200))).toBe(null);
  });

  test("is refused as the first where other peers should be there and none is seen", async () => {
    const alone = { expectsPeers: true };
    await expect(countKnownToPeers(checkOf(["a"], 0, alone))).rejects.toMatchObject({
      code: "FULA_CLUSTER_UNREADABLE",
    });
    expect(await countKnownToPeers(checkOf(["a"], 0, { ...alone, isFirst: false }))).toBe(null);
  });

  test("counts no pin that its peers are just removing", async () => {
    const check = checkOf(["a", "b"], 3);
    const cluster = createMemoryCluster({ peers: ["a", "b"], pins: manyPins(3) });
    for (const { cid } of manyPins(3)) cluster.reported.set(cid, "unpinning");
    expect(await countKnownToPeers({ ...check, cluster })).toEqual({ held: 0, answering: 2 });
  });

  test("is waited for as long as told", async () => {
    const full = createMemoryCluster({ peers: ["a", "b"], pins: manyPins(40) });
    const syncing = createMemoryCluster({ peers: ["a", "b"] });
    const clock = new FakeClock();
    const check = { ...checkOf(["a", "b"], 0), clock, cluster: { ...syncing, statuses: () => full.statuses() } };
    await expect(waitUntilCaughtUp(check, 10_000)).rejects.toMatchObject({ code: "FULA_CLUSTER_UNREADABLE" });
    expect(clock.sleptMs).toHaveLength(5);
    for (const pin of manyPins(40)) await syncing.put(pin);
    await waitUntilCaughtUp(check, 0);
    expect(clock.sleptMs).toHaveLength(5);
  });
});
