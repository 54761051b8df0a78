import * as dagPb from "@ipld/dag-pb";
import { afterAll, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { GATEWAY_PIN_METADATA, PINNING_PIN_METADATA } from "../../../src/lib/cluster/pin-source.ts";
import { makePin, type PutOptions } from "../../../src/lib/cluster/pins.ts";
import { type Clock, systemClock } from "../../../src/lib/kernel/clock.ts";
import { FulaError } from "../../../src/lib/kernel/errors.ts";
import { claimJobs } from "../../../src/lib/pinning/queue/claim.ts";
import { enqueuePins, enqueueReplacement } from "../../../src/lib/pinning/queue/enqueue.ts";
import { readPinQueueFigures } from "../../../src/lib/pinning/queue/figures.ts";
import { keyRows, queueForgotten, queueUnwanted } from "../../../src/lib/pinning/queue/reconcile.ts";
import { settleJobs } from "../../../src/lib/pinning/queue/settle.ts";
import { startWorkers, type WorkerParts } from "../../../src/lib/pinning/queue/worker.ts";
import { withTransaction } from "../../../src/lib/postgres/transaction.ts";
import { ManualClock } from "../../support/manual-clock.ts";
import { MemoryBlocks } from "../../support/memory-blocks.ts";
import { createMemoryCluster, type MemoryCluster } from "../../support/memory-cluster.ts";
import { askForPin, jobCount, makeDue, pinRows, takePinBack, workerParts } from "../../support/pin-queue.ts";
import { cidOfBytes, rawBytes, rawCid } from "../../support/pins.ts";
import { freshDatabase, type TestDatabase } from "../../support/postgres.ts";
import { until } from "../../support/until.ts";

const TIME = "2026-11-20T03:00:00Z";
const ALICE = "a".repeat(64);
const BERT = "b".repeat(64);
const signal = new AbortController().signal;

let database: TestDatabase;
let pins: MemoryCluster;
let blocks: MemoryBlocks;

beforeAll(async () => {
  database = await freshDatabase();
});
afterAll(async () => {
  await database.drop();
});
beforeEach(async () => {
  await database.pool.query("truncate pins, pin_jobs, bucket_garbage");
  pins = createMemoryCluster();
  blocks = new MemoryBlocks();
});

/** A content of one block of 11 bytes or so. */
async function content(seed: string): Promise<string> {
  await blocks.put(rawCid(seed), rawBytes(seed));
  return rawCid(seed).toString();
}

function parts(more: Partial<WorkerParts> = {}): ReturnType<typeof workerParts> {
  return workerParts({ pool: database.pool, pins, blocks }, more);
}

/** Who sleeps on it sleeps until it is stopped: a worker that finds nothing due does not look a second time. */
const ONE_LOOK: Clock = {
  ...systemClock,
  sleep: async (_ms, stop) => {
    await systemClock.sleep(3_600_000, stop);
  },
};

/**
 * Lets workers at it until nothing is due any more. What they put back for later is not tried again, also where the machine is
 * so busy that its time comes before anybody has looked.
 */
async function work(more: Partial<WorkerParts> = {}): Promise<ReturnType<typeof workerParts>> {
  const given = parts({ clock: ONE_LOOK, ...more });
  const { rows: began } = await database.pool.query<{ at: string }>("select clock_timestamp()::text as at");
  await using _ = startWorkers(given);
  await until("nothing is due", async () => {
    const { rows } = await database.pool.query<{ due: boolean }>(
      `select exists (
         select from pin_jobs
          where dead_at is null
            and (claim is not null or due_at <= $1
                 or attempts = 0 and looks = 0 and due_at < queued_at + interval '1 second')) as due`,
      [began[0]?.at],
    );
    return rows[0]?.due === false;
  });
  return given;
}

async function garbage(): Promise<readonly string[]> {
  const { rows } = await database.pool.query<{ cid: string }>("select cid from bucket_garbage order by cid");
  return rows.map(({ cid }) => cid);
}

async function usageOf(userId: string): Promise<string> {
  const { rows } = await database.pool.query<{ bytes: string }>(
    "select bytes from user_usage u join user_credits a on a.id = u.account_id where a.user_id = $1",
    [userId],
  );
  return rows[0]?.bytes ?? "0";
}

const silent = (): FulaError => new FulaError("FULA_CLUSTER_UNREADABLE", "The cluster is silent.");

describe("a request", () => {
  test("is pinned, measured and told, and its job is gone", async () => {
    const cid = await content("one");
    await askForPin(database.pool, { id: "r-1", cid, userId: ALICE, name: "photos" });
    await work();
    expect(await pinRows(database.pool)).toEqual([{ requestid: "r-1", status: "pinned", size: "9", info: "{}" }]);
    expect(await jobCount(database.pool)).toBe(0);
    expect(pins.records.get(cid)).toMatchObject({ name: "photos", mode: "recursive", metadata: PINNING_PIN_METADATA });
    expect(await usageOf(ALICE)).toBe("9");
  });

  test("waits, and says for what, until as many peers hold it as the pin asks for", async () => {
    const cid = await content("one");
    pins = createMemoryCluster({ peers: ["a", "b"] });
    pins.reported.set(`${cid}@b`, "pinning");
    await askForPin(database.pool, { id: "r-1", cid });
    await work();
    expect(await pinRows(database.pool)).toEqual([
      { requestid: "r-1", status: "pinning", size: "0", info: '{"status_details":"1 of 2 peers hold it."}' },
    ]);
    pins.reported.clear();
    await makeDue(database.pool);
    await work();
    expect((await pinRows(database.pool))[0]?.status).toBe("pinned");
  });

  test("of a content that peers have not found is tried again by them, slower and slower", async () => {
    const cid = await content("one");
    pins.reported.set(cid, "pin_error");
    await askForPin(database.pool, { id: "r-1", cid });
    for (let look = 1; look <= 3; look += 1) {
      await work();
      await makeDue(database.pool);
    }
    expect(pins.recovered.length).toBeGreaterThanOrEqual(3);
    expect(await pinRows(database.pool)).toMatchObject([
      { status: "pinning", info: expect.stringContaining("Not all of its blocks were found") },
    ]);
    expect((await readPinQueueFigures(database.pool)).dead).toBe(0);
  });

  test("that nobody found within a week failed, and stays failed until an operator or its user tries again", async () => {
    const cid = await content("one");
    pins.reported.set(cid, "pin_error");
    await askForPin(database.pool, { id: "r-1", cid });
    await work();
    await database.pool.query(
      "update pin_jobs set due_at = clock_timestamp(), queued_at = queued_at - interval '8 days'",
    );
    await work();
    expect(await pinRows(database.pool)).toMatchObject([{ status: "failed" }]);
    expect(await readPinQueueFigures(database.pool)).toMatchObject({ waiting: 0, dead: 1 });
    // The peers are not to look for it for ever.
    expect(await garbage()).toEqual([cid]);
    await makeDue(database.pool);
    expect((await work()).settled).toEqual([]);
  });

  test("that one peer of several has found is not given up, however long the others take", async () => {
    const cid = await content("one");
    pins = createMemoryCluster({ peers: ["a", "b"] });
    pins.reported.set(`${cid}@b`, "pin_error");
    await askForPin(database.pool, { id: "r-1", cid });
    await database.pool.query("update pin_jobs set queued_at = queued_at - interval '80 days'");
    await work();
    expect(await pinRows(database.pool)).toMatchObject([{ status: "pinning" }]);
    expect(await readPinQueueFigures(database.pool)).toMatchObject({ waiting: 1, dead: 0 });
  });

  test("is pinned before its size is known, and billed from when it is", async () => {
    const cid = rawCid("elsewhere").toString();
    await askForPin(database.pool, { id: "r-1", cid, userId: BERT });
    await work();
    expect(await pinRows(database.pool)).toMatchObject([{ status: "pinned", size: "0" }]);
    expect(await readPinQueueFigures(database.pool)).toMatchObject({ waiting: 1, failing: 1 });
    await content("elsewhere");
    await makeDue(database.pool);
    await work();
    expect(await pinRows(database.pool)).toMatchObject([{ status: "pinned", size: "15" }]);
    expect(await usageOf(BERT)).toBe("15");
    expect(await jobCount(database.pool)).toBe(0);
  });

  test("outlives an outage of days: it is tried again after longer and longer, and never given up for it", async () => {
    const cid = await content("one");
    let isSilent = true;
    pins.faults.onPut = () => {
      if (isSilent) throw silent();
    };
    await askForPin(database.pool, { id: "r-1", cid });
    const pauses: number[] = [];
    for (let attempt = 1; attempt <= 16; attempt += 1) {
      await work();
      const { rows } = await database.pool.query<{ attempts: number; pause: number; last_error: string }>(
        "select attempts, extract(epoch from due_at - clock_timestamp())::float8 as pause, last_error from pin_jobs",
      );
      expect(rows).toMatchObject([{ attempts: attempt, last_error: "The cluster is silent." }]);
      pauses.push(rows[0]?.pause ?? 0);
      await database.pool.query(
        "update pin_jobs set due_at = clock_timestamp(), queued_at = queued_at - interval '1 day'",
      );
    }
    // The fleet's queue gave up when its pauses added up to 63.5 s.
    expect(pauses.reduce((sum, pause) => sum + pause)).toBeGreaterThan(3 * 3_600);
    expect(Math.max(...pauses)).toBeLessThan(1.2 * 3_600 + 1);
    expect(await pinRows(database.pool)).toMatchObject([{ status: "queued" }]);
    isSilent = false;
    await work();
    expect(await pinRows(database.pool)).toMatchObject([{ status: "pinned" }]);
  });
});

test("origins that the cluster cannot read keep nobody's content from being pinned", async () => {
  const cid = await content("one");
  pins.faults.onPut = ({ origins }) => {
    if (origins.length > 0) throw new FulaError("FULA_PIN_REFUSED", "it does not understand its origins");
  };
  const origins = ["/memory/7/p2p/12D3KooWPCBY2CbG2yyXNMs6fWcVdqKxRBtdvvFV5ayPtEKfoUzB"];
  await askForPin(database.pool, { id: "r-1", cid, origins });
  expect((await work()).settled).toEqual(["pinned"]);
  expect(pins.records.get(cid)?.origins).toEqual([]);
});

test("what the cluster cannot do now gives up no content, however old; what it takes of nobody does", async () => {
  const cid = await content("one");
  let status = 500;
  pins.faults.onPut = () => {
    throw new FulaError("FULA_PIN_REFUSED", "not enough peers to allocate CID", { details: { cid, status } });
  };
  await askForPin(database.pool, { id: "r-1", cid });
  await database.pool.query("update pin_jobs set queued_at = queued_at - interval '8 days'");
  expect((await work()).settled).toEqual(["later"]);
  expect(await pinRows(database.pool)).toMatchObject([{ status: "queued" }]);
  status = 400;
  await makeDue(database.pool);
  expect((await work()).settled).toEqual(["dead"]);
  expect(await pinRows(database.pool)).toMatchObject([{ status: "failed" }]);
});

describe("opposite wishes", () => {
  test("before anybody worked on them are one job, and nothing is pinned", async () => {
    const cid = await content("one");
    await askForPin(database.pool, { id: "r-1", cid });
    await takePinBack(database.pool, "r-1");
    expect(await jobCount(database.pool)).toBe(1);
    expect((await work()).settled).toEqual(["gone"]);
    expect(pins.puts).toEqual([]);
    expect(await jobCount(database.pool)).toBe(0);
  });

  test("that come while a worker works are worked on after it: what was taken back is handed to the collector", async () => {
    const cid = await content("one");
    await askForPin(database.pool, { id: "r-1", cid });
    let isFirst = true;
    pins.faults.onPut = async () => {
      if (!isFirst) return;
      isFirst = false;
      await takePinBack(database.pool, "r-1");
    };
    expect((await work()).settled.at(-1)).toBe("gone");
    expect(await pinRows(database.pool)).toMatchObject([{ status: "deleted" }]);
    expect(pins.records.get(cid)?.metadata).toEqual(GATEWAY_PIN_METADATA);
    expect(await garbage()).toEqual([cid]);
    expect(await jobCount(database.pool)).toBe(0);
  });

  test("a wish that comes while the last one is taken back is fulfilled", async () => {
    const cid = await content("one");
    await askForPin(database.pool, { id: "r-1", cid });
    await work();
    await takePinBack(database.pool, "r-1");
    let isFirst = true;
    pins.faults.onPut = async () => {
      if (!isFirst) return;
      isFirst = false;
      await askForPin(database.pool, { id: "r-2", cid, userId: BERT });
    };
    await work();
    expect(await pinRows(database.pool)).toMatchObject([{ status: "deleted" }, { requestid: "r-2", status: "pinned" }]);
    expect(pins.records.has(cid)).toBe(true);
  });
});

describe("one content", () => {
  test("of two users is one pin, each pays, and it goes when the last one leaves", async () => {
    const cid = await content("shared");
    const [before, bertBefore] = [BigInt(await usageOf(ALICE)), BigInt(await usageOf(BERT))];
    await askForPin(database.pool, { id: "r-1", cid, userId: ALICE });
    await askForPin(database.pool, { id: "r-2", cid, userId: BERT });
    await work();
    expect(pins.puts).toEqual([cid]);
    expect(BigInt(await usageOf(ALICE)) - before).toBe(12n);
    expect(BigInt(await usageOf(BERT)) - bertBefore).toBe(12n);
    await takePinBack(database.pool, "r-1");
    // Nobody pays for what he has deleted, whenever the work is done.
    expect(BigInt(await usageOf(ALICE))).toBe(before);
    await work();
    expect(await garbage()).toEqual([]);
    expect(pins.records.get(cid)?.metadata).toEqual(PINNING_PIN_METADATA);
    await takePinBack(database.pool, "r-2");
    await work();
    expect(await garbage()).toEqual([cid]);
  });

  test("written as CIDv0 and as CIDv1 is one pin", async () => {
    const bytes = dagPb.encode(dagPb.prepare({ Data: new Uint8Array([8, 1]) }));
    const v1 = cidOfBytes(bytes, dagPb.code);
    await blocks.put(v1, bytes);
    await askForPin(database.pool, { id: "r-1", cid: v1.toString() });
    await askForPin(database.pool, { id: "r-2", cid: v1.toV0().toString(), userId: BERT });
    await work();
    expect(pins.puts).toEqual([v1.toString()]);
    expect(await pinRows(database.pool)).toMatchObject([{ status: "pinned" }, { status: "pinned" }]);
  });

  test("that an operator has pinned stays his: with his name, and when no user wants it any more", async () => {
    const cid = await content("one");
    await pins.put(makePin(cid, TIME, { name: "mine", metadata: { why: "because" } }));
    await askForPin(database.pool, { id: "r-1", cid, name: "photos" });
    await work();
    expect(await pinRows(database.pool)).toMatchObject([{ status: "pinned" }]);
    await takePinBack(database.pool, "r-1");
    await work();
    expect(pins.records.get(cid)).toMatchObject({ name: "mine", metadata: { why: "because" } });
    expect(await garbage()).toEqual([]);
    expect(pins.puts).toHaveLength(1);
  });

  test("that the gateway has pinned stays the collector's, which is told, and put again: it may just be on its way out", async () => {
    const cid = await content("one");
    await pins.put(makePin(cid, TIME, { name: "object:b/k", metadata: GATEWAY_PIN_METADATA }));
    await askForPin(database.pool, { id: "r-1", cid, name: "photos" });
    let announced: readonly string[] = [];
    pins.faults.onPut = async () => {
      announced = await garbage();
    };
    await work();
    expect(announced).toEqual([cid]);
    expect(pins.records.get(cid)).toMatchObject({ name: "object:b/k", metadata: GATEWAY_PIN_METADATA });
    expect(await pinRows(database.pool)).toMatchObject([{ status: "pinned" }]);
  });

  test("that is pinned stays so for those who were told, though peers fail when somebody else asks for it", async () => {
    const cid = await content("one");
    await askForPin(database.pool, { id: "r-1", cid });
    await work();
    pins.reported.set(cid, "cluster_error");
    await askForPin(database.pool, { id: "r-2", cid, userId: BERT });
    await work();
    expect(await pinRows(database.pool)).toMatchObject([
      { requestid: "r-1", status: "pinned" },
      { requestid: "r-2", status: "pinning" },
    ]);
  });

  test("that takes the place of another one is pinned as an update of it, where the old pin is the pinning service's", async () => {
    const [from, to, other] = [await content("from"), await content("to"), await content("other")];
    const given: (PutOptions | undefined)[] = [];
    const put = pins.put.bind(pins);
    const noting = Object.assign(pins, {
      put: async (pin: Parameters<typeof put>[0], options?: PutOptions) => {
        given.push(options);
        await put(pin);
      },
    });
    await askForPin(database.pool, { id: "r-1", cid: from, name: "photos" });
    await work({ pins: noting });
    await askForPin(database.pool, { id: "r-2", cid: to, name: "photos" });
    await withTransaction(database.pool, async (client) => {
      await client.query("update pins set status = 'deleted' where requestid = 'r-1'");
      await enqueueReplacement(client, { from, to });
    });
    await work({ pins: noting });
    expect(given).toEqual([{}, { replaces: from }]);
    // The old one waited for that.
    await makeDue(database.pool);
    await work({ pins: noting });
    expect(await garbage()).toEqual([from]);
    // An update takes name, metadata and factors from the old pin: not from one that is not ours.
    given.length = 0;
    await put(makePin(from, TIME, { metadata: { why: "because" } }));
    await askForPin(database.pool, { id: "r-3", cid: other, name: "photos" });
    await withTransaction(database.pool, async (client) => await enqueueReplacement(client, { from, to: other }));
    await work({ pins: noting });
    expect(given).toEqual([{}]);
  });
});

describe("a worker", () => {
  test("that died leaves its jobs to others when its claim ends, and what it says later is not heard", async () => {
    const cid = await content("one");
    await askForPin(database.pool, { id: "r-1", cid });
    const [dead] = await claimJobs(database.pool, { claim: "dead", node: "m-2", limit: 8, claimMs: 60_000 });
    if (dead === undefined) throw new Error("nothing was claimed");
    expect(await claimJobs(database.pool, { claim: "early", node: "m-1", limit: 8, claimMs: 60_000 })).toEqual([]);
    await database.pool.query("update pin_jobs set claimed_until = clock_timestamp() - interval '1 second'");
    expect((await work()).settled).toEqual(["pinned"]);
    await settleJobs(database.pool, [{ job: dead, outcome: { kind: "dead", error: "late", details: "late" } }]);
    expect(await pinRows(database.pool)).toMatchObject([{ status: "pinned" }]);
    // Both may have worked on it: it is looked at once more.
    expect((await work()).settled).toEqual(["pinned"]);
    expect(await jobCount(database.pool)).toBe(0);
  });

  test("is not done with a job whose wishes changed: it is free for all at once", async () => {
    const cid = await content("one");
    await askForPin(database.pool, { id: "r-1", cid });
    const [job] = await claimJobs(database.pool, { claim: "c-1", node: "m-1", limit: 8, claimMs: 60_000 });
    if (job === undefined) throw new Error("nothing was claimed");
    await withTransaction(database.pool, async (client) => await enqueuePins(client, [cid]));
    await settleJobs(database.pool, [{ job, outcome: { kind: "pinned", sizeBytes: 9n } }]);
    expect(await pinRows(database.pool)).toMatchObject([{ status: "queued" }]);
    const again = await claimJobs(database.pool, { claim: "c-2", node: "m-1", limit: 8, claimMs: 60_000 });
    expect(again).toMatchObject([{ cid, revision: "2" }]);
  });

  test("writes down what a peer says went wrong, whatever it is: what else is done at the same time must not wait for it", async () => {
    const [bad, good] = [await content("bad"), await content("good")];
    await askForPin(database.pool, { id: "r-1", cid: bad });
    await askForPin(database.pool, { id: "r-2", cid: good });
    const jobs = await claimJobs(database.pool, { claim: "c-1", node: "m-1", limit: 2, claimMs: 60_000 });
    const dead = { kind: "dead", error: "no\0pe", details: "gone" } as const;
    await settleJobs(
      database.pool,
      jobs.map((job) => ({ job, outcome: job.cid === bad ? dead : { kind: "pinned", sizeBytes: 9n } })),
    );
    expect(await pinRows(database.pool)).toMatchObject([{ status: "failed" }, { status: "pinned" }]);
    const { rows } = await database.pool.query("select last_error from pin_jobs");
    expect(rows).toEqual([{ last_error: "no\uFFFDpe" }]);
  });

  test("with one content that takes for ever to measure does the others meanwhile", async () => {
    const [slow, quick] = [await content("slow"), await content("quick")];
    await askForPin(database.pool, { id: "r-1", cid: slow });
    const measuring = Promise.withResolvers<void>();
    const measured = Promise.withResolvers<bigint>();
    await using _ = startWorkers(
      parts({
        measure: async (cid) => {
          if (cid !== slow) return 5n;
          measuring.resolve();
          return await measured.promise;
        },
      }),
    );
    await measuring.promise;
    await askForPin(database.pool, { id: "r-2", cid: quick });
    await until("the other one is pinned", async () => (await pinRows(database.pool))[1]?.status === "pinned");
    expect((await pinRows(database.pool))[0]?.status).toBe("queued");
    measured.resolve(9n);
    await until("both are", async () => (await jobCount(database.pool)) === 0);
  });

  test("that is told to stop gives back what it has in hand", async () => {
    const cid = await content("one");
    await askForPin(database.pool, { id: "r-1", cid });
    const measuring = Promise.withResolvers<void>();
    const workers = startWorkers(
      parts({
        measure: async (_cid, stop) => {
          measuring.resolve();
          await new Promise((_resolve, reject) => {
            stop.addEventListener("abort", () => {
              reject(stop.reason);
            });
          });
          return 0n;
        },
      }),
    );
    await measuring.promise;
    await workers[Symbol.asyncDispose]();
    expect(await readPinQueueFigures(database.pool)).toMatchObject({ waiting: 1, claimed: 0 });
    expect((await work()).settled).toEqual(["pinned"]);
  });
});

test("workers are stopped though the pinset answers nothing, and what it says later changes nothing", async () => {
  const cid = await content("one");
  await askForPin(database.pool, { id: "r-1", cid });
  const asked = Promise.withResolvers<void>();
  const answered = Promise.withResolvers<void>();
  pins.faults.onPut = async () => {
    asked.resolve();
    await answered.promise;
  };
  const clock = new ManualClock();
  const workers = startWorkers(parts({ clock }));
  await asked.promise;
  const stopped = workers[Symbol.asyncDispose]();
  await clock.step(5_000);
  await stopped;
  answered.resolve();
  await until("the late one is given back", async () => {
    const { waiting, claimed } = await readPinQueueFigures(database.pool);
    return waiting === 1 && claimed === 0;
  });
  expect((await work()).settled).toEqual(["pinned"]);
});

describe("rows of other software", () => {
  test("are keyed without looking changed, queued when they are old enough, and pinned; what is no CID is left alone", async () => {
    const cid = await content("one");
    await database.pool.query(
      `insert into pins (requestid, user_id, cid, status, updated_at) values
        ('f-1', 'u', $1, 'queued', '2026-01-01'), ('f-2', 'u', 'no cid', 'queued', '2026-01-01'),
        ('f-3', 'u', $2, 'queued', now()), ('f-4', 'u', $2, 'deleted', '2026-01-01')`,
      [cid, rawCid("two").toString()],
    );
    expect(await keyRows(database.pool, signal)).toBe(3);
    expect(await keyRows(database.pool, signal)).toBe(0);
    const { rows } = await database.pool.query(
      "select cid_key, updated_at::date::text as changed from pins where requestid = 'f-1'",
    );
    expect(rows).toEqual([{ cid_key: cid, changed: "2026-01-01" }]);
    expect(await queueForgotten(database.pool, 60_000, signal)).toBe(1);
    await work();
    expect(await pinRows(database.pool)).toMatchObject([
      { requestid: "f-1", status: "pinned", size: "9" },
      { requestid: "f-2", status: "queued" },
      { requestid: "f-3", status: "queued" },
      { requestid: "f-4", status: "deleted" },
    ]);
  });

  test("that are pinned and of unknown size are measured; a size that is known stays as it is billed", async () => {
    const [cid, known] = [await content("one"), await content("known")];
    await database.pool.query(
      `insert into pins (requestid, user_id, cid, status, size, updated_at) values
        ('f-1', 'u', $1, 'pinned', null, '2026-01-01'), ('f-2', 'u', $2, 'pinned', 4711, '2026-01-01')`,
      [cid, known],
    );
    await keyRows(database.pool, signal);
    expect(await queueForgotten(database.pool, 60_000, signal)).toBe(1);
    await work();
    expect(await pinRows(database.pool)).toMatchObject([{ size: "9" }, { size: "4711" }]);
    expect(await queueForgotten(database.pool, 0, signal)).toBe(0);
  });

  test("of a content that was given up are queued all the same", async () => {
    const cid = await content("one");
    pins.reported.set(cid, "pin_error");
    await askForPin(database.pool, { id: "r-1", cid });
    await database.pool.query("update pin_jobs set queued_at = queued_at - interval '8 days'");
    await work();
    expect(await readPinQueueFigures(database.pool)).toMatchObject({ waiting: 0, dead: 1 });
    pins.reported.clear();
    await database.pool.query(
      "insert into pins (requestid, user_id, cid, status, updated_at) values ('s-1', 'u', $1, 'queued', '2026-01-01')",
      [cid],
    );
    await keyRows(database.pool, signal);
    expect(await queueForgotten(database.pool, 60_000, signal)).toBe(1);
    await work();
    expect(await pinRows(database.pool)).toMatchObject([{ status: "failed" }, { requestid: "s-1", status: "pinned" }]);
  });

  test("that were deleted behind the queue's back leave pins, which are found in the pinset", async () => {
    const [gone, wanted] = [await content("gone"), await content("wanted")];
    await askForPin(database.pool, { id: "r-1", cid: gone });
    await askForPin(database.pool, { id: "r-2", cid: wanted });
    await work();
    await pins.put(makePin(rawCid("operator").toString(), TIME));
    await database.pool.query("delete from pins where requestid = 'r-1'");
    expect(await queueUnwanted(database.pool, pins, signal)).toEqual({ seen: 2, unwanted: 1, queued: 1 });
    await work();
    expect(await garbage()).toEqual([gone]);
    expect(await queueUnwanted(database.pool, pins, signal)).toEqual({ seen: 1, unwanted: 0, queued: 0 });
  });

  test("that are missing for most of the pinset take nobody's pins away: it is the ledger that was lost", async () => {
    for (const id of ["r-1", "r-2", "r-3"]) await askForPin(database.pool, { id, cid: await content(id) });
    await work();
    await database.pool.query("delete from pins where requestid <> 'r-1'");
    expect(await queueUnwanted(database.pool, pins, signal)).toEqual({ seen: 3, unwanted: 2, queued: 0 });
    expect(await jobCount(database.pool)).toBe(0);
  });
});
