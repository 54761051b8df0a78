import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { openKuboBlockStore } from "../../../src/lib/blocks/kubo.ts";
import type { Pin } from "../../../src/lib/cluster/pins.ts";
import { type ClusterBox, makeClusterBox } from "../../support/cluster-box.ts";
import { startCluster, type TestCluster } from "../../support/cluster-processes.ts";
import { rawBytes, rawCid } from "../../support/pins.ts";
import { until } from "../../support/until.ts";

let cluster: TestCluster;
let box: ClusterBox;
let followersBox: ClusterBox;

beforeAll(async () => {
  cluster = await startCluster([{ name: "writer" }, { name: "holder", follower: true }]);
  box = makeClusterBox(cluster.peer("writer"));
  followersBox = makeClusterBox(cluster.peer("holder"));
});
afterAll(async () => {
  await box?.[Symbol.asyncDispose]();
  await followersBox?.[Symbol.asyncDispose]();
  await cluster?.[Symbol.asyncDispose]();
});

async function content(seed: string): Promise<string> {
  await openKuboBlockStore(cluster.peer("writer").kubo.api).put(rawCid(seed), rawBytes(seed));
  return rawCid(seed).toString();
}

describe("fula-master pin on a master with a cluster", () => {
  test("adds with the factors of the settings, tells where it stands, and changes only what was named", async () => {
    const cid = await content("by hand");
    const added = await box.run("pin", "add", cid, "--name", "by hand & more", "--metadata", "a=b=c&d");
    expect([added.exitCode, added.stderr]).toEqual([0, ""]);
    expect(added.stdout).toMatch(/pinned; (?:pinned|pinning|pin_queued|unpinned) on 12D3KooW/);
    await until("both peers hold it", async () => (await box.run("pin", "status", cid)).exitCode === 0);
    const changed = await box.run("pin", "add", cid, "--expire", "2999-01-01T00:00:00Z");
    expect(changed.stdout).toContain("changed (expire_at)");
    const { stdout } = await box.run("pin", "ls", "--json", "--name", "by hand");
    const pin: Pin = JSON.parse(stdout);
    expect(pin).toMatchObject({
      cid,
      name: "by hand & more",
      metadata: { a: "b=c&d" },
      replication_factor_min: 2,
      replication_factor_max: 3,
      expire_at: "2999-01-01T00:00:00Z",
    });
    expect((await box.run("pin", "rm", cid, "--yes")).exitCode).toBe(0);
    expect((await box.run("pin", "rm", cid, "--yes")).exitCode).toBe(1);
  });

  test("lists in the order of the CIDs, which the cluster does not", async () => {
    const cids = await Promise.all(Array.from({ length: 40 }, async (_, number) => content(`listed ${number}`)));
    for (const cid of cids) await box.run("pin", "add", cid, "--name", "listed");
    const { stdout } = await box.run("pin", "ls", "--name", "listed");
    const listed = stdout.trim().split("\n");
    expect(listed.map((line) => line.split(" ")[0])).toEqual(cids.toSorted());
    await box.run("pin", "rm", ...cids, "--yes");
  });

  test("exits 1 where a peer does not have it, or the copies cannot be had", async () => {
    const missing = rawCid("nobody has it").toString();
    await box.run("pin", "add", missing);
    expect((await box.run("pin", "status", missing)).exitCode).toBe(1);
    const tooMany = await box.run("pin", "add", await content("too many"), "--copies", "5");
    expect(tooMany.exitCode).toBe(1);
    expect(tooMany.stderr).toContain("FULA_PIN_REFUSED");
    expect(tooMany.stderr).toContain("not enough peers");
    await box.run("pin", "rm", missing, "--yes");
  });

  test("is refused on a follower, which changes nothing", async () => {
    const cid = await content("not by a follower");
    const refused = await followersBox.run("pin", "add", cid);
    expect(refused.exitCode).toBe(3);
    expect(refused.stderr).toContain("FULA_CLUSTER_READ_ONLY");
    expect(await box.pinset.pin(cid)).toBeNull();
  });
});
