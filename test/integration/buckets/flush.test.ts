import { afterAll, beforeAll, beforeEach, describe, expect, test } from "vitest";
import type { Mutation, MutationOutcome, WriteCondition } from "../../../src/lib/buckets/buckets.ts";
import type { OwnBuckets } from "../../../src/lib/buckets/create-buckets.ts";
import { PostgresRoots } from "../../../src/lib/buckets/roots/postgres-roots.ts";
import { PostgresTurns } from "../../../src/lib/buckets/turns.ts";
import type { ObjectEntry } from "../../../src/lib/buckets/tree/object-entry.ts";
import { logBlockCidOf } from "../../../src/lib/buckets/tree/log-block.ts";
import { walkIndex } from "../../../src/lib/buckets/walk.ts";
import { createCid, RAW_CODEC } from "../../../src/lib/blocks/cid.ts";
import type { Pin } from "../../../src/lib/cluster/pins.ts";
import { systemClock } from "../../../src/lib/kernel/clock.ts";
import { isFulaError } from "../../../src/lib/kernel/errors.ts";
import { systemRandom } from "../../../src/lib/kernel/random.ts";
import { createPool, type Pool } from "../../../src/lib/postgres/pool.ts";
import { bucketNamed } from "../../support/bucket-moves.ts";
import { testBuckets, type TestBucketsOptions } from "../../support/buckets.ts";
import { FaultProxy, type Verdict } from "../../support/fault-proxy.ts";
import { MemoryBlocks } from "../../support/memory-blocks.ts";
import { createMemoryCluster, type MemoryCluster } from "../../support/memory-cluster.ts";
import { freshDatabase, type TestDatabase, testPostgres } from "../../support/postgres.ts";
import { until } from "../../support/until.ts";

const NAME = bucketNamed("photos");
const OWNER = { ownerId: NAME.ownerId, userId: "user" };
const IF_ABSENT: WriteCondition = { ifMatch: null, ifNoneMatch: "*" };

let database: TestDatabase;
let pools: readonly [Pool, Pool];
let blocks: MemoryBlocks;
let pins: MemoryCluster;
let gateways: readonly [OwnBuckets, OwnBuckets];
let conflicts = 0;

function gateway(pool: Pool, node: string, more: Partial<TestBucketsOptions> = {}): OwnBuckets {
  const roots = new PostgresRoots({ pool, node, clock: systemClock, random: systemRandom, settleMs: 2_000 });
  const events = {
    flushed: () => {},
    compacted: () => {},
    conflicted: () => {
      conflicts += 1;
    },
  };
  return testBuckets({ roots, turns: new PostgresTurns(pool), blocks, pins, random: systemRandom, events, ...more });
}

async function entryOf(text: string): Promise<ObjectEntry> {
  const bytes = Buffer.from(text);
  const content = createCid(RAW_CODEC, bytes);
  await blocks.put(content, bytes);
  const none = { headers: {}, metadata: {}, checksums: {}, tags: {}, partSizes: [] };
  return { content, sizeBytes: bytes.byteLength, modifiedMs: 1_000, etag: null, ...none };
}

async function putOf(key: string, text: string, condition: WriteCondition | null = null): Promise<Mutation> {
  return { key, change: { kind: "put", entry: await entryOf(text) }, condition };
}

async function put(
  at: OwnBuckets,
  key: string,
  text: string,
  condition: WriteCondition | null = null,
): Promise<MutationOutcome["kind"] | "no-bucket"> {
  const outcomes = await at.write(NAME, [await putOf(key, text, condition)]);
  return outcomes?.[0]?.kind ?? "no-bucket";
}

async function contents(at: OwnBuckets): Promise<ReadonlyMap<string, string>> {
  const opened = await at.open(NAME);
  const found = new Map<string, string>();
  if (opened === null) return found;
  let bytes = 0n;
  for await (const { key, ref } of opened.index.scan()) {
    const { content } = await opened.index.readEntry(key, ref);
    found.set(key, Buffer.from(await blocks.get(content)).toString());
    bytes += BigInt(ref.sizeBytes);
  }
  expect(opened.state).toMatchObject({ objectCount: BigInt(found.size), totalBytes: bytes });
  return found;
}

beforeAll(async () => {
  database = await freshDatabase();
  await database.pool.query("update bucket_mode set mode = 'cas'");
  pools = [createPool(database.options), createPool(database.options)];
});
afterAll(async () => {
  await Promise.all(pools.map(async (pool) => await pool.end()));
  await database.drop();
});
beforeEach(async () => {
  await database.pool.query("truncate bucket_roots, bucket_commits, bucket_garbage, bucket_turns");
  blocks = new MemoryBlocks();
  pins = createMemoryCluster();
  gateways = [gateway(pools[0], "a"), gateway(pools[1], "b")];
  conflicts = 0;
  await gateways[0].create(OWNER, NAME.bucket);
});

describe("two gateways", () => {
  test("that write different keys of one bucket at the same time lose none", async () => {
    let written = 0;
    const haveMet = (): boolean => conflicts > 0;
    const writer = async (at: OwnBuckets, id: string): Promise<void> => {
      // A gateway may be through before the other one has begun: they go on until they have met.
      for (let round = 0; round < 5 || !haveMet(); round += 1) {
        expect(await put(at, `${id}/${round}`, `${id} ${round}`)).toBe("done");
        written += 1;
      }
    };
    await Promise.all(
      gateways.flatMap((at, gate) => Array.from({ length: 16 }, async (_, id) => await writer(at, `${gate}-${id}`))),
    );
    expect(written).toBeGreaterThanOrEqual(160);
    for (const at of gateways) expect((await contents(at)).size).toBe(written);
  });

  test("let exactly one of 32 conditional PUTs win, whichever gateway it came to", async () => {
    for (let round = 0; round < 8; round += 1) {
      const outcomes = await Promise.all(
        Array.from({ length: 32 }, async (_, id) => {
          const at = id % 2 === 0 ? gateways[0] : gateways[1];
          return await put(at, `key ${round}`, `round ${round} writer ${id}`, IF_ABSENT);
        }),
      );
      expect(outcomes.filter((kind) => kind === "done")).toHaveLength(1);
      expect(outcomes.filter((kind) => kind === "condition-failed")).toHaveLength(31);
    }
  });
});

async function queued(): Promise<ReadonlySet<string>> {
  const { rows } = await database.pool.query<{ cid: string }>("select cid from bucket_garbage");
  return new Set(rows.map(({ cid }) => cid));
}

/** Every CID that a walk from the current root meets. */
async function reachable(): Promise<ReadonlySet<string>> {
  const opened = await gateways[0].open(NAME);
  if (opened === null) throw new Error("the bucket is gone");
  const found = new Set<string>();
  const signal = new AbortController().signal;
  for await (const block of walkIndex(opened.state.root, { reader: blocks, visited: null }, signal)) {
    if (block.kind !== "key") found.add(block.cid.toString());
    else {
      found.add(block.ref.content.toString());
      found.add(logBlockCidOf(block.ref.entry).toString());
    }
  }
  return found;
}

describe("before the root moves", () => {
  test("everything that it will reach is pinned, and off the collector's queue once it has moved", async () => {
    for (let round = 0; round < 8; round += 1) {
      await Promise.all(["a", "b", "c"].map(async (key) => await put(gateways[0], key, `${key} ${round}`)));
      if (round === 4) await gateways[0].compact(NAME, new AbortController().signal);
      const needed = await reachable();
      expect([...needed].filter((cid) => !pins.records.has(cid))).toEqual([]);
      const waiting = await queued();
      expect([...needed].filter((cid) => waiting.has(cid))).toEqual([]);
    }
  });

  test("a pin that is refused leaves the bucket as it was, and what was pinned already to the collector", async () => {
    await put(gateways[0], "a", "before");
    for (const kind of ["object:", "index-node:"]) {
      pins.faults.onPut = (pin) => {
        if (pin.name.startsWith(kind)) throw new Error("the pinset says no");
      };
      const had = new Set(pins.records.keys());
      await expect(put(gateways[0], "a", `after ${kind}`)).rejects.toThrow("the pinset says no");
      pins.faults.onPut = undefined;
      expect(await contents(gateways[1])).toEqual(new Map([["a", "before"]]));
      const waiting = await queued();
      const left = [...pins.records.keys()].filter((cid) => !had.has(cid));
      expect(left.filter((cid) => !waiting.has(cid))).toEqual([]);
    }
  });

  test("whatever step a crash comes at, what was pinned for nothing stands on the collector's queue", async () => {
    await put(gateways[0], "a", "before");
    const had = new Set(pins.records.keys());
    // From here on nothing of the flush happens any more, as after kill -9: at each of its pins, and at its move.
    for (let step = 0; step < 3; step += 1) {
      let pinsLeft = step;
      pins.faults.onPut = async () => {
        pinsLeft -= 1;
        if (pinsLeft < 0) await new Promise(() => {});
      };
      void put(gateway(pools[1], "killed"), "a", `killed at ${step}`);
      await until(
        "the flush stands still",
        async () => pinsLeft < 0 || (step === 2 && (await contents(gateways[0])).get("a") !== "before"),
      );
      pins.faults.onPut = undefined;
      const waiting = await queued();
      const needed = await reachable();
      const unknown = [...pins.records.keys()].filter((cid) => !had.has(cid) && !needed.has(cid) && !waiting.has(cid));
      expect(unknown).toEqual([]);
    }
  });
});

describe("a flush", () => {
  test("fails for the writer alone whose entry cannot be written down", async () => {
    const large = { ...(await entryOf("large")), metadata: { note: "x".repeat(100_000) } };
    const outcomes = await Promise.allSettled([
      put(gateways[0], "a", "1"),
      put(gateways[0], "b", "2"),
      gateways[0].write(NAME, [{ key: "c", change: { kind: "put", entry: large }, condition: null }]),
      put(gateways[0], "d", "4"),
    ]);
    expect(outcomes.map(({ status }) => status)).toEqual(["fulfilled", "fulfilled", "rejected", "fulfilled"]);
    expect([...(await contents(gateways[1])).keys()]).toEqual(["a", "b", "d"]);
  });

  test("fails for the writer alone whose content has lost a block", async () => {
    const lost = await putOf("lost", "lost");
    if (lost.change.kind === "put") await blocks.delete(lost.change.entry.content);
    const outcomes = await Promise.allSettled([put(gateways[0], "a", "1"), gateways[0].write(NAME, [lost])]);
    expect(outcomes[0].status).toBe("fulfilled");
    expect(outcomes[1]).toMatchObject({ status: "rejected", reason: { code: "FULA_BLOCK_MISSING" } });
  });

  test("whose race is lost in every try changes nothing and says so", async () => {
    const rival = gateways[1];
    let rounds = 0;
    let waitedMs = 0;
    // Somebody else moves the root between each look and each move.
    const unlucky = gateway(pools[0], "unlucky", {
      turns: { isTaken: async () => false, take: async () => false, give: async () => {} },
      pins: {
        ...pins,
        put: async (pin) => {
          await pins.put(pin);
          if (pin.name.startsWith("index-node:")) await put(rival, `rival ${(rounds += 1)}`, `${rounds}`);
        },
      },
      casAttempts: 3,
      clock: {
        ...systemClock,
        monotonicMs: () => waitedMs,
        sleep: async (ms) => {
          waitedMs += ms;
        },
      },
    });
    await expect(put(unlucky, "mine", "mine")).rejects.toMatchObject({ code: "FULA_CAS_EXHAUSTED" });
    expect(rounds).toBe(3);
    expect((await contents(rival)).has("mine")).toBe(false);
  });

  test("that finds its bucket deleted and made anew meanwhile writes into the new one", async () => {
    const [one, two] = gateways;
    let isFirst = true;
    pins.faults.onPut = async (pin) => {
      if (!pin.name.startsWith("index-node:") || !isFirst) return;
      isFirst = false;
      expect(await two.remove(NAME)).toBe("deleted");
      expect(await two.create(OWNER, NAME.bucket)).toBe("created");
    };
    expect(await put(one, "a", "1")).toBe("done");
    expect(await contents(two)).toEqual(new Map([["a", "1"]]));
    expect((await two.open(NAME))?.state.version).toBe(4n);
  });

  test("and a deletion of the bucket never both succeed", async () => {
    for (let round = 0; round < 15; round += 1) {
      const [written, removed] = await Promise.all([put(gateways[0], "a", `${round}`), gateways[1].remove(NAME)]);
      const is = removed === "deleted" ? "no-bucket" : "done";
      // A write that came first is deleted by nobody; one that came second finds no bucket.
      expect(written).toBe(is);
      if (removed === "deleted") await gateways[1].create(OWNER, NAME.bucket);
      else await gateways[0].write(NAME, [{ key: "a", change: { kind: "delete" }, condition: null }]);
    }
  });

  test("whose answer is lost tells what became of it, and what it tells is so", async () => {
    const { host, port } = testPostgres();
    for (const planned of ["cut before", "cut within", "cut after", "reset"] as const) {
      let fate: Verdict = "pass";
      let isStruck = false;
      await using proxy = new FaultProxy(host, port, ({ type }) => {
        const verdict = type === "B" ? fate : "pass";
        if (type === "B") fate = "pass";
        return verdict;
      });
      const pool = createPool({ ...database.options, host: "127.0.0.1", port: await proxy.listen() });
      const pinsThere = {
        ...pins,
        put: async (pin: Pin) => {
          await pins.put(pin);
          if (!pin.name.startsWith("index-node:") || isStruck) return;
          isStruck = true;
          fate = planned;
        },
      };
      const cut = gateway(pool, "cut", { pins: pinsThere });
      const key = `cut ${planned}`;
      const outcome = await put(cut, key, key).catch((error: unknown) => (isFulaError(error) ? error.code : "bug"));
      const isThere = (await contents(gateways[0])).has(key);
      expect(isStruck).toBe(true);
      if (outcome === "done") expect([planned, isThere]).toEqual([planned, true]);
      else if (outcome !== "FULA_COMMIT_UNKNOWN")
        expect([planned, outcome, isThere]).toEqual([planned, "FULA_DATABASE_UNREACHABLE", false]);
      await pool.end();
    }
  });
});

test("writers go on while a compaction hangs, and it is adopted under what they wrote", async () => {
  const [at] = gateways;
  for (let number = 0; number < 5; number += 1) await put(at, `before ${number}`, `${number}`);
  const hanging = Promise.withResolvers<void>();
  const goOn = Promise.withResolvers<void>();
  let isFirst = true;
  pins.faults.onPut = async () => {
    if (!isFirst) return;
    isFirst = false;
    hanging.resolve();
    await goOn.promise;
  };
  const compaction = at.compact(NAME, new AbortController().signal);
  await hanging.promise;
  expect(await put(at, "before 1", "changed")).toBe("done");
  expect(await put(gateways[1], "meanwhile", "new")).toBe("done");
  goOn.resolve();
  expect(await compaction).toBe("adopted");
  const found = await contents(gateways[1]);
  expect(found.size).toBe(6);
  expect(found.get("before 1")).toBe("changed");
  expect((await gateways[1].open(NAME))?.index.logChanges).toBe(2);
});
