import { copyFile, glob, mkdtemp, open, readFile, rm, stat, truncate, unlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { type LocalBlockStore, openLocalBlockStore } from "../../../src/lib/blocks/local.ts";
import { type LocalCluster, openLocalCluster } from "../../../src/lib/cluster/local.ts";
import { makePin } from "../../../src/lib/cluster/pins.ts";
import { systemClock } from "../../../src/lib/kernel/clock.ts";
import { describePinCluster } from "../../contract/pin-cluster.contract.ts";
import { collect, fullPin, manyPins, rawBytes, rawCid } from "../../support/pins.ts";
import { parseCid } from "../../../src/lib/blocks/cid.ts";

const CLUSTER_ID = "0b9a5f0e-0000-4000-8000-000000000001";

let dir: string;
let blocks: LocalBlockStore;
let dbFile: string;

beforeEach(async () => {
  dir = await mkdtemp(join(tmpdir(), "fula-pinset-"));
  blocks = await openLocalBlockStore(join(dir, "blocks"));
  dbFile = join(dir, "pins.sqlite");
});
afterEach(async () => {
  await rm(dir, { recursive: true, force: true });
});

async function openCluster(create = true, clusterId = CLUSTER_ID): Promise<LocalCluster> {
  return openLocalCluster({ dbFile, clusterId, peerId: "embedded-a", blocks, clock: systemClock, create });
}

async function fill(count: number): Promise<void> {
  await using cluster = await openCluster();
  await Promise.all(manyPins(count).map(async (pin) => cluster.put(pin)));
}

async function readAll(): Promise<unknown> {
  await using cluster = await openCluster();
  return collect(cluster.pins());
}

async function overwrite(path: string, at: number, bytes: Uint8Array): Promise<void> {
  const handle = await open(path, "r+");
  await handle.write(bytes, 0, bytes.length, at);
  await handle.close();
}

async function findBlockFile(): Promise<string> {
  for await (const name of glob("**/*.data", { cwd: blocks.dir })) return join(blocks.dir, name);
  throw new Error("no block file");
}

describePinCluster("the SQLite pinset", async () => {
  const cluster = await openCluster();
  return {
    cluster,
    provide: async (pins) => {
      for (const pin of pins) {
        for (let number = 0; number < 30; number += 1) {
          if (pin.cid === fullPin(number).cid) await blocks.put(parseCid(pin.cid), rawBytes(`full ${number}`));
        }
      }
    },
    lose: async (pin) => {
      await blocks.delete(parseCid(pin.cid));
    },
    close: async () => cluster.close(),
  };
});

describe("a pinset file", () => {
  test("is not made where only reading was wanted", async () => {
    await expect(openCluster(false)).rejects.toMatchObject({ code: "FULA_PINSET_MISSING" });
    await expect(stat(dbFile)).rejects.toThrow("ENOENT");
  });

  test("can be read and written by its owner alone", async () => {
    await fill(3);
    expect((await stat(dbFile)).mode & 0o777).toBe(0o600);
  });

  test("is made once, whoever races for it", async () => {
    const clusters = await Promise.all(Array.from({ length: 5 }, async () => openCluster()));
    await Promise.all(clusters.map(async (cluster, number) => cluster.put(fullPin(number))));
    expect(await clusters[0]?.count()).toBe(5);
    await Promise.all(clusters.map(async (cluster) => cluster.close()));
  });

  test("keeps its pins over a reopen, in WAL mode with full fsync", async () => {
    await fill(10);
    await using cluster = await openCluster(false);
    expect(await collect(cluster.pins())).toEqual(manyPins(10));
    const db = new DatabaseSync(dbFile);
    expect(db.prepare("pragma journal_mode").get()).toMatchObject({ journal_mode: "wal" });
    db.close();
  });

  test("of another cluster is refused", async () => {
    await fill(1);
    await expect(openCluster(true, "another")).rejects.toMatchObject({ code: "FULA_PINSET_FOREIGN" });
  });

  test("of a newer version is refused and left as it is", async () => {
    await fill(1);
    const db = new DatabaseSync(dbFile);
    db.exec("pragma user_version = 2");
    db.close();
    const before = await readFile(dbFile);
    await expect(openCluster()).rejects.toMatchObject({ code: "FULA_PINSET_NEWER" });
    expect(await readFile(dbFile)).toEqual(before);
  });

  test("of another program is refused", async () => {
    const db = new DatabaseSync(dbFile);
    db.exec("create table t (a text); pragma user_version = 1; pragma application_id = 7");
    db.close();
    await expect(openCluster()).rejects.toMatchObject({ code: "FULA_PINSET_NEWER" });
  });

  test("that vanishes under an open cluster is missed, not made anew", async () => {
    await fill(2);
    await using cluster = await openCluster(false);
    await unlink(dbFile);
    await expect(cluster.put(fullPin(9))).rejects.toMatchObject({ code: "FULA_PINSET_MISSING" });
    await expect(collect(cluster.pins())).rejects.toMatchObject({ code: "FULA_PINSET_MISSING" });
    await expect(collect(cluster.statuses())).rejects.toMatchObject({ code: "FULA_PINSET_MISSING" });
    await expect(stat(dbFile)).rejects.toThrow("ENOENT");
  });

  test("that is replaced under an open cluster takes no write that would be lost", async () => {
    await fill(2);
    await using cluster = await openCluster(false);
    await copyFile(dbFile, join(dir, "copy"));
    await unlink(dbFile);
    await copyFile(join(dir, "copy"), dbFile);
    await expect(cluster.put(fullPin(9))).rejects.toThrow("was replaced while this process had it open");
  });

  test("a log that a lost file left behind does not get into a new one", async () => {
    await fill(2);
    await unlink(dbFile);
    await writeFile(`${dbFile}-wal`, "left over");
    await using cluster = await openCluster();
    expect(await cluster.count()).toBe(0);
  });
});

describe("a damaged pinset file is never an empty pinset", () => {
  const damage: Record<string, (path: string) => Promise<void>> = {
    "cut to nothing": async (path) => truncate(path, 0),
    "cut in the middle": async (path) => truncate(path, 4096 * 3),
    "cut inside a page": async (path) => truncate(path, 4096 * 3 + 100),
    "other bytes altogether": async (path) => writeFile(path, "this was a pinset once\n".repeat(500)),
    "no header": async (path) => overwrite(path, 0, Buffer.alloc(16)),
    "a page of nonsense": async (path) => overwrite(path, 4096 * 6, Buffer.alloc(4096, 0xff)),
  };
  for (const [name, apply] of Object.entries(damage)) {
    test(name, async () => {
      await fill(300);
      await apply(dbFile);
      const before = await readFile(dbFile);
      await expect(readAll()).rejects.toMatchObject({ code: "FULA_PINSET_CORRUPT" });
      expect(await readFile(dbFile)).toEqual(before);
    });
  }

  test("one flipped bit in a record is found, in the listing, in the statuses and alone", async () => {
    await fill(5);
    const bytes = await readFile(dbFile);
    const [victim] = manyPins(5);
    const at = bytes.indexOf('"bucket"', bytes.indexOf(victim?.cid ?? ""));
    await overwrite(dbFile, at + 1, Buffer.from("B"));
    await using cluster = await openCluster(false);
    await expect(collect(cluster.pins())).rejects.toMatchObject({ code: "FULA_PINSET_CORRUPT" });
    await expect(collect(cluster.statuses())).rejects.toMatchObject({ code: "FULA_PINSET_CORRUPT" });
    await expect(cluster.pin(victim?.cid ?? "")).rejects.toMatchObject({ code: "FULA_PINSET_CORRUPT" });
  });
});

describe("a listing of the SQLite pinset", () => {
  test("is the pinset of one moment, whoever writes meanwhile", async () => {
    await fill(600);
    await using reader = await openCluster(false);
    await using writer = await openCluster(false);
    const seen: string[] = [];
    for await (const pin of reader.pins()) {
      if (seen.length === 10) {
        await writer.remove(manyPins(600)[500]?.cid ?? "");
        await writer.put(makePin(rawCid("added").toString(), "2026-01-01T00:00:00Z"));
      }
      seen.push(pin.cid);
    }
    expect(seen).toEqual(manyPins(600).map((pin) => pin.cid));
    expect(await reader.count()).toBe(600);
  });

  test("that is left early frees the file for a writer", async () => {
    await fill(20);
    await using cluster = await openCluster(false);
    for await (const pin of cluster.pins()) {
      expect(pin).toBeDefined();
      break;
    }
    await expect(cluster.put(fullPin(50))).resolves.toBeUndefined();
  });
});

describe("put", () => {
  test("refuses a record with a wrong or unknown field and names it", async () => {
    await using cluster = await openCluster();
    const wrong = { ...fullPin(1), replication_factor_min: 1.5 };
    await expect(cluster.put(wrong)).rejects.toThrow("replication_factor_min");
    const unknown = { ...fullPin(1), surprise: true };
    await expect(cluster.put(unknown)).rejects.toMatchObject({ code: "FULA_PIN_INVALID" });
    expect(await cluster.count()).toBe(0);
  });

  test("refuses what is no CID", async () => {
    await using cluster = await openCluster();
    await expect(cluster.put({ ...fullPin(1), cid: "not-a-cid" })).rejects.toMatchObject({ code: "FULA_CID_INVALID" });
  });

  test("waits for another process that has the file locked, and says so when it takes too long", async () => {
    let sleeps = 0;
    const other = { release: () => {} };
    const clock = {
      ...systemClock,
      sleep: async () => {
        sleeps += 1;
        if (sleeps === 3) other.release();
      },
    };
    await fill(1);
    await using cluster = await openLocalCluster({ dbFile, clusterId: CLUSTER_ID, peerId: "a", blocks, clock });
    const db = new DatabaseSync(dbFile);
    db.exec("begin immediate");
    other.release = () => db.exec("commit");
    await cluster.put(fullPin(8));
    expect(await cluster.count()).toBe(2);
    other.release = () => {};
    db.exec("begin immediate");
    await expect(cluster.put(fullPin(9))).rejects.toMatchObject({ code: "FULA_PINSET_BUSY" });
    db.exec("rollback");
    db.close();
    await cluster.put(fullPin(9));
    expect(await cluster.count()).toBe(3);
  });
});

describe("status", () => {
  test("tells how many blocks are missing and names one", async () => {
    await using cluster = await openCluster();
    await cluster.put(fullPin(1));
    const status = await cluster.status(fullPin(1).cid);
    expect(status?.peers).toEqual([
      {
        peer: "embedded-a",
        status: "unexpectedly_unpinned",
        error: `1 of 1 blocks not here, such as ${fullPin(1).cid}`,
      },
    ]);
  });

  test("looked at closely, finds bytes that rotted; a shallow look does not", async () => {
    await using cluster = await openCluster();
    const cid = rawCid("rot");
    await blocks.put(cid, rawBytes("rot"));
    await cluster.put(makePin(cid.toString(), "2026-01-01T00:00:00Z"));
    await writeFile(await findBlockFile(), "rotten");
    expect((await cluster.status(cid.toString()))?.peers[0]?.status).toBe("pinned");
    const deep = await cluster.status(cid.toString(), { deep: true });
    expect(deep?.peers[0]?.status).toBe("pin_error");
  });
});
