import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { FailoverRig, rigPorts, RigWriter, runOnRig } from "../../support/failover-rig.ts";
import { type NatsServers, startNatsServers } from "../../support/nats-servers.ts";
import { until } from "../../support/until.ts";

let servers: NatsServers;

beforeAll(async () => {
  servers = await startNatsServers(1);
});

afterAll(async () => {
  await servers[Symbol.asyncDispose]();
});

async function written(rig: FailoverRig, node: string): Promise<readonly number[]> {
  const rows = await rig.box(node).server.sql<{ n: number }>("select n from written order by n", [], "ledger");
  return rows.map(({ n }) => n);
}

describe("on real servers", { timeout: 120_000 }, () => {
  test("a failover of a box whose power was cut loses no acknowledged write, and refuses what still means the old epoch", async () => {
    await using rig = await FailoverRig.open(servers, ["beta", "gamma"]);
    await using writer = new RigWriter(rig);
    await writer.progress(50);
    await rig.kill("alpha");
    const ports = rigPorts(rig.store, rig.address, { unreachable: new Set(["alpha"]) });
    const report = await runOnRig(ports, { forced: true });
    expect(report).toMatchObject({ outcome: "done", epoch: { number: 2 }, loss: { lossless: true } });
    const seal = report.steps.find(({ action }) => action === "proveSealed");
    expect(seal?.seen).toContain("a write under epoch 1 was refused");
    expect(report.raisedToWrittenMs).not.toBeNull();
    const { primary } = report;
    const other = primary === "beta" ? "gamma" : "beta";
    // The first commit of the new primary waited for the other standby, which follows it.
    expect(await rig.epoch()).toMatchObject({ syncSet: [other], syncNeeded: 1 });
    await writer.progress(20);
    await writer[Symbol.asyncDispose]();
    await rig.rig.streaming(rig.box(primary).server, other);
    for (const node of [primary, other]) {
      const kept = new Set(await written(rig, node));
      expect(writer.acknowledged.filter((n) => !kept.has(n))).toEqual([]);
    }
  });

  test("a switchover under load loses nothing, doubles nothing, and the old primary follows by itself", async () => {
    await using rig = await FailoverRig.open(servers);
    await using writer = new RigWriter(rig);
    await writer.progress(50);
    const report = await runOnRig(rigPorts(rig.store, rig.address), { kind: "switchover", to: "beta" });
    expect(report).toMatchObject({ outcome: "done", primary: "beta", loss: { lossless: true } });
    await writer.progress(20);
    await writer[Symbol.asyncDispose]();
    await rig.rig.streaming(rig.box("beta").server, "alpha");
    const kept = await written(rig, "beta");
    expect(kept).toEqual([...new Set(kept)]);
    expect(writer.acknowledged.filter((n) => !kept.includes(n))).toEqual([]);
    expect(await written(rig, "alpha")).toEqual(kept);
  });

  // Two digits: a federation came to a standstill at its tenth epoch, where the ninth was taken for a later one.
  test("the primary goes to and fro under load until its epochs have two digits, and no write is lost or doubled", async () => {
    await using rig = await FailoverRig.open(servers);
    await using writer = new RigWriter(rig);
    for (let number = 2; number <= 12; number += 1) {
      const [to, from] = number % 2 === 0 ? ["beta", "alpha"] : ["alpha", "beta"];
      const report = await runOnRig(rigPorts(rig.store, rig.address), { kind: "switchover", to });
      expect(report).toMatchObject({ outcome: "done", primary: to, epoch: { number }, loss: { lossless: true } });
      await writer.progress(5);
      await rig.rig.streaming(rig.box(to).server, from);
      await rig.noteBoxes();
    }
    await writer[Symbol.asyncDispose]();
    const kept = await written(rig, "beta");
    expect(writer.acknowledged.filter((n) => !kept.includes(n))).toEqual([]);
    expect(await rig.epoch()).toMatchObject({ number: 12, phase: "open", primary: "beta" });
  }, 300_000);

  test("a master that is only cut off is left alone: what cannot be proven is refused before anything is changed", async () => {
    await using rig = await FailoverRig.open(servers);
    rig.box("alpha").acts = false;
    await using writer = new RigWriter(rig);
    await writer.progress(5);
    const ports = rigPorts(rig.store, rig.address, { unreachable: new Set(["alpha"]) });
    await expect(runOnRig(ports)).rejects.toMatchObject({ code: "FULA_FAILOVER_REFUSED" });
    expect(await rig.epoch()).toMatchObject({ number: 1, phase: "open", primary: "alpha" });
    await writer.progress(5);
  });

  test("a primary that does not hear that its time is over acknowledges nothing more; an abort gives it its right back", async () => {
    await using rig = await FailoverRig.open(servers);
    await using writer = new RigWriter(rig);
    await writer.progress(10);
    rig.box("alpha").acts = false;
    const ports = rigPorts(rig.store, rig.address);
    await expect(runOnRig(ports)).rejects.toMatchObject({ code: "FULA_FENCE_UNPROVEN" });
    const before = (await written(rig, "beta")).length;
    const { server } = rig.box("alpha");
    expect((await written(rig, "alpha")).length).toBe(before);
    // The writer's own commit, and this one, hang where nobody acknowledges them.
    const stuck = server.sql("insert into written values (-1)", [], "ledger").catch(() => null);
    await until("a commit waits in vain", async () => {
      const rows = await server.sql("select 1 from pg_stat_activity where wait_event = 'SyncRep'");
      return rows.length > 0;
    });
    rig.box("alpha").acts = true;
    expect(await runOnRig(ports, {}, "abort")).toMatchObject({ outcome: "aborted", epoch: { number: 3 } });
    await writer.progress(10);
    await writer[Symbol.asyncDispose]();
    await stuck;
    expect(await rig.epoch()).toMatchObject({ number: 3, phase: "open", primary: "alpha", syncSet: ["beta"] });
    await rig.rig.streaming(server, "beta");
    const kept = new Set(await written(rig, "beta"));
    expect(writer.acknowledged.filter((n) => !kept.has(n))).toEqual([]);
  });
});
