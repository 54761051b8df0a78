import { readFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { makePin, type Pin } from "../../../src/lib/cluster/pins.ts";
import { until } from "../../support/until.ts";
import type { SweepReport } from "../../../src/lib/pinset/sweep-report.ts";
import { type ClusterBox, makeClusterBox } from "../../support/cluster-box.ts";
import { startCluster, type TestCluster } from "../../support/cluster-processes.ts";
import { rawCid } from "../../support/pins.ts";

let cluster: TestCluster;
let box: ClusterBox;

// A peer trusts the one that it bootstraps from, so the one that trusts "first" alone must not bootstrap from "master".
beforeAll(async () => {
  cluster = await startCluster([
    { name: "first" },
    { name: "master" },
    { name: "store-1", follower: true },
    { name: "store-2", follower: true },
    { name: "store-3", follower: true },
  ]);
  box = makeClusterBox(cluster.peer("master"), "sweep: { replMin: 2 }\n");
});
afterAll(async () => {
  await box?.[Symbol.asyncDispose]();
  await cluster?.[Symbol.asyncDispose]();
});

function idOf(name: string): string {
  return cluster.peer(name).id;
}

/** A pin with every option, wanted on these peers. */
function pinOn(seed: string, ...names: readonly string[]): Pin {
  return makePin(rawCid(seed).toString(), "2026-01-01T00:00:00Z", {
    name: `übung ${seed} & more`,
    replication_factor_min: names.length,
    replication_factor_max: names.length,
    allocations: names.map(idOf),
    expire_at: "2999-01-31T00:00:00Z",
    metadata: { bucket: "b & c", empty: "" },
    origins: ["/ip4/127.0.0.1/tcp/4001/p2p/12D3KooWPJUxz2UwuQXQtmXqPzjqWdnnh9otaNVkecRPb6XFtLD6"],
  });
}

async function sweep(
  ...options: readonly string[]
): Promise<{ readonly exitCode: number; readonly report: SweepReport }> {
  const { exitCode, stdout, stderr } = await box.run("sweep", "--no-ledger", "--json", ...options);
  expect(stdout, stderr).not.toBe("");
  // oxlint-disable-next-line typescript/no-unsafe-type-assertion -- the report is what is being tested
  return { exitCode, report: JSON.parse(stdout) as SweepReport };
}

function alertEvents(): readonly string[] {
  const lines = readFileSync(join(box.baseDir, "replication-alerts.log"), "utf8").trim().split("\n");
  return lines.map((line) => {
    // oxlint-disable-next-line typescript/no-unsafe-type-assertion -- it is the file that the code under test wrote
    const alert = JSON.parse(line) as { event: string; peer?: string; cid?: string };
    return `${alert.event} ${alert.peer ?? alert.cid ?? ""}`;
  });
}

describe("a sweep of a real cluster", () => {
  test("has pins whose holder died held by other peers, with every option kept, and names the dead peer", async () => {
    const pins = ["a", "b", "c"].map((seed) => [seed, pinOn(seed, "store-1", "store-2")] as const);
    await box.pinAll([...pins, ["d", pinOn("d", "store-2", "store-3")]]);
    await box.untilHeld((await box.pins()).keys());
    expect((await sweep("--strict")).exitCode).toBe(0);
    const before = await box.pins();

    await cluster.peer("store-1").process.kill();
    await box.untilGone(cluster.peer("store-1"));
    const { exitCode, report } = await sweep("--strict", "--wait", "2m");
    expect(report).toMatchObject({
      outcome: "problems",
      belowBefore: 3,
      belowAfter: 0,
      reallocated: 3,
      recovered: 3,
      ok: 4,
    });
    expect(report.peers).toMatchObject([{ peer: idOf("store-1"), trouble: "gone", allocatedPins: 3 }]);
    expect(exitCode).toBe(1);
    for (const [cid, pin] of await box.pins()) {
      const was = before.get(cid);
      expect({ ...pin, allocations: [], timestamp: "" }).toEqual({ ...was, allocations: [], timestamp: "" });
      expect(pin.allocations).not.toContain(idOf("store-1"));
      expect(pin.allocations).toHaveLength(2);
    }
    expect(alertEvents()).toEqual([`peer ${idOf("store-1")}`]);
  });

  test("goes on naming a peer that is gone until it is told that it was taken out", async () => {
    expect((await sweep()).report.peers).toMatchObject([{ peer: idOf("store-1"), trouble: "gone", allocatedPins: 0 }]);
    const forgotten = await sweep("--strict", "--forget-peer", idOf("store-1"));
    expect(forgotten).toMatchObject({ exitCode: 0, report: { outcome: "ok", peers: [], alertsCleared: 1 } });
    await cluster.peer("store-1").process.start();
    await box.untilBack(cluster.peer("store-1"));
    await box.untilHeld((await box.pins()).keys());
    // Every peer has to see it again, not the writer alone; a dry run tells, and writes nothing.
    await until("nothing is wrong any more", async () => (await sweep("--strict", "--dry-run")).exitCode === 0);
    expect(await sweep("--strict")).toMatchObject({ exitCode: 0, report: { outcome: "ok", alertsCleared: 0 } });
    expect(alertEvents()).toEqual([`peer ${idOf("store-1")}`, `peer-cleared ${idOf("store-1")}`]);
  });

  test("asks the holder to fetch again what its Kubo lost", async () => {
    const holder = cluster.peer("store-2");
    const { cid } = pinOn("a", "store-2");
    const pin = (await box.pins()).get(cid);
    if (pin === undefined) throw new Error("no pin");
    const [one] = pin.allocations;
    const peer = cluster.peers.find(({ id }) => id === one) ?? holder;
    peer.kubo.ipfs("pin", "rm", cid);
    peer.kubo.ipfs("block", "rm", cid);
    const { report } = await sweep("--wait", "2m");
    expect(report).toMatchObject({ outcome: "ok", belowBefore: 1, belowAfter: 0, recovered: 1, reallocated: 0 });
    expect(peer.kubo.ipfs("pin", "ls", cid)).toContain(cid);
  });

  test("reports a pin whose content is nowhere, after the grace and not before", async () => {
    await box.pinset.put(pinOn("content that nobody has", "store-1", "store-2"));
    const early = await sweep("--strict", "--wait", "0s", "--grace", "1h");
    expect(early).toMatchObject({ exitCode: 0, report: { pinning: 1, belowAfter: 0 } });
    const late = await sweep("--strict", "--wait", "0s", "--grace", "0s");
    expect(late.exitCode).toBe(1);
    expect(late.report.belowAfter).toBe(1);
    await box.pinset.remove(pinOn("content that nobody has").cid);
  });

  test("of a peer that does not run exits 4, says so in the report, and alerts and clears nothing", async () => {
    const alerts = alertEvents();
    await cluster.peer("master").process.kill();
    const { exitCode, stderr } = await box.run("sweep", "--no-ledger", "--strict");
    expect(exitCode).toBe(4);
    expect(stderr).toContain("FULA_CLUSTER_UNREADABLE");
    expect(JSON.parse(readFileSync(join(box.baseDir, "state", "sweep-last.json"), "utf8"))).toMatchObject({
      outcome: "unreadable",
      ok: 0,
    });
    expect(alertEvents()).toEqual(alerts);
  });
});

describe("a peer that does not trust the master", () => {
  test("is reported, and its copies are not counted", async () => {
    await using suspicious = await startCluster([
      { name: "first" },
      { name: "master" },
      { name: "stranger", follower: true, trusts: ["first"] },
    ]);
    await using own = makeClusterBox(suspicious.peer("master"), "sweep: { replMin: 1 }\n");
    const stranger = suspicious.peer("stranger").id;
    const pin = makePin(rawCid("everywhere").toString(), "2026-01-01T00:00:00Z", { name: "on every peer" });
    await own.pinAll([["everywhere", pin]]);
    await until("the two that trust the master hold it", async () => {
      const held = (await own.pinset.status(pin.cid))?.peers.filter(({ status }) => status === "pinned") ?? [];
      return held.length === 2;
    });
    const { exitCode, stdout } = await own.run("sweep", "--no-ledger", "--strict", "--wait", "10s");
    expect(stdout).toContain(`Peer stranger (${stranger}) is keeping its pins from this master since`);
    expect(stdout).toContain("Try: have it trust this master");
    expect(stdout).toContain("under (2 of 3)");
    expect(exitCode).toBe(1);
  });
});
