import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { openKuboBlockStore } from "../../../src/lib/blocks/kubo.ts";
import { makePin, type Pin } from "../../../src/lib/cluster/pins.ts";
import { isFulaError } from "../../../src/lib/kernel/errors.ts";
import { runCliForTest } from "../../support/cli.ts";
import { type ClusterBox, makeClusterBox } from "../../support/cluster-box.ts";
import { startCluster, type TestCluster } from "../../support/cluster-processes.ts";
import { rawBytes, rawCid } from "../../support/pins.ts";
import { until } from "../../support/until.ts";

const PINS = 1_000;
const TWICE = { replication_factor_min: 2, replication_factor_max: 2 };
const ORIGIN = "/ip4/127.0.0.1/tcp/4001/p2p/12D3KooWPJUxz2UwuQXQtmXqPzjqWdnnh9otaNVkecRPb6XFtLD6";

let cluster: TestCluster;
let box: ClusterBox;
/** The pinset before anything was lost. */
let before: ReadonlyMap<string, Pin>;

beforeAll(async () => {
  cluster = await startCluster([
    { name: "master" },
    { name: "store-1", follower: true },
    { name: "store-2", follower: true },
    { name: "store-3", follower: true },
  ]);
  box = makeClusterBox(cluster.peer("master"));
  await box.pinAll(Array.from({ length: PINS }, (_, number) => [`mass ${number}`, massPin(number)] as const));
  await box.untilHeld((await box.pins()).keys());
  before = await box.pins();
});
afterAll(async () => {
  await box?.[Symbol.asyncDispose]();
  await cluster?.[Symbol.asyncDispose]();
});

/** Every option that a pin can have, in all kinds of mixtures. */
function massPin(number: number): Pin {
  const [min, max] = [
    [-1, -1],
    [1, 1],
    [2, 2],
    [2, 3],
    [3, 3],
  ][number % 5] ?? [2, 3];
  return makePin(rawCid(`mass ${number}`).toString(), "2026-01-01T00:00:00Z", {
    name: number % 9 === 0 ? "" : `übung ${number} & "100%" +\t\u{1f600}`,
    mode: number % 7 === 0 ? "direct" : "recursive",
    replication_factor_min: min ?? 2,
    replication_factor_max: max ?? 3,
    expire_at: number % 3 === 0 ? `2999-0${1 + (number % 9)}-11T03:04:05Z` : null,
    metadata: number % 4 === 0 ? {} : { bucket: `b${number}`, "a key = & ?": "", __proto__x: "ß\n" },
    origins: number % 6 === 0 ? [ORIGIN] : [],
  });
}

/** A record as far as a restore can bring it back: when it was pinned is the cluster's to say. */
function comparable(pin: Pin): Pin {
  return { ...pin, allocations: pin.allocations.toSorted(), timestamp: "" };
}

async function unpinAll(cids: Iterable<string>): Promise<void> {
  for (const cid of cids) await box.pinset.remove(cid);
}

describe("a thousand pins of a real cluster that somebody unpinned", () => {
  test("were in a sweep and in a snapshot before", async () => {
    const swept = await box.run("sweep", "--no-ledger", "--strict", "--json");
    expect(JSON.parse(swept.stdout)).toMatchObject({ outcome: "ok", pins: PINS, ok: PINS, peers: [] });
    expect(swept.exitCode).toBe(0);
    const snapshot = await box.run("snapshot", "--json");
    expect(JSON.parse(snapshot.stdout)).toMatchObject({ pinCount: PINS });
  });

  test("are missed by the next sweep and by the next snapshot, which refuses to follow", async () => {
    await unpinAll(before.keys());
    await box.untilNothingIsHeld();
    const swept = await box.run("sweep", "--no-ledger");
    expect(swept).toMatchObject({ exitCode: 3, stdout: "" });
    expect(swept.stderr).toContain("FULA_SWEEP_EMPTIED");
    const snapshot = await box.run("snapshot");
    expect(snapshot.exitCode).toBe(3);
    expect(snapshot.stderr).toContain("FULA_SNAPSHOT_SHRUNK");
  });

  test("come back with every option equal, field by field, on the peers that held them", async () => {
    const restored = await box.run("restore", "--wait", "3m", "--json");
    expect(JSON.parse(restored.stdout)).toMatchObject({
      ok: true,
      plan: { counts: { missing: PINS } },
      result: { written: PINS, verified: PINS, problems: 0 },
    });
    const after = await box.pins();
    expect(after.size).toBe(PINS);
    for (const [cid, pin] of before) {
      expect(comparable(after.get(cid) ?? makePin("missing", ""))).toEqual(comparable(pin));
    }
  });

  test("are left alone by a second restore", async () => {
    const again = await box.run("restore", "--json");
    expect(JSON.parse(again.stdout)).toMatchObject({ ok: true, result: { written: 0, verified: PINS } });
  });
});

describe("a restore into a real cluster", () => {
  test("changes a pin that has other options with --overwrite alone", async () => {
    const [cid, pin] =
      [...before].find(([, { mode, replication_factor_min: min }]) => mode === "recursive" && min === 2) ?? [];
    if (cid === undefined || pin === undefined) throw new Error("no such pin");
    await box.pinset.put({ ...pin, name: "renamed", metadata: {} });
    const left = await box.run("restore");
    expect(left.exitCode).toBe(0);
    expect(left.stdout).toContain(`${cid}  renamed  differs in name, metadata`);
    expect((await box.pinset.pin(cid))?.name).toBe("renamed");
    const done = await box.run("restore", "--overwrite", "--yes");
    expect(done.exitCode).toBe(0);
    expect(comparable((await box.pinset.pin(cid)) ?? makePin("missing", ""))).toEqual(comparable(pin));
  });

  test("into a cluster with too few peers lists what they are too few for, restores the rest, and exits 1", async () => {
    await using small = await startCluster([{ name: "rebuilt" }, { name: "store", follower: true }]);
    const rebuilt = small.peer("rebuilt");
    await using rebuiltBox = makeClusterBox(rebuilt);
    await until("both of its peers can be given pins", async () => {
      try {
        await rebuiltBox.pinAll([["probe", makePin(rawCid("probe").toString(), "2026-01-01T00:00:00Z", TWICE)]]);
        return true;
      } catch (error) {
        if (isFulaError(error, "FULA_PIN_REFUSED")) return false;
        throw error;
      }
    });
    const wanted = [2, 3].flatMap((min) =>
      [...before.values()].filter((pin) => pin.replication_factor_min === min && pin.mode === "recursive").slice(0, 5),
    );
    const blocks = openKuboBlockStore(rebuilt.kubo.api);
    for (const number of Array.from({ length: PINS }).keys()) {
      const seed = `mass ${number}`;
      const cid = rawCid(seed);
      if (wanted.some((pin) => pin.cid === cid.toString())) await blocks.put(cid, rawBytes(seed));
    }
    const file = join(box.baseDir, "lost.txt");
    writeFileSync(file, wanted.map(({ cid }) => cid).join("\n"));
    const refused = await runCliForTest(["restore", "--only", file, "--wait", "1m", "--json"], {
      baseDir: box.baseDir,
      env: {
        FULA_MASTER_CLUSTER_API: rebuilt.api.replace("http://127.0.0.1:", "/ip4/127.0.0.1/tcp/"),
        FULA_MASTER_BLOCKS_KUBO_API: rebuilt.kubo.apiAddress,
      },
    });
    expect(refused.exitCode, refused.stderr).toBe(1);
    const report = JSON.parse(refused.stdout);
    expect(report).toMatchObject({ ok: false, result: { written: 5, verified: 5, problems: 5 } });
    const thrice = wanted.slice(5).map(({ cid }) => cid);
    expect(report.result.shown.map(({ cid }: { cid: string }) => cid)).toEqual(thrice.toSorted());
    expect(report.result.shown[0].detail).toContain("not enough peers to allocate");
  });

  test("refuses a tampered snapshot before it asks the cluster for anything", async () => {
    const file = String(JSON.parse((await box.run("snapshot", "list", "--json")).stdout).snapshots[0].file);
    const bytes = readFileSync(file);
    const master = cluster.peer("master");
    await master.process.kill();
    const tampered = Buffer.from(bytes);
    tampered.writeUInt8(tampered.readUInt8(40) ^ 1, 40);
    writeFileSync(file, tampered);
    const refused = await box.run("restore", file);
    expect(refused.exitCode).toBe(1);
    expect(refused.stderr).toContain("FULA_RESTORE_REFUSED");
    writeFileSync(file, bytes);
    const unreachable = await box.run("restore", file);
    expect(unreachable.exitCode).toBe(4);
    expect(unreachable.stderr).toContain("FULA_CLUSTER_UNREADABLE");
    expect((await box.run("snapshot")).exitCode).toBe(4);
  });
});
