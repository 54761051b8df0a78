import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { beforeEach, describe, expect, test } from "vitest";
import { PINNING_PIN_METADATA } from "../../../src/lib/cluster/pin-source.ts";
import { makePin, type Pin } from "../../../src/lib/cluster/pins.ts";
import { FulaError } from "../../../src/lib/kernel/errors.ts";
import type { Clock } from "../../../src/lib/kernel/clock.ts";
import { AlertLog } from "../../../src/lib/pinset/alert-log.ts";
import { inOrder } from "../../../src/lib/pinset/in-order.ts";
import type { LedgerCid, LedgerPins, LedgerRecord } from "../../../src/lib/pinset/ledger-pins.ts";
import { SweepMemory } from "../../../src/lib/pinset/sweep-memory.ts";
import { sweep, type SweepFigures, type SweepOptions } from "../../../src/lib/pinset/sweep.ts";
import { createMemoryCluster, type MemoryCluster } from "../../support/memory-cluster.ts";
import { manyPins, rawCid } from "../../support/pins.ts";
import { tempDir } from "../../support/temp-dir.ts";

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

let dir: string;
let nowMs: number;
let onSleep: () => void;
beforeEach(() => {
  dir = tempDir();
  nowMs = Date.parse("2026-11-21T00:00:00Z");
  onSleep = () => {};
});

const clock: Clock = {
  nowMs: () => nowMs,
  monotonicMs: () => nowMs,
  sleep: async (ms) => {
    nowMs += ms;
    onSleep();
  },
};

interface More extends Partial<SweepOptions> {
  readonly ledger?: LedgerPins;
  readonly forget?: string;
}

async function sweepOf(cluster: MemoryCluster, { ledger, forget, ...options }: More = {}): Promise<SweepFigures> {
  await using memory = await SweepMemory.open(join(dir, "sweep.sqlite"), clock);
  await using alertLog = new AlertLog(join(dir, "alerts.log"));
  if (forget !== undefined) memory.members.forget(forget);
  const signal = new AbortController().signal;
  const sources = inOrder(cluster, dir);
  return await sweep(
    { cluster, sources, ledger: ledger ?? null, memory, alerts: alertLog, clock, signal },
    { ...OPTIONS, ...options },
  );
}

async function alerts(): Promise<readonly string[]> {
  const text = await readFile(join(dir, "alerts.log"), "utf8").catch(() => "");
  const lines = text.split("\n").filter((line) => line !== "");
  return lines.map((line) => {
    // oxlint-disable-next-line typescript/no-unsafe-type-assertion -- it is the file that the code under test wrote
    const alert = JSON.parse(line) as Record<string, string | null>;
    return `${alert["event"]} ${alert["peer"] ?? alert["name"]} ${alert["problem"] ?? alert["verdict"] ?? "-"}`;
  });
}

function pinOn(number: number, ...allocations: readonly string[]): Pin {
  return makePin(rawCid(`plain ${number}`).toString(), "2026-01-01T00:00:00Z", {
    name: `pin-${number}`,
    metadata: { kept: "yes" },
    replication_factor_min: allocations.length === 0 ? -1 : allocations.length,
    replication_factor_max: allocations.length === 0 ? -1 : allocations.length,
    allocations,
  });
}

describe("a peer that cannot be counted on", () => {
  test.each([
    ["silent", { state: "failing", error: "connection refused" }, "connection refused"],
    ["gone", { state: "gone", error: "not heard of since noon" }, "not heard of since noon"],
    ["kubo", { error: "its Kubo does not answer: dial" }, "its Kubo does not answer: dial"],
  ] as const)("is a problem of its own: %s", async (trouble, facts, reason) => {
    const cluster = createMemoryCluster({ pins: manyPins(3, (n) => pinOn(n, "a", "b")), peers: ["a", "b", "c"] });
    cluster.peerFacts.set("c", facts);
    const figures = await sweepOf(cluster);
    expect(figures).toMatchObject({ outcome: "problems", ok: 3, peers: [{ peer: "c", trouble, reason }] });
    expect(await alerts()).toEqual([`peer c ${trouble}`]);
  });

  test("is one that answers and tells nothing about its pins", async () => {
    const cluster = createMemoryCluster({ pins: [pinOn(1, "a", "b")], peers: ["a", "b", "c"] });
    cluster.hiding.add("c");
    expect(await sweepOf(cluster)).toMatchObject({ outcome: "problems", peers: [{ peer: "c", trouble: "hiding" }] });
  });

  test("is one whose statuses are errors, however well the cluster takes it for", async () => {
    const cluster = createMemoryCluster({ pins: [pinOn(1, "a", "b")], peers: ["a", "b"] });
    cluster.reported.set(`${pinOn(1).cid}@b`, "cluster_error");
    const { peers, under } = await sweepOf(cluster);
    expect(peers).toMatchObject([{ peer: "b", trouble: "silent", allocatedPins: 1 }]);
    expect(under).toBe(1);
  });

  test("is one that pins name and the cluster does not know", async () => {
    const cluster = createMemoryCluster({ pins: [pinOn(1, "a", "z")], peers: ["a", "b"] });
    expect((await sweepOf(cluster, { repair: false })).peers).toMatchObject([
      { peer: "z", trouble: "gone", allocatedPins: 1, reason: "the cluster does not know it any more" },
    ]);
  });

  test("is one that was there at the last sweep, until it is back or forgotten", async () => {
    const pins = manyPins(3, (number) => pinOn(number));
    await sweepOf(createMemoryCluster({ pins, peers: ["a", "b"] }));
    const shrunk = createMemoryCluster({ pins, peers: ["a"] });
    expect(await sweepOf(shrunk)).toMatchObject({ outcome: "problems", peers: [{ peer: "b", trouble: "gone" }] });
    expect(await sweepOf(shrunk)).toMatchObject({ alertsRaised: 0, peers: [{ peer: "b" }] });
    expect(await sweepOf(shrunk, { forget: "b" })).toMatchObject({ outcome: "ok", peers: [], alertsCleared: 1 });
    expect(await sweepOf(createMemoryCluster({ pins, peers: ["a", "b"] }))).toMatchObject({ outcome: "ok" });
    expect(await sweepOf(shrunk)).toMatchObject({ peers: [{ peer: "b", trouble: "gone" }] });
    expect(await alerts()).toEqual(["peer b gone", "peer-cleared b -", "peer b gone"]);
  });
});

describe("a repair", () => {
  test("writes a pin again, whole, where too few of its holders are there", async () => {
    const pins = [pinOn(1, "a", "dead"), pinOn(2, "a", "b")];
    const cluster = createMemoryCluster({ pins, peers: ["a", "b"] });
    cluster.peerFacts.set("dead", { state: "gone" });
    cluster.reported.set(`${pinOn(1).cid}@b`, "remote");
    cluster.faults.onPut = ({ cid }) => {
      cluster.reported.set(`${cid}@b`, "pinned");
    };
    const figures = await sweepOf(cluster);
    expect(figures).toMatchObject({ belowBefore: 1, belowAfter: 0, reallocated: 1, recovered: 1 });
    expect(cluster.puts).toEqual([pinOn(1).cid]);
    expect(cluster.records.get(pinOn(1).cid)).toEqual({ ...pinOn(1, "a", "dead"), allocations: ["a"] });
  });

  test("names the peers that work where the cluster takes one for well that is not", async () => {
    const cluster = createMemoryCluster({ pins: [pinOn(1, "a", "liar")], peers: ["a", "b", "liar"] });
    cluster.hiding.add("liar");
    cluster.reported.set(`${pinOn(1).cid}@b`, "remote");
    await sweepOf(cluster);
    expect(cluster.records.get(pinOn(1).cid)?.allocations).toEqual(["a", "b"]);
  });

  test("only asks to try again where the holders are all there", async () => {
    const cluster = createMemoryCluster({ pins: [pinOn(1, "a", "b")], peers: ["a", "b"] });
    cluster.reported.set(`${pinOn(1).cid}@b`, "pin_error");
    expect(await sweepOf(cluster)).toMatchObject({ reallocated: 0, under: 1 });
    expect(cluster.puts).toEqual([]);
    expect(cluster.recovered).toEqual([pinOn(1).cid]);
  });

  test("that the cluster refuses is told with the pin", async () => {
    const cluster = createMemoryCluster({ pins: [pinOn(1, "a", "dead")], peers: ["a"] });
    cluster.faults.onPut = () => {
      throw new FulaError("FULA_PIN_REFUSED", "not enough peers to allocate");
    };
    const { worst } = await sweepOf(cluster);
    expect(worst[0]?.reason).toContain("the repair was refused: not enough peers to allocate");
  });

  test("is waited for as long as told, and looked at again", async () => {
    const cluster = createMemoryCluster({ pins: [pinOn(1, "a", "b")], peers: ["a", "b"] });
    const { cid } = pinOn(1);
    cluster.reported.set(`${cid}@b`, "pin_error");
    cluster.faults.onRecover = () => cluster.reported.set(`${cid}@b`, "pinning");
    let sleeps = 0;
    onSleep = () => {
      sleeps += 1;
      if (sleeps === 3) cluster.reported.delete(`${cid}@b`);
    };
    expect(await sweepOf(cluster, { waitMs: 60_000 })).toMatchObject({ outcome: "ok", recovered: 1, ok: 1 });
    expect(sleeps).toBe(3);
    cluster.reported.set(`${cid}@b`, "pin_error");
    expect(await sweepOf(cluster, { waitMs: 6_000 })).toMatchObject({ outcome: "ok", recovered: 0, pinning: 1 });
    expect(sleeps).toBe(6);
  });
});

describe("a cluster peer that has not caught up", () => {
  test("is no all-clear: what other peers hold and it does not know is counted", async () => {
    const pins = manyPins(50, (number) => pinOn(number));
    const full = createMemoryCluster({ pins, peers: ["a", "b"] });
    const fresh: MemoryCluster = {
      ...createMemoryCluster({ peers: ["a", "b"] }),
      statuses: (options) => full.statuses(options),
    };
    await expect(sweepOf(fresh)).rejects.toMatchObject({
      code: "FULA_CLUSTER_UNREADABLE",
      message: expect.stringContaining("has 0 pins, other peers hold 50 more"),
    });
  });
});

/** A ledger in memory. */
function ledgerOf(...entries: readonly (Partial<LedgerCid> & { readonly cid: string })[]): LedgerPins & {
  readonly records: Map<string, LedgerRecord>;
} {
  const cids = entries
    .map((entry) => ({ isCid: true, text: entry.cid, state: "pinned" as const, changedMs: 0, ...entry }))
    .toSorted((a, b) => (a.cid < b.cid ? -1 : 1));
  const records = new Map(
    cids.map(({ cid, state, changedMs }) => [
      cid,
      {
        state,
        changedMs,
        isBlocked: false,
        damage: null,
        options: { name: `name of ${cid}`, metadata: { a: "b" }, origins: [] },
      },
    ]),
  );
  return {
    records,
    cids: async function* () {
      yield* cids;
    },
    record: async ({ cid }) => records.get(cid) ?? null,
    isAwaited: async (cid) => records.get(cid)?.state === "waiting",
  };
}

describe("the ledger", () => {
  const known = pinOn(1);
  const extra = pinOn(2);
  const missing = rawCid("missing").toString();

  test("is compared both ways: what it wants and the pinset lacks is a problem, the rest is told", async () => {
    const cluster = createMemoryCluster({ pins: [known, extra] });
    const { outcome, ledger } = await sweepOf(cluster, { ledger: ledgerOf(known, { cid: missing }) });
    expect(outcome).toBe("problems");
    expect(ledger).toMatchObject({ cids: 2, missing: 1, notInLedger: 1, notInLedgerShown: [extra.cid], repinned: 0 });
    expect(ledger?.shown).toMatchObject([{ cid: missing, name: `name of ${missing}`, problem: "missing" }]);
    expect(cluster.records.has(missing)).toBe(false);
    expect(await alerts()).toEqual([`ledger name of ${missing} missing`]);
  });

  test("has what it wants pinned again when told, with its name, metadata and the default factors", async () => {
    const defaults = { replication_factor_min: 2, replication_factor_max: 3 };
    const cluster: MemoryCluster = { ...createMemoryCluster({ pins: [known] }), defaultFactors: defaults };
    const options = { ledger: ledgerOf(known, { cid: missing }), repairLedger: true };
    expect(await sweepOf(cluster, options)).toMatchObject({ outcome: "ok", ledger: { missing: 0, repinned: 1 } });
    expect(cluster.records.get(missing)).toMatchObject({
      name: `name of ${missing}`,
      metadata: { a: "b" },
      ...defaults,
    });
  });

  test("clears its alert when the pin is there or is no longer wanted", async () => {
    const cluster = createMemoryCluster({ pins: [known] });
    const other = rawCid("other").toString();
    await sweepOf(cluster, { ledger: ledgerOf(known, { cid: missing }, { cid: other }) });
    await cluster.put({ ...pinOn(3), cid: missing });
    expect(await sweepOf(cluster, { ledger: ledgerOf(known) })).toMatchObject({ outcome: "ok", alertsCleared: 2 });
  });

  test("is asked again before anything is called missing, because both sides move on", async () => {
    const cluster = createMemoryCluster({ pins: [known] });
    const ledger = ledgerOf(known, { cid: missing });
    ledger.records.delete(missing);
    expect(await sweepOf(cluster, { ledger })).toMatchObject({ outcome: "ok", ledger: { missing: 0 } });
    const blocked = ledgerOf(known, { cid: missing });
    const record = blocked.records.get(missing);
    if (record !== undefined) blocked.records.set(missing, { ...record, isBlocked: true });
    expect(await sweepOf(cluster, { ledger: blocked, repairLedger: true })).toMatchObject({ ledger: { missing: 0 } });
    expect(cluster.records.has(missing)).toBe(false);
  });

  test("may have pins waiting for as long as the grace", async () => {
    const cluster = createMemoryCluster({ pins: [known] });
    const waiting = { cid: missing, state: "waiting" as const, changedMs: nowMs - HOUR_MS };
    expect(await sweepOf(cluster, { ledger: ledgerOf(known, waiting) })).toMatchObject({
      outcome: "ok",
      ledger: { waiting: 1, missing: 0 },
    });
    nowMs += 1;
    expect(await sweepOf(cluster, { ledger: ledgerOf(known, waiting) })).toMatchObject({ ledger: { missing: 1 } });
  });

  test("knows what users only wait for: anybody may ask for a content that nobody has, and that is no alert", async () => {
    const asked = { ...pinOn(4), metadata: PINNING_PIN_METADATA };
    const cluster = createMemoryCluster({ pins: [known, asked] });
    cluster.reported.set(asked.cid, "pin_error");
    const waiting = { cid: asked.cid, state: "waiting" as const };
    for (const hours of [0, 48]) {
      nowMs += hours * HOUR_MS;
      expect(await sweepOf(cluster, { ledger: ledgerOf(known, waiting) })).toMatchObject({
        outcome: "ok",
        pins: 2,
        ok: 1,
        pinning: 1,
        belowAfter: 0,
        worst: [],
      });
    }
    expect(await alerts()).toEqual([]);
    // Whoever was told that it is pinned has lost something.
    expect(await sweepOf(cluster, { ledger: ledgerOf(known, asked) })).toMatchObject({
      outcome: "below",
      belowAfter: 1,
    });
    expect(await alerts()).toHaveLength(1);
  });

  test("that cannot be read in full is no all-clear, and alerts and clears nothing", async () => {
    const cluster = createMemoryCluster({ pins: [known] });
    cluster.reported.set(known.cid, "pin_error");
    const ledger: LedgerPins = {
      ...ledgerOf(),
      cids: async function* () {
        yield { cid: "a", isCid: true, text: "a", state: "pinned", changedMs: 0 };
        throw new FulaError("FULA_LEDGER_UNREADABLE", "the connection was lost");
      },
    };
    await expect(sweepOf(cluster, { ledger })).rejects.toMatchObject({ code: "FULA_LEDGER_UNREADABLE" });
    expect(await alerts()).toEqual([]);
    expect(cluster.recovered).toEqual([]);
  });
});
