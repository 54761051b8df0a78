import { mkdtemp, readdir, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setImmediate as nextTurn } from "node:timers/promises";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import type { Pin } from "../../../src/lib/cluster/pins.ts";
import type { Clock } from "../../../src/lib/kernel/clock.ts";
import { FulaError } from "../../../src/lib/kernel/errors.ts";
import { openJournal, readJournal } from "../../../src/lib/kernel/journal.ts";
import { inOrder } from "../../../src/lib/pinset/in-order.ts";
import { ProblemList } from "../../../src/lib/pinset/problem-list.ts";
import {
  executeRestore,
  planOf,
  type RestoreDeps,
  type RestoreOptions,
  type RestoreResult,
} from "../../../src/lib/pinset/restore.ts";
import { createMemoryCluster, type MemoryCluster } from "../../support/memory-cluster.ts";
import { collect, manyPins } from "../../support/pins.ts";

const NOW = Date.parse("2026-11-21T00:00:00Z");

let dir: string;
let sleptMs: number[];
beforeEach(async () => {
  dir = await mkdtemp(join(tmpdir(), "fula-restore-"));
  sleptMs = [];
});
afterEach(async () => {
  await rm(dir, { recursive: true, force: true });
});

/** Time that passes only when somebody sleeps. */
function steppedClock(onSleep: () => void = () => {}): Clock {
  let passedMs = 0;
  return {
    nowMs: () => NOW + passedMs,
    monotonicMs: () => passedMs,
    sleep: async (ms, signal) => {
      signal?.throwIfAborted();
      passedMs += ms;
      sleptMs.push(ms);
      onSleep();
    },
  };
}

function depsOf(cluster: MemoryCluster, wanted: readonly Pin[], more: Partial<RestoreDeps> = {}): RestoreDeps {
  return {
    cluster,
    sources: inOrder(cluster, dir),
    wanted: async function* () {
      yield* wanted;
    },
    clock: steppedClock(),
    signal: new AbortController().signal,
    ...more,
  };
}

const OPTIONS: RestoreOptions = {
  only: null,
  limit: null,
  overwrite: true,
  concurrency: 8,
  replMin: 1,
  waitMs: 0,
};

async function restore(deps: RestoreDeps, options: Partial<RestoreOptions> = {}): Promise<RestoreResult> {
  const all = { ...OPTIONS, ...options };
  await using journal = await openJournal(dir, "restore", deps.clock);
  const problems = (): ProblemList => new ProblemList(join(dir, "problems.ndjson"));
  return await executeRestore(deps, all, await planOf(deps, all), { journal, problems });
}

describe("a restore", () => {
  test("of a thousand lost pins brings every option of each back, field by field", async () => {
    const pins = manyPins(1000);
    const cluster = createMemoryCluster({ peers: ["a", "b"] });
    const result = await restore(depsOf(cluster, pins));
    expect(await collect(cluster.pins())).toEqual(pins);
    expect(result).toMatchObject({ written: 1000, verified: 1000 });
    expect(result.problems.total).toBe(0);
  });

  test("never touches pins that are as they should be, or that are not in the snapshot", async () => {
    const pins = manyPins(30);
    const [mine, ...rest] = pins;
    if (mine === undefined) throw new Error("pins");
    const cluster = createMemoryCluster({ pins, peers: ["a", "b"] });
    const result = await restore(depsOf(cluster, rest));
    expect(cluster.puts).toEqual([]);
    expect(cluster.records.get(mine.cid)).toBe(mine);
    expect(result.verified).toBe(29);
  });

  test("writes a pin as the snapshot has it where other options were set, unless told to keep them", async () => {
    const pins = manyPins(3);
    const changed = pins.map((pin) => ({ ...pin, name: "by hand", metadata: {} }));
    const kept = createMemoryCluster({ pins: changed, peers: ["a", "b"] });
    await restore(depsOf(kept, pins), { overwrite: false });
    expect(kept.puts).toEqual([]);
    const overwritten = createMemoryCluster({ pins: changed, peers: ["a", "b"] });
    await restore(depsOf(overwritten, pins));
    expect(await collect(overwritten.pins())).toEqual(pins);
  });

  test("works on a cluster that lists its pins in no order", async () => {
    const pins = manyPins(300);
    const shuffled = pins.toReversed().filter((_, number) => number % 3 > 0);
    const cluster = createMemoryCluster({ pins: shuffled, sorted: false, peers: ["a", "b"] });
    const result = await restore(depsOf(cluster, pins));
    expect(result).toMatchObject({ written: 100, verified: 300 });
    expect((await collect(cluster.pins())).toSorted((a, b) => (a.cid < b.cid ? -1 : 1))).toEqual(pins);
  });

  test("does not compare what the cluster sets by itself", async () => {
    const pins = manyPins(10);
    const moved = pins.map((pin) => ({ ...pin, allocations: ["elsewhere"] }));
    const free = createMemoryCluster({ pins: moved, assignedFields: ["allocations"], peers: ["a", "b"] });
    expect(await restore(depsOf(free, pins))).toMatchObject({ written: 0, verified: 10 });
    const bound = createMemoryCluster({ pins: moved, peers: ["a", "b"] });
    expect(await restore(depsOf(bound, pins))).toMatchObject({ written: 10 });
  });

  test("tries a put that failed for the moment again", async () => {
    const pins = manyPins(20);
    const cluster = createMemoryCluster({ peers: ["a", "b"] });
    const failed = new Set<string>();
    cluster.faults.onPut = ({ cid }) => {
      if (failed.has(cid)) return;
      failed.add(cid);
      throw new FulaError("FULA_PINSET_BUSY", "busy");
    };
    const result = await restore(depsOf(cluster, pins));
    expect(result.problems.total).toBe(0);
    expect(sleptMs).toHaveLength(20);
  });

  test("a pin that cannot be written is listed, and all others are restored", async () => {
    const pins = manyPins(50);
    const bad = pins[17];
    const cluster = createMemoryCluster({ peers: ["a", "b"] });
    cluster.faults.onPut = ({ cid }) => {
      if (cid === bad?.cid) throw new FulaError("FULA_PIN_INVALID", "refused by the cluster");
    };
    const result = await restore(depsOf(cluster, pins));
    expect(result).toMatchObject({ written: 49, verified: 49 });
    expect(result.problems.shown).toEqual([
      { cid: bad?.cid, name: bad?.name, problem: "missing", detail: "it is not pinned: refused by the cluster" },
    ]);
    const path = result.problems.path ?? "";
    expect((await readFile(path, "utf8")).trim().split("\n")).toHaveLength(1);
  });

  test("stops when put after put fails, with the reason", async () => {
    const pins = manyPins(500);
    const cluster = createMemoryCluster({ peers: ["a", "b"] });
    cluster.faults.onPut = () => {
      throw new FulaError("FULA_CLUSTER_UNREADABLE", "the cluster takes nothing");
    };
    await expect(restore(depsOf(cluster, pins))).rejects.toThrow("the cluster takes nothing");
    expect(cluster.puts).toEqual([]);
  });

  test("lists every pin that the cluster refuses with its reason, however many they are", async () => {
    const pins = manyPins(60);
    const cluster = createMemoryCluster({ peers: ["a", "b"] });
    cluster.faults.onPut = (pin) => {
      if (pin.replication_factor_min === 2) throw new FulaError("FULA_PIN_REFUSED", "not enough peers for it");
    };
    const result = await restore(depsOf(cluster, pins));
    const refused = pins.filter((pin) => pin.replication_factor_min === 2);
    expect(result).toMatchObject({ written: 60 - refused.length, verified: 60 - refused.length });
    expect(result.problems.total).toBe(refused.length);
    expect(result.problems.shown[0]).toMatchObject({
      cid: refused[0]?.cid,
      problem: "missing",
      detail: "it is not pinned: not enough peers for it",
    });
  });

  test("stops at once where the cluster may not be written", async () => {
    const cluster = createMemoryCluster();
    let puts = 0;
    cluster.faults.onPut = () => {
      puts += 1;
      throw new FulaError("FULA_CLUSTER_READ_ONLY", "it is a follower");
    };
    await expect(restore(depsOf(cluster, manyPins(500)))).rejects.toMatchObject({ code: "FULA_CLUSTER_READ_ONLY" });
    expect(puts).toBeLessThan(50);
  });

  test("compares with what the cluster makes of a record, so that a second run writes nothing", async () => {
    const pins = manyPins(20);
    const asStored = (pin: Pin): Pin => ({ ...pin, shard_size: 0, user_allocations: [] });
    const cluster = createMemoryCluster({ peers: ["a", "b"], asStored });
    expect(await restore(depsOf(cluster, pins))).toMatchObject({ written: 20, verified: 20 });
    expect(await restore(depsOf(cluster, pins))).toMatchObject({ written: 0, verified: 20 });
  });

  test("waits for peers that have not heard of a new pin yet, instead of calling it lost", async () => {
    const pins = manyPins(4);
    const late = pins[1]?.cid ?? "";
    const cluster = createMemoryCluster({ peers: ["a", "b"] });
    cluster.reported.set(late, "unpinned");
    const clock = steppedClock(() => {
      cluster.reported.delete(late);
    });
    expect(await restore(depsOf(cluster, pins, { clock }), { waitMs: 60_000 })).toMatchObject({ verified: 4 });
  });

  test("a bug in the adapter is not swallowed as a failed pin", async () => {
    const cluster = createMemoryCluster();
    cluster.faults.onPut = () => {
      throw new TypeError("undefined is not a function");
    };
    await expect(restore(depsOf(cluster, manyPins(3)))).rejects.toThrow(TypeError);
  });

  test("a put that reports success and does nothing is found out", async () => {
    const pins = manyPins(5);
    const cluster = createMemoryCluster({ peers: ["a", "b"] });
    const lying = { ...cluster, put: async () => {} };
    const result = await restore(depsOf(lying, pins));
    expect(result.problems.total).toBe(5);
    expect(result.verified).toBe(0);
  });

  test("a put that loses an option is found out, field by field", async () => {
    const pins = manyPins(5);
    const cluster = createMemoryCluster({ peers: ["a", "b"] });
    const careless: MemoryCluster = { ...cluster, put: async (pin) => cluster.put({ ...pin, metadata: {}, name: "" }) };
    const result = await restore(depsOf(careless, pins));
    expect(result.problems.shown.map(({ problem, detail }) => `${problem}: ${detail}`)).toEqual(
      pins.map(() => "differs: it is pinned with other values of name, metadata"),
    );
  });

  test("a pin whose content is nowhere is a problem, although its record is restored", async () => {
    const pins = manyPins(4);
    const cluster = createMemoryCluster({ peers: ["a", "b"] });
    const lost = pins[2];
    cluster.reported.set(lost?.cid ?? "", "unexpectedly_unpinned");
    const result = await restore(depsOf(cluster, pins));
    expect(result).toMatchObject({ written: 4, verified: 3 });
    expect(result.problems.shown).toMatchObject([{ cid: lost?.cid, problem: "not-held" }]);
    expect(cluster.recovered).toEqual([lost?.cid]);
  });

  test("asks a peer again that has forgotten the pin while it still removed what was unpinned before", async () => {
    const pins = manyPins(4);
    const forgotten = pins[1]?.cid ?? "";
    const cluster = createMemoryCluster({ peers: ["a", "b"] });
    cluster.reported.set(forgotten, "unexpectedly_unpinned");
    cluster.faults.onRecover = () => {
      if (cluster.recovered.length > 1) cluster.reported.delete(forgotten);
    };
    expect(await restore(depsOf(cluster, pins), { waitMs: 60_000 })).toMatchObject({ verified: 4 });
    expect(cluster.recovered).toEqual([forgotten, forgotten]);
  });

  test("waits for peers that are fetching, and no longer than told", async () => {
    const pins = manyPins(4);
    const slow = pins[1]?.cid ?? "";
    const cluster = createMemoryCluster({ peers: ["a", "b"] });
    cluster.reported.set(slow, "pinning");
    let looks = 0;
    const clock = steppedClock(() => {
      looks += 1;
      if (looks === 3) cluster.reported.delete(slow);
    });
    const patient = await restore(depsOf(cluster, pins, { clock }), { waitMs: 60_000 });
    expect(patient.problems.total).toBe(0);
    expect(sleptMs).toEqual([1_000, 2_000, 4_000]);

    cluster.reported.set(slow, "pinning");
    const impatient = await restore(depsOf(cluster, pins), { waitMs: 10_000 });
    expect(impatient.problems.shown).toMatchObject([{ cid: slow, problem: "pinning" }]);
  });

  test("of some CIDs looks at those alone, and lists one that is not in the snapshot", async () => {
    const pins = manyPins(20);
    const only = new Set([pins[3]?.cid ?? "", pins[11]?.cid ?? "", "bafy-not-there"]);
    const cluster = createMemoryCluster({ peers: ["a", "b"] });
    cluster.reported.set(pins[5]?.cid ?? "", "pin_error");
    const result = await restore(depsOf(cluster, pins), { only });
    expect(new Set(cluster.puts)).toEqual(new Set([pins[3]?.cid, pins[11]?.cid]));
    expect(cluster.puts).toHaveLength(2);
    expect(result.verified).toBe(2);
    expect(result.problems.shown).toMatchObject([{ cid: "bafy-not-there", problem: "not-in-snapshot" }]);
  });

  test("with a limit goes on where the last one ended", async () => {
    const pins = manyPins(10);
    const cluster = createMemoryCluster({ peers: ["a", "b"] });
    const written: number[] = [];
    for (let run = 0; run < 4; run += 1) {
      const result = await restore(depsOf(cluster, pins), { limit: 4 });
      expect(result.problems.total).toBe(0);
      written.push(result.written);
    }
    expect(written).toEqual([4, 4, 2, 0]);
    expect(await collect(cluster.pins())).toEqual(pins);
  });

  test("leaves out pins whose time is over, and says nothing bad about it", async () => {
    const pins = manyPins(6).map((pin, number) => (number === 2 ? { ...pin, expire_at: "2026-11-20T00:00:00Z" } : pin));
    const cluster = createMemoryCluster({ peers: ["a", "b"] });
    const result = await restore(depsOf(cluster, pins));
    expect(result).toMatchObject({ written: 5, verified: 5 });
    expect(result.problems.total).toBe(0);
  });

  test("that is stopped ends soon, and running it again finishes with no pin written twice", async () => {
    const pins = manyPins(200);
    const cluster = createMemoryCluster({ peers: ["a", "b"] });
    const stop = new AbortController();
    cluster.faults.onPut = () => {
      if (cluster.puts.length === 80) stop.abort(new Error("Ctrl-C"));
    };
    await expect(restore(depsOf(cluster, pins, { signal: stop.signal }))).rejects.toThrow("Ctrl-C");
    const before = cluster.puts.length;
    expect(before).toBeLessThan(120);
    cluster.faults.onPut = undefined;
    expect(await restore(depsOf(cluster, pins))).toMatchObject({ written: 200 - before, verified: 200 });
    expect(new Set(cluster.puts).size).toBe(cluster.puts.length);
  });

  test("never has more writes under way than it was told", async () => {
    let underWay = 0;
    let most = 0;
    const cluster = createMemoryCluster({ peers: ["a", "b"] });
    cluster.faults.onPut = async () => {
      underWay += 1;
      most = Math.max(most, underWay);
      await nextTurn();
      underWay -= 1;
    };
    await restore(depsOf(cluster, manyPins(100)), { concurrency: 5 });
    expect(most).toBe(5);
  });

  test("writes into its journal what it did", async () => {
    const cluster = createMemoryCluster({ peers: ["a", "b"] });
    await restore(depsOf(cluster, manyPins(3)));
    const name = (await readdir(dir)).find((each) => each.endsWith(".jsonl"));
    const events = (await collect(readJournal(join(dir, name ?? "")))).map(({ event }) => event);
    expect(events).toEqual(["written", "read-again"]);
  });
});
