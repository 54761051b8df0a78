import { createHash } from "node:crypto";
import { mkdir, readdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { createCid, RAW_CODEC } from "../../../src/lib/blocks/cid.ts";
import { makePin, type PinOptions } from "../../../src/lib/cluster/pins.ts";
import { systemClock } from "../../../src/lib/kernel/clock.ts";
import { isFulaError } from "../../../src/lib/kernel/errors.ts";
import { listFederationNodes } from "../../../src/lib/membership/federation-nodes.ts";
import type { DoctorReport, DoctorResult } from "../../../src/lib/stack/doctor.ts";
import { openBlocks, withPinCluster } from "../../../src/lib/stack/pinset.ts";
import type { StatusReport } from "../../../src/lib/stack/status-report.ts";
import { type ClusterPeer, startCluster, type TestCluster } from "../../support/cluster-processes.ts";
import { emptyDatabase, type TestDatabase } from "../../support/postgres.ts";
import { makeTestBox, type TestBox } from "../../support/test-box.ts";
import { settled, until } from "../../support/until.ts";

let cluster: TestCluster;
let database: TestDatabase;
let box: TestBox;

function apiOf({ api }: ClusterPeer): string {
  return `/ip4/127.0.0.1/tcp/${new URL(api).port}`;
}

beforeAll(async () => {
  cluster = await startCluster([
    // As the fleet's set-up script starts a writer.
    { name: "writer", env: { CLUSTER_MONITORPINGINTERVAL: "12h" } },
    { name: "stranger" },
    { name: "follower", follower: true },
  ]);
  database = await emptyDatabase();
  box = await makeTestBox();
  // A cron that runs, as far as anybody can see.
  await mkdir(join(box.scheduleRoot, "proc/1"), { recursive: true });
  await writeFile(join(box.scheduleRoot, "proc/1/comm"), "cron\n");
  const writer = cluster.peer("writer");
  const args = [
    ...box.joinArgs.map((arg) => (arg === "embedded" ? "external" : arg)),
    "--node-name",
    "m1",
    "--postgres-url",
    database.url,
    "--kubo-api",
    writer.kubo.apiAddress,
    "--cluster-api",
    apiOf(writer),
    "--announce",
    "192.0.2.1",
  ];
  const joined = await box.run(args);
  expect(joined.exitCode, joined.stderr).toBe(0);
});

afterAll(async () => {
  await box?.[Symbol.asyncDispose]();
  await database?.drop();
  await cluster?.[Symbol.asyncDispose]();
});

async function status(env: Readonly<Record<string, string>> = {}): Promise<StatusReport> {
  const run = await box.run(["status", "--json", "--schedule-root", box.scheduleRoot], {
    env: { PATH: process.env["PATH"], HOME: process.env["HOME"], ...env },
  });
  return JSON.parse(run.stdout);
}

async function doctor(args: readonly string[], env: Readonly<Record<string, string>> = {}): Promise<DoctorReport> {
  const run = await box.run(["doctor", "--json", "--schedule-root", box.scheduleRoot, ...args], {
    env: { PATH: process.env["PATH"], HOME: process.env["HOME"], ...env },
  });
  expect(run.stdout, run.stderr).not.toBe("");
  return JSON.parse(run.stdout);
}

function failures({ checks }: DoctorReport): readonly DoctorResult[] {
  return checks.filter(({ verdict }) => verdict === "failed");
}

async function leave(...args: readonly string[]) {
  return await box.run(["leave", "--json", "--yes", "--schedule-root", box.scheduleRoot, ...args]);
}

/** Stores a block and pins it, and waits until the writer holds it. */
async function pinned(text: string, options: PinOptions): Promise<string> {
  const loaded = await box.load();
  const bytes = Buffer.from(text);
  const cid = createCid(RAW_CODEC, bytes);
  await (await openBlocks(loaded)).put(cid, bytes);
  await withPinCluster(loaded, { clock: systemClock }, async (pins) => {
    await until("the writer knows enough peers to choose from", async () => {
      try {
        await pins.put(makePin(cid.toString(), "2026-11-20T03:00:00Z", options));
        return true;
      } catch (error) {
        if (isFulaError(error, "FULA_PIN_REFUSED")) return false;
        throw error;
      }
    });
    await until("every peer that shall hold it does", async () => {
      const held = (await pins.status(cid.toString()))?.peers.filter((peer) => peer.status === "pinned").length ?? 0;
      return held >= (options.replication_factor_min ?? 1);
    });
  });
  return cid.toString();
}

async function unpin(cid: string): Promise<void> {
  await withPinCluster(await box.load(), { clock: systemClock }, async (pins) => {
    await pins.remove(cid);
  });
}

describe("a master on a real Kubo and IPFS Cluster", () => {
  test("shows Kubo, the peers with their roles, and that somebody who is no master may change the pinset", async () => {
    // What does not answer in time is said to be bad, which it is not on a machine with much else to do.
    const report = await until("every part has answered in time", async () => {
      const seen = await status();
      const isAll =
        seen.kubo?.peersConnected === 2 && seen.cluster?.peers.length === 3 && seen.trust?.surplus.length === 1;
      const areOk = [seen.kubo, seen.cluster, seen.pins].every((part) => part?.state === "ok");
      return isAll && areOk && seen.healthy ? seen : null;
    });
    const { kubo, cluster: peers, trust, pins } = report;
    expect(kubo).toMatchObject({ state: "ok", peerId: cluster.peer("writer").kubo.peerId, peersConnected: 2 });
    expect(peers).toMatchObject({ state: "ok" });
    const byName = peers?.peers.toSorted((a, b) => a.name.localeCompare(b.name));
    expect(byName?.map(({ name, isSelf, state }) => ({ name, isSelf, state }))).toEqual([
      { name: "follower", isSelf: false, state: "answers" },
      { name: "stranger", isSelf: false, state: "answers" },
      { name: "writer", isSelf: true, state: "answers" },
    ]);
    // The ledger knows one master; the daemon was started to trust two.
    expect(trust).toMatchObject({ state: "attention", missing: [], surplus: [cluster.peer("stranger").id] });
    expect(pins).toMatchObject({ state: "ok", count: null });
    expect(report.healthy).toBe(true);
  });

  test("says that new pins ask for one copy where more peers could hold them", async () => {
    const { cluster: peers, healthy } = await settled(
      async () => await status({ FULA_MASTER_CLUSTER_REPLICATION_MIN: "1" }),
      (seen) => seen.cluster?.state === "attention" && seen.healthy,
    );
    expect(peers).toMatchObject({ state: "attention", problem: expect.stringContaining("although 3 peers are here") });
    expect(healthy).toBe(true);
  });

  test("passes the doctor, who names the trusted stranger and the peer that would look alive for a day after its death", async () => {
    // A machine with much else to do may keep one of the checks from its answer.
    const report = await settled(
      async () => await doctor([]),
      (seen) => !failures(seen).some(({ code }) => code === "FULA_LOOK_TIMEOUT"),
    );
    expect(failures(report)).toEqual([]);
    const doubts = report.checks
      .filter(({ verdict }) => verdict === "warning")
      .map(({ message }) => message)
      .join("\n");
    expect(doubts).toContain(cluster.peer("stranger").id);
    expect(doubts).toMatch(/writer would count as alive for 1d/);
    const said = (name: string): string => report.checks.find((check) => check.name === name)?.message ?? "";
    expect(said("kubo")).toMatch(/^Kubo 0\.\d+/);
    expect(said("cluster")).toMatch(/pins on our Kubo node, and may change the pinset/);
    expect(said("round-trip")).toMatch(/^stored, pinned, read back and removed /);
    expect(said("federation")).toBe("1 master in the ledger: m1");
    expect(said("exposure")).toMatch(/not reachable but on loopback/);
    expect(cluster.peer("writer").ctl("pin", "ls")).toBe("");
  });

  test("whose cluster secret is made from a pool's number is told the number", async () => {
    const secret = createHash("sha256").update("4711").digest("hex");
    const [found] = failures(await doctor(["--only", "cluster-secret"], { CLUSTER_SECRET: secret }));
    expect(found?.message).toContain('CLUSTER_SECRET is the SHA-256 of "4711"');
    expect(found?.remedy).toContain("openssl rand -hex 32");
    const other = await doctor(["--only", "cluster-secret"], { CLUSTER_SECRET: cluster.secret });
    expect(other.healthy).toBe(true);
  });

  test("whose Kubo settings name another peer's Kubo is told so", async () => {
    const { apiAddress, peerId } = cluster.peer("stranger").kubo;
    const [found] = failures(await doctor(["--only", "cluster"], { FULA_MASTER_BLOCKS_KUBO_API: apiAddress }));
    expect(found).toMatchObject({ code: "FULA_WRITER_UNFIT", message: expect.stringContaining(peerId) });
  });

  test("that is pointed at a follower is told that a master must be able to write", async () => {
    const { kubo, ...peer } = cluster.peer("follower");
    const env = { FULA_MASTER_BLOCKS_KUBO_API: kubo.apiAddress, FULA_MASTER_CLUSTER_API: apiOf({ ...peer, kubo }) };
    const [found] = failures(await doctor(["--only", "cluster"], env));
    expect(found?.message).toContain("is a follower");
  });

  test("may not leave while it alone holds a pin, and is told which", async () => {
    const self = cluster.peer("writer").id;
    const alone = { replication_factor_min: 1, replication_factor_max: 1, user_allocations: [self] };
    const cid = await pinned("held by the writer alone", alone);
    const held = await pinned("held by everybody", { replication_factor_min: 2, replication_factor_max: 3 });
    const { exitCode, stderr } = await leave();
    expect(exitCode).toBe(3);
    expect(stderr).toContain("FULA_LEAVE_LAST_COPY");
    expect(JSON.parse(stderr.trim().split("\n").at(-1) ?? "").error.details).toEqual({
      pins: 2,
      lastCopies: 1,
      shown: [cid],
    });
    expect((await status()).node?.leftAt).toBeNull();
    await unpin(cid);
    await unpin(held);
  });
});

describe("a cluster peer that hangs", () => {
  test("keeps nobody waiting: the screen comes in time and says which part gives no answer", async () => {
    cluster.peer("writer").process.freeze();
    try {
      const report = await status();
      expect(report.cluster).toMatchObject({ state: "bad", problem: expect.stringContaining("no answer within 8s") });
      expect(report.pins).toMatchObject({ state: "bad", count: null });
      expect(report.kubo).toMatchObject({ state: "ok" });
      expect(report.healthy).toBe(false);
      const checked = await doctor(["--only", "cluster,kubo,trust"]);
      expect(failures(checked).map(({ name }) => name)).toEqual(["cluster", "trust"]);
    } finally {
      cluster.peer("writer").process.thaw();
    }
  });
});

// Last: what it does is not undone.
describe("a master that leaves", () => {
  test("is refused while its cluster cannot be read, for no answer is no all-clear: exit 4", async () => {
    const env = { PATH: process.env["PATH"], FULA_MASTER_CLUSTER_API: "/ip4/127.0.0.1/tcp/1" };
    const { exitCode, stderr } = await box.run(["leave", "--yes", "--schedule-root", box.scheduleRoot], { env });
    expect(exitCode).toBe(4);
    expect(stderr).toContain("FULA_CLUSTER_UNREADABLE");
    expect((await status()).serve?.pid).not.toBeNull();
  });

  test("takes a last snapshot, goes out of the ledger's list, and keeps every pin", async () => {
    const cid = await pinned("stays with the others", { replication_factor_min: 2, replication_factor_max: 3 });
    const { exitCode, stdout, stderr } = await leave();
    expect(exitCode, stderr).toBe(0);
    const report = JSON.parse(stdout);
    expect(report).toMatchObject({
      outcome: "left",
      changed: ["schedules", "serve", "snapshot", "federation"],
      plan: { lastCopies: { pins: 1, count: 0, alone: false } },
    });
    expect(await listFederationNodes(database.pool)).toEqual([]);
    await until("the stranger's pinset has it, too", async () =>
      (await Promise.resolve(cluster.peer("stranger").ctl("pin", "ls"))).includes(cid),
    );
    expect(await readdir(join(box.scheduleRoot, "etc/cron.d"))).toEqual([]);
    const again = await leave();
    expect(JSON.parse(again.stdout)).toMatchObject({ outcome: "already", changed: [] });
  });
});
