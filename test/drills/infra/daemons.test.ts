import { expect, test } from "vitest";
import { startCluster } from "../../support/cluster-processes.ts";
import { startKubo } from "../../support/kubo-process.ts";
import { until } from "../../support/until.ts";

test("a Kubo of the tests has no peers, keeps a block over a kill, and is gone when it is disposed of", async () => {
  let api: string;
  {
    await using kubo = await startKubo();
    api = kubo.api;
    expect(kubo.ipfs("version", "--number").trim()).toBe("0.42.0");
    expect(kubo.ipfs("bootstrap", "list").trim()).toBe("");
    const cid = kubo.ipfs("add", "-Q", "--cid-version=1", "--raw-leaves", import.meta.filename).trim();
    await kubo.process.kill();
    await kubo.process.start();
    expect(kubo.ipfs("cat", cid)).toContain("keeps a block over a kill");
    expect(kubo.ipfs("swarm", "peers").trim()).toBe("");
  }
  await expect(fetch(`${api}/api/v0/version`, { method: "POST" })).rejects.toThrow();
});

test("a cluster of the tests replicates what its writer pins, and its follower refuses to pin", async () => {
  await using cluster = await startCluster([{ name: "writer" }, { name: "follower", follower: true }]);
  const writer = cluster.peer("writer");
  const follower = cluster.peer("follower");
  const cid = writer.kubo
    .ipfs("add", "-Q", "--pin=false", "--cid-version=1", "--raw-leaves", import.meta.filename)
    .trim();

  const refused = await fetch(`${follower.api}/pins/${cid}`, { method: "POST" });
  expect(refused.status).toBe(500);
  expect(await refused.text()).toContain("follower");

  const accepted = await fetch(`${writer.api}/pins/${cid}?replication-min=2&replication-max=2`, { method: "POST" });
  expect(accepted.status).toBe(200);
  await until("the follower's Kubo holds the pin", async () => {
    try {
      return follower.kubo.ipfs("pin", "ls", "--type=recursive", cid).includes(cid);
    } catch {
      return false;
    }
  });
});
