import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { decidePrune, type KeepPolicy, type PruneCandidate } from "../../../src/lib/pinset/prune.ts";
import { property } from "../../support/property.ts";

const NONE: KeepPolicy = { last: 0, daily: 0, weekly: 0, monthly: 0 };

function good(time: string, sequence: number): PruneCandidate {
  return { name: time, timeMs: Date.parse(time), sequence, standing: "good" };
}

function reasonsOf(
  candidates: readonly PruneCandidate[],
  policy: Partial<KeepPolicy>,
): Record<string, readonly string[]> {
  const decisions = decidePrune(candidates, { ...NONE, ...policy });
  return Object.fromEntries(decisions.map(({ name, reasons }) => [name, reasons]));
}

const anyCandidates = fc
  .array(
    fc.record({
      timeMs: fc.integer({ min: Date.UTC(2024, 0), max: Date.UTC(2026, 11) }),
      standing: fc.constantFrom<PruneCandidate["standing"][]>("good", "good", "good", "not good", "not ours"),
    }),
    { maxLength: 60 },
  )
  .map((list) =>
    list.map(
      (each, index): PruneCandidate => ({
        ...each,
        name: `s${index}`,
        sequence: index,
      }),
    ),
  );

const anyPolicy = fc.record({ last: fc.nat(8), daily: fc.nat(8), weekly: fc.nat(8), monthly: fc.nat(8) });

const keptNames = (candidates: readonly PruneCandidate[], policy: KeepPolicy): string[] =>
  decidePrune(candidates, policy).flatMap(({ name, keep }) => (keep ? [name] : []));

describe("which snapshots stay", () => {
  const list = [
    good("2026-03-02T12:00:00Z", 7),
    good("2026-03-02T06:00:00Z", 6),
    good("2026-03-01T18:00:00Z", 5),
    good("2026-02-28T18:00:00Z", 4),
    good("2026-02-20T18:00:00Z", 3),
    good("2026-01-31T18:00:00Z", 2),
    good("2025-12-31T18:00:00Z", 1),
  ];

  test("the newest ones, as many as snapshot.keep.last says", () => {
    const reasons = reasonsOf(list, { last: 2 });
    expect(reasons["2026-03-02T12:00:00Z"]).toContain("last");
    expect(reasons["2026-03-02T06:00:00Z"]).toEqual(["last"]);
    expect(reasons["2026-03-01T18:00:00Z"]).toEqual([]);
  });

  test("the newest of each of the last days that have one", () => {
    const reasons = reasonsOf(list, { daily: 3 });
    expect(reasons["2026-03-02T12:00:00Z"]).toEqual(["daily", "last good"]);
    expect(reasons["2026-03-02T06:00:00Z"]).toEqual([]);
    expect(reasons["2026-03-01T18:00:00Z"]).toEqual(["daily"]);
    expect(reasons["2026-02-28T18:00:00Z"]).toEqual(["daily"]);
    expect(reasons["2026-02-20T18:00:00Z"]).toEqual([]);
  });

  test("the newest of each of the last weeks, which begin on Monday", () => {
    // 2 March 2026 is a Monday, so the day before belongs to the week before.
    const reasons = reasonsOf(list, { weekly: 3 });
    expect(reasons["2026-03-02T12:00:00Z"]).toContain("weekly");
    expect(reasons["2026-03-01T18:00:00Z"]).toEqual(["weekly"]);
    expect(reasons["2026-02-28T18:00:00Z"]).toEqual([]);
    expect(reasons["2026-02-20T18:00:00Z"]).toEqual(["weekly"]);
  });

  test("the newest of each of the last months", () => {
    const reasons = reasonsOf(list, { monthly: 3 });
    expect(reasons["2026-03-02T12:00:00Z"]).toContain("monthly");
    expect(reasons["2026-02-28T18:00:00Z"]).toEqual(["monthly"]);
    expect(reasons["2026-01-31T18:00:00Z"]).toEqual(["monthly"]);
    expect(reasons["2025-12-31T18:00:00Z"]).toEqual([]);
  });

  test("the last good one, whatever the policy says, and nothing else of ours", () => {
    expect(keptNames(list, NONE)).toEqual(["2026-03-02T12:00:00Z"]);
  });

  test("what is damaged and what is not ours, and neither takes the place of a good one", () => {
    const bad = { ...good("2026-03-03T00:00:00Z", 9), standing: "not good" as const };
    const foreign = { ...good("2026-03-04T00:00:00Z", 0), standing: "not ours" as const };
    expect(keptNames([foreign, bad, ...list], { ...NONE, last: 1 })).toEqual([foreign.name, bad.name, list[0]?.name]);
  });

  test("the newest by sequence, where a clock that was wrong has dated an old one in the future", () => {
    const future = good("2099-01-01T00:00:00Z", 1);
    const newest = good("2026-03-02T12:00:00Z", 2);
    expect(keptNames([future, newest], NONE)).toEqual([newest.name]);
  });

  test("there is always a good one left, and it is the newest", () => {
    fc.assert(
      fc.property(anyCandidates, anyPolicy, (candidates, policy) => {
        const newest = candidates.findLast(({ standing }) => standing === "good");
        fc.pre(newest !== undefined);
        expect(keptNames(candidates, policy)).toContain(newest?.name);
      }),
      property(),
    );
  });

  test("whoever asks to keep more keeps at least the same ones", () => {
    fc.assert(
      fc.property(anyCandidates, anyPolicy, anyPolicy, (candidates, policy, more) => {
        const larger = {
          last: policy.last + more.last,
          daily: policy.daily + more.daily,
          weekly: policy.weekly + more.weekly,
          monthly: policy.monthly + more.monthly,
        };
        expect(keptNames(candidates, larger)).toEqual(expect.arrayContaining(keptNames(candidates, policy)));
      }),
      property(),
    );
  });

  test("pruning twice removes no more than pruning once", () => {
    fc.assert(
      fc.property(anyCandidates, anyPolicy, (candidates, policy) => {
        const kept = new Set(keptNames(candidates, policy));
        const left = candidates.filter(({ name }) => kept.has(name));
        expect(keptNames(left, policy)).toEqual(left.map(({ name }) => name));
      }),
      property(),
    );
  });

  test("the order in which the directory lists them does not matter", () => {
    fc.assert(
      fc.property(anyCandidates, anyPolicy, (candidates, policy) => {
        expect(keptNames(candidates.toReversed(), policy).toSorted()).toEqual(keptNames(candidates, policy).toSorted());
      }),
      property(),
    );
  });
});
