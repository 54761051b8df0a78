import * as fc from "fast-check";
import { describe, expect, test } from "vitest";
import type { Pin } from "../../../src/lib/cluster/pins.ts";
import { planRestore, type PlanItem } from "../../../src/lib/pinset/restore-plan.ts";
import { selectItems, summarizePlan } from "../../../src/lib/pinset/restore-selection.ts";
import { collect, fullPin, manyPins } from "../../support/pins.ts";

const NOW = Date.parse("2026-11-21T00:00:00Z");

async function* stream<T>(items: Iterable<T>): AsyncGenerator<T> {
  yield* items;
}

async function plan(wanted: readonly Pin[], present: readonly Pin[]): Promise<PlanItem[]> {
  return collect(planRestore(stream(wanted), stream(present), { nowMs: NOW }));
}

const pins = manyPins(6);
const [a, b, c, d, e, f] = pins;
if (a === undefined || b === undefined || c === undefined || d === undefined || e === undefined || f === undefined) {
  throw new Error("six pins");
}

async function* broken(): AsyncGenerator<Pin> {
  yield* pins.slice(0, 1);
  throw new Error("read failed");
}

describe("planRestore", () => {
  test("tells missing, differing, equal and extra pins in the order of their CIDs", async () => {
    const items = await plan([a, c, d, f], [b, c, { ...d, name: "renamed" }, e]);
    expect(items).toEqual([
      { kind: "missing", cid: a.cid, pin: a },
      { kind: "extra", cid: b.cid },
      { kind: "equal", cid: c.cid, pin: c },
      { kind: "differs", cid: d.cid, pin: d, current: { ...d, name: "renamed" }, fields: ["name"] },
      { kind: "extra", cid: e.cid },
      { kind: "missing", cid: f.cid, pin: f },
    ]);
  });

  test("a pin that was made at another time only is equal; with another difference the time is told too", async () => {
    const later = { ...a, timestamp: "2026-11-20T00:00:00Z" };
    expect((await plan([a], [later])).map((item) => item.kind)).toEqual(["equal"]);
    expect(await plan([a], [{ ...later, name: "x" }])).toMatchObject([
      { kind: "differs", fields: ["name", "timestamp"] },
    ]);
  });

  test("a pin whose time is over is left out where it is missing", async () => {
    const over = { ...a, expire_at: "2026-11-20T23:59:59Z" };
    expect(await plan([over], [])).toEqual([{ kind: "expired", cid: a.cid, pin: over }]);
    expect(await plan([over], [over])).toMatchObject([{ kind: "equal" }]);
  });

  test("lists that are not in order are refused, whichever it is", async () => {
    await expect(plan([b, a], [])).rejects.toThrow("the snapshot gives");
    await expect(plan([], [b, a])).rejects.toThrow("the pinset gives");
    await expect(plan([a, { ...a, name: "other" }], [])).rejects.toMatchObject({ code: "FULA_RESTORE_UNORDERED" });
    await expect(plan([], [a, a])).rejects.toMatchObject({ code: "FULA_RESTORE_UNORDERED" });
  });

  test("an error of either list ends it with that error", async () => {
    await expect(collect(planRestore(broken(), stream(pins), { nowMs: NOW }))).rejects.toThrow("read failed");
    await expect(collect(planRestore(stream(pins), broken(), { nowMs: NOW }))).rejects.toThrow("read failed");
  });

  test("closes both lists when it is left early", async () => {
    const closed: string[] = [];
    async function* watched(name: string): AsyncGenerator<Pin> {
      try {
        yield* pins;
      } finally {
        closed.push(name);
      }
    }
    for await (const item of planRestore(watched("wanted"), watched("present"), { nowMs: NOW })) {
      expect(item.kind).toBe("equal");
      break;
    }
    expect(closed.toSorted()).toEqual(["present", "wanted"]);
  });

  test("agrees with comparing two maps, for any two pinsets", async () => {
    const all = manyPins(40);
    const subset = fc.subarray([...all]);
    const renamed = fc.func(fc.boolean());
    const seed = process.env["SOAK"] === "1" ? {} : { seed: 20_261_121 };
    await fc.assert(
      fc.asyncProperty(subset, subset, renamed, async (wanted, stored, isRenamed) => {
        const present = stored.map((pin) => (isRenamed(pin.cid) ? { ...pin, name: `${pin.name}!` } : pin));
        const expected = new Map<string, string>();
        for (const pin of present) expected.set(pin.cid, "extra");
        for (const pin of wanted) {
          const there = present.find((other) => other.cid === pin.cid);
          expected.set(pin.cid, there === undefined ? "missing" : there.name === pin.name ? "equal" : "differs");
        }
        const got = (await plan(wanted, present)).map((item): [string, string] => [item.cid, item.kind]);
        expect(got).toEqual([...expected].toSorted(([left], [right]) => (left < right ? -1 : 1)));
      }),
      seed,
    );
  });
});

describe("a selection", () => {
  const everything = { only: null, limit: null, overwrite: true };

  test("of some CIDs takes those alone and tells which are not in the snapshot", async () => {
    const only = new Set([b.cid, f.cid, "bafy-not-there"]);
    const plan1 = await summarizePlan(planRestore(stream([a, b, c]), stream([f]), { nowMs: NOW }), {
      ...everything,
      only,
    });
    expect(plan1.counts).toMatchObject({ missing: 1, extra: 1, equal: 0 });
    expect(plan1.notInSnapshot.toSorted()).toEqual(["bafy-not-there", f.cid].toSorted());
  });

  test("with a limit ends before the pin that would be one too many", async () => {
    const items = selectItems(planRestore(stream(pins), stream([b]), { nowMs: NOW }), { ...everything, limit: 2 });
    expect((await collect(items)).map((item) => item.cid)).toEqual([a.cid, b.cid, c.cid]);
    const summary = await summarizePlan(planRestore(stream(pins), stream([b]), { nowMs: NOW }), {
      ...everything,
      limit: 2,
    });
    expect(summary).toMatchObject({ toWrite: 2, lastCid: c.cid });
  });

  test("with a limit still names what the snapshot does not have, as far as it was read", async () => {
    const before = "aa-before-all";
    const only = new Set([before, "zz-after-all", a.cid, b.cid]);
    const limited = async (limit: number): Promise<readonly string[]> => {
      const items = planRestore(stream(pins), stream([]), { nowMs: NOW });
      return (await summarizePlan(items, { ...everything, only, limit })).notInSnapshot;
    };
    expect(await limited(1)).toEqual([before]);
    expect(await limited(3)).toEqual([before, "zz-after-all"]);
  });

  test("without overwriting writes only what is missing", async () => {
    const differs = { ...b, name: "mine" };
    const summary = await summarizePlan(planRestore(stream([a, b]), stream([differs]), { nowMs: NOW }), {
      ...everything,
      overwrite: false,
    });
    expect(summary).toMatchObject({ toWrite: 1, differing: [{ cid: b.cid, name: "mine", fields: ["name"] }] });
  });

  test("names the first few and counts all", async () => {
    const many = manyPins(100, (number) => fullPin(number + 1000));
    const summary = await summarizePlan(planRestore(stream(many), stream([]), { nowMs: NOW }), everything);
    expect(summary.counts.missing).toBe(100);
    expect(summary.missing).toHaveLength(20);
  });
});
