import { mkdtemp, readdir, readFile, rm, stat, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { makePin, type Pin } from "../../../src/lib/cluster/pins.ts";
import type { Clock } from "../../../src/lib/kernel/clock.ts";
import { type Alert, AlertLog } from "../../../src/lib/pinset/alert-log.ts";
import { inOrder } from "../../../src/lib/pinset/in-order.ts";
import { SweepMemory } from "../../../src/lib/pinset/sweep-memory.ts";
import { sweep, type SweepDeps, type SweepFigures, type SweepOptions } from "../../../src/lib/pinset/sweep.ts";
import { createMemoryCluster, type MemoryCluster } from "../../support/memory-cluster.ts";
import { manyPins, rawCid } from "../../support/pins.ts";

let dir: string;
let nowMs: number;
beforeEach(async () => {
  dir = await mkdtemp(join(tmpdir(), "fula-sweep-"));
  nowMs = Date.parse("2026-11-21T00:00:00Z");
});
afterEach(async () => {
  await rm(dir, { recursive: true, force: true });
});

const clock: Clock = { nowMs: () => nowMs, monotonicMs: () => nowMs, sleep: async () => {} };
const HOUR_MS = 3_600_000;
const OPTIONS: SweepOptions = {
  replMin: 1,
  graceMs: HOUR_MS,
  deep: false,
  repair: true,
  repairLedger: false,
  waitMs: 0,
  acceptEmpty: false,
  lastPins: null,
  forwardAlerts: false,
};

function plainPin(number: number): Pin {
  return makePin(rawCid(`plain ${number}`).toString(), "2026-01-01T00:00:00Z", { name: `pin-${number}` });
}

async function sweepOf(
  cluster: MemoryCluster,
  options: Partial<SweepOptions> = {},
  more: Partial<SweepDeps> = {},
): Promise<SweepFigures> {
  await using memory = await SweepMemory.open(join(dir, "sweep.sqlite"), clock);
  await using alertLog = new AlertLog(join(dir, "alerts.log"));
  const signal = new AbortController().signal;
  return await sweep(
    { cluster, sources: inOrder(cluster, dir), ledger: null, memory, alerts: alertLog, clock, signal, ...more },
    { ...OPTIONS, ...options },
  );
}

async function alerts(): Promise<readonly string[]> {
  const text = await readFile(join(dir, "alerts.log"), "utf8").catch(() => "");
  return text
    .split("\n")
    .filter((line) => line !== "")
    .map((line) => {
      // oxlint-disable-next-line typescript/no-unsafe-type-assertion -- it is the file that the code under test wrote
      const alert = JSON.parse(line) as Alert;
      const what = "verdict" in alert ? alert.verdict : alert.problem;
      return `${alert.event} ${alert.name} ${what ?? "-"}`;
    });
}

describe("a sweep", () => {
  test("of a well cluster is ok, and its figures add up", async () => {
    const cluster = createMemoryCluster({ pins: manyPins(200, plainPin) });
    expect(await sweepOf(cluster)).toMatchObject({
      outcome: "ok",
      pins: 200,
      statuses: 200,
      ok: 200,
      belowBefore: 0,
      belowAfter: 0,
      alertsRaised: 0,
      lastPins: 200,
    });
    expect(await alerts()).toEqual([]);
  });

  test("tells lost, under-replicated, on its way and expired apart, each by the pin's own factor", async () => {
    const [lost, under, pinning, fine, over] = [0, 1, 2, 3, 4].map((number) => plainPin(number));
    if (!lost || !under || !pinning || !fine || !over) throw new Error("pins");
    const pins = [
      lost,
      { ...under, replication_factor_min: 2, replication_factor_max: 3 },
      pinning,
      { ...fine, replication_factor_min: 1, replication_factor_max: 1 },
      { ...over, expire_at: "2026-11-20T00:00:00Z" },
    ];
    const cluster = createMemoryCluster({ pins, peers: ["a", "b"] });
    cluster.reported.set(lost.cid, "unexpectedly_unpinned");
    cluster.reported.set(`${under.cid}@b`, "pin_error");
    cluster.reported.set(`${pinning.cid}@b`, "pinning");
    cluster.reported.set(`${fine.cid}@b`, "pin_error");
    cluster.reported.set(over.cid, "unpinned");
    const figures = await sweepOf(cluster, { replMin: 2 });
    expect(figures).toMatchObject({ outcome: "below", pins: 5, ok: 1, under: 1, lost: 1, pinning: 1, expired: 1 });
    expect(figures).toMatchObject({ belowBefore: 2, belowAfter: 2 });
    expect(figures.worst.map(({ name, verdict }) => `${name} ${verdict}`).toSorted()).toEqual([
      "pin-0 lost",
      "pin-1 under",
    ]);
  });

  test("asks peers to recover and looks again: what is well then is no longer below", async () => {
    const pins = manyPins(10, plainPin);
    const cluster = createMemoryCluster({ pins });
    const [curable, incurable] = pins;
    if (!curable || !incurable) throw new Error("pins");
    cluster.reported.set(curable.cid, "pin_error");
    cluster.reported.set(incurable.cid, "pin_error");
    cluster.faults.onRecover = (cid) => {
      if (cid === curable.cid) cluster.reported.delete(cid);
    };
    const figures = await sweepOf(cluster);
    expect(cluster.recovered.toSorted()).toEqual([curable.cid, incurable.cid].toSorted());
    expect(figures).toMatchObject({ belowBefore: 2, belowAfter: 1, recovered: 1, ok: 9, lost: 1, alertsRaised: 1 });
    expect(await alerts()).toEqual([`under-replicated ${incurable.name} lost`]);
  });

  test("works on a cluster that lists in no order", async () => {
    const pins = manyPins(500, plainPin).toReversed();
    const cluster = createMemoryCluster({ pins, sorted: false });
    cluster.reported.set(pins[100]?.cid ?? "", "pin_error");
    expect(await sweepOf(cluster)).toMatchObject({ pins: 500, ok: 499, lost: 1 });
  });
});

describe("a pin on its way", () => {
  test("counts as below once the grace is over, and not before", async () => {
    const cluster = createMemoryCluster({ pins: [plainPin(1)] });
    cluster.reported.set(plainPin(1).cid, "pinning");
    expect(await sweepOf(cluster)).toMatchObject({ outcome: "ok", pinning: 1, belowAfter: 0 });
    nowMs += HOUR_MS;
    expect(await sweepOf(cluster)).toMatchObject({ outcome: "ok", belowAfter: 0 });
    nowMs += 1;
    expect(await sweepOf(cluster)).toMatchObject({ outcome: "below", pinning: 1, belowAfter: 1, alertsRaised: 1 });
  });

  test("has a new grace after it was well in between", async () => {
    const cluster = createMemoryCluster({ pins: [plainPin(1)] });
    const { cid } = plainPin(1);
    cluster.reported.set(cid, "pinning");
    await sweepOf(cluster);
    nowMs += 2 * HOUR_MS;
    cluster.reported.delete(cid);
    await sweepOf(cluster);
    cluster.reported.set(cid, "pinning");
    expect(await sweepOf(cluster)).toMatchObject({ outcome: "ok", belowAfter: 0 });
  });
});

describe("alerts", () => {
  test("come once a pin until it is well again, and its end is told", async () => {
    const cluster = createMemoryCluster({ pins: [plainPin(1), plainPin(2)] });
    cluster.reported.set(plainPin(1).cid, "pin_error");
    expect(await sweepOf(cluster)).toMatchObject({ alertsRaised: 1 });
    expect(await sweepOf(cluster)).toMatchObject({ alertsRaised: 0, belowAfter: 1 });
    cluster.reported.delete(plainPin(1).cid);
    expect(await sweepOf(cluster)).toMatchObject({ alertsCleared: 1, belowAfter: 0 });
    cluster.reported.set(plainPin(1).cid, "pin_error");
    expect(await sweepOf(cluster)).toMatchObject({ alertsRaised: 1 });
    expect(await alerts()).toEqual(["under-replicated pin-1 lost", "cleared pin-1 -", "under-replicated pin-1 lost"]);
  });

  test("come again when the last copy is gone, but not when one is back", async () => {
    const cluster = createMemoryCluster({ pins: [plainPin(1)], peers: ["a", "b"] });
    const { cid } = plainPin(1);
    cluster.reported.set(`${cid}@b`, "pin_error");
    await sweepOf(cluster);
    cluster.reported.set(`${cid}@a`, "pin_error");
    await sweepOf(cluster);
    cluster.reported.delete(`${cid}@a`);
    await sweepOf(cluster);
    expect(await alerts()).toEqual(["under-replicated pin-1 under", "under-replicated pin-1 lost"]);
  });

  test("end when the pin is removed or expires", async () => {
    const cluster = createMemoryCluster({ pins: [plainPin(1), plainPin(2), plainPin(3)] });
    cluster.reported.set(plainPin(1).cid, "pin_error");
    cluster.reported.set(plainPin(2).cid, "pin_error");
    await sweepOf(cluster);
    await cluster.remove(plainPin(1).cid);
    await cluster.put({ ...plainPin(2), expire_at: "2026-11-20T00:00:00Z" });
    expect(await sweepOf(cluster)).toMatchObject({ alertsCleared: 2, expired: 1, belowAfter: 0 });
  });

  test("of a run that could not read everything are neither raised nor cleared", async () => {
    const cluster = createMemoryCluster({ pins: manyPins(20, plainPin) });
    cluster.reported.set(plainPin(1).cid, "pin_error");
    await sweepOf(cluster);
    cluster.faults.statusesEndAfter = 1;
    await expect(sweepOf(cluster)).rejects.toMatchObject({ code: "FULA_CLUSTER_UNREADABLE" });
    cluster.faults.statusesEndAfter = undefined;
    await sweepOf(cluster);
    expect(await alerts()).toEqual(["under-replicated pin-1 lost"]);
  });

  test("keep their log bounded", async () => {
    const log = new AlertLog(join(dir, "alerts.log"), { bytesMax: 2_000, keep: 2 });
    const line: Alert = {
      at: "2026-11-21T00:00:00Z",
      event: "under-replicated",
      cid: "bafy",
      name: "x".repeat(300),
      verdict: "lost",
      pinned: 0,
      required: 1,
      reason: "",
      since: "2026-11-21T00:00:00Z",
    };
    for (let number = 0; number < 100; number += 1) {
      await log.append(line);
      await log.flush();
    }
    const names = (await readdir(dir)).toSorted();
    expect(names).toEqual(["alerts.log", "alerts.log.1", "alerts.log.2"]);
    for (const name of names) expect((await stat(join(dir, name))).size).toBeLessThan(3_000);
  });
});

describe("a source that cannot be read in full is never an all-clear", () => {
  const pins = manyPins(100, plainPin);
  const cases: readonly { readonly name: string; readonly break: (cluster: MemoryCluster) => void }[] = [
    {
      name: "the listing fails half-way",
      break: ({ faults }) => {
        faults.throwAfter = { entries: 50, error: new Error("socket hang up") };
      },
    },
    {
      name: "the listing fails at once",
      break: ({ faults }) => {
        faults.throwAfter = { entries: 0, error: new Error("connection refused") };
      },
    },
    {
      name: "the list of statuses ends early",
      break: ({ faults }) => {
        faults.statusesEndAfter = 50;
      },
    },
    {
      name: "the list of statuses is empty",
      break: ({ faults }) => {
        faults.statusesEndAfter = 0;
      },
    },
    {
      name: "the last status is missing",
      break: ({ faults }) => {
        faults.statusesEndAfter = 99;
      },
    },
    {
      name: "the list of pins ends early",
      break: ({ faults }) => {
        faults.pinsEndAfter = 50;
      },
    },
    {
      name: "both lists end early at the same place",
      break: ({ faults }) => {
        faults.pinsEndAfter = 50;
        faults.statusesEndAfter = 50;
      },
    },
    {
      name: "both lists are empty, and the pinset is not",
      break: ({ faults }) => {
        faults.pinsEndAfter = 0;
        faults.statusesEndAfter = 0;
      },
    },
  ];
  test.each(cases)("$name", async ({ break: breakIt }) => {
    const cluster = createMemoryCluster({ pins });
    breakIt(cluster);
    await expect(sweepOf(cluster)).rejects.toMatchObject({ code: "FULA_CLUSTER_UNREADABLE", kind: "unavailable" });
    expect(cluster.recovered).toEqual([]);
  });

  test("far too many pins without a status are a list that was cut off, not forgotten pins", async () => {
    const cluster = createMemoryCluster({ pins: manyPins(1_500, plainPin) });
    const forgetful: MemoryCluster = { ...cluster, status: async () => null };
    cluster.faults.statusesEndAfter = 100;
    await expect(sweepOf(forgetful)).rejects.toThrow("more than 1000 pins have no status at all");
  });

  test("a pin that no peer knows, even when asked alone, is lost", async () => {
    const cluster = createMemoryCluster({ pins: manyPins(10, plainPin) });
    const forgotten = plainPin(3).cid;
    const forgetful: MemoryCluster = {
      ...cluster,
      statuses: async function* (options) {
        for await (const status of cluster.statuses(options)) if (status.cid !== forgotten) yield status;
      },
      status: async (cid) => (cid === forgotten ? null : cluster.status(cid)),
    };
    expect(await sweepOf(forgetful)).toMatchObject({ outcome: "below", pins: 10, lost: 1, ok: 9 });
  });

  test("a status without a pin is counted, and one of a pin made meanwhile is not", async () => {
    const cluster = createMemoryCluster({ pins: manyPins(10, plainPin) });
    const strays: MemoryCluster = {
      ...cluster,
      statuses: async function* (options) {
        yield* cluster.statuses(options);
        yield { cid: "zzz-stray", name: "", peers: [{ peer: "peer-a", status: "pinned", error: "" }] };
      },
    };
    expect(await sweepOf(strays)).toMatchObject({ outcome: "problems", pins: 10, withoutPin: 1 });
    const late = { ...plainPin(99), cid: "zzz-late" };
    const growing: MemoryCluster = {
      ...cluster,
      statuses: async function* (options) {
        yield* cluster.statuses(options);
        cluster.records.set(late.cid, late);
        yield { cid: late.cid, name: "", peers: [{ peer: "peer-a", status: "pinned", error: "" }] };
      },
    };
    expect(await sweepOf(growing)).toMatchObject({ outcome: "ok", withoutPin: 0 });
  });

  test("a pin that is removed while it is swept is neither lost nor missed", async () => {
    const cluster = createMemoryCluster({ pins: manyPins(10, plainPin) });
    const [first] = manyPins(10, plainPin);
    const shrinking: MemoryCluster = {
      ...cluster,
      statuses: async function* (options) {
        cluster.records.delete(first?.cid ?? "");
        yield* cluster.statuses(options);
      },
    };
    expect(await sweepOf(shrinking)).toMatchObject({ outcome: "ok", pins: 9, ok: 9, lost: 0 });
  });
});

describe("an empty pinset", () => {
  test("is ok on a box that never had a pin", async () => {
    expect(await sweepOf(createMemoryCluster())).toMatchObject({ outcome: "ok", pins: 0 });
  });

  test("is refused where the last sweep found pins, unless it was meant", async () => {
    await expect(sweepOf(createMemoryCluster(), { lastPins: 7 })).rejects.toMatchObject({
      code: "FULA_SWEEP_EMPTIED",
      kind: "refused",
    });
    expect(await sweepOf(createMemoryCluster(), { lastPins: 7, acceptEmpty: true })).toMatchObject({ outcome: "ok" });
  });
});

describe("the findings", () => {
  test("of a file that cannot be read are begun anew, and the file is kept", async () => {
    await writeFile(join(dir, "sweep.sqlite"), "no database at all, not even nearly one");
    const cluster = createMemoryCluster({ pins: [plainPin(1)] });
    cluster.reported.set(plainPin(1).cid, "pin_error");
    expect(await sweepOf(cluster)).toMatchObject({ alertsRaised: 1 });
    expect((await readdir(dir)).some((name) => name.startsWith("sweep.sqlite.unreadable-"))).toBe(true);
  });
});
