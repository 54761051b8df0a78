import { describe, expect, test } from "vitest";
import { judgeProbes, listSome, type Probes } from "../../../src/lib/postgres/database-state.ts";
import type { Migration } from "../../../src/lib/postgres/migration-files.ts";

const SCRIPT = { fileName: "x.sql", statements: [], transactional: true };

function migration(version: number, baseline: boolean, probed = true): Migration {
  return {
    version,
    name: "m",
    up: SCRIPT,
    checksum: "",
    breaking: false,
    baseline,
    down: null,
    guard: null,
    probe: probed ? SCRIPT : null,
  };
}

const MIGRATIONS = [
  migration(0, false, false),
  migration(1, true),
  migration(17, true),
  migration(18, false),
  migration(20, false),
  migration(21, false, false),
];

/** One digit a part: 1 = present. */
function probes(parts: Readonly<Record<number, string>>): Probes {
  return new Map(
    Object.entries(parts).map(([version, digits]) => [
      Number(version),
      Array.from(digits, (digit, index) => ({ part: `${version}.${index}`, present: digit === "1" })),
    ]),
  );
}

describe("judging a database that has tables and no history", () => {
  test.each<readonly [string, Readonly<Record<number, string>>, readonly number[], readonly number[]]>([
    ["at 017", { 1: "11", 17: "1", 18: "0", 20: "00" }, [1, 17], [0, 18, 20, 21]],
    ["at 018", { 1: "11", 17: "1", 18: "1", 20: "00" }, [1, 17, 18], [0, 20, 21]],
    ["at 020 with 018 left out", { 1: "11", 17: "1", 18: "0", 20: "11" }, [1, 17, 20], [0, 18, 21]],
  ])("%s is adoptable from there", (_name, found, inEffect, pending) => {
    const state = judgeProbes(MIGRATIONS, probes(found), ["public.users"]);
    expect(state.kind).toBe("adoptable");
    if (state.kind !== "adoptable") return;
    expect(state.inEffect.map(({ version }) => version)).toEqual(inEffect);
    expect(state.pending.map(({ version }) => version)).toEqual(pending);
  });

  test("one missing part of the baseline makes it incomplete, and is named", () => {
    const state = judgeProbes(MIGRATIONS, probes({ 1: "10", 17: "1", 18: "0", 20: "00" }), []);
    expect(state).toEqual({ kind: "incomplete", missing: [{ migration: "001_m", part: "1.1" }] });
  });

  test("a later migration that is half in effect makes it incomplete: running it could not be told from having run it", () => {
    const state = judgeProbes(MIGRATIONS, probes({ 1: "11", 17: "1", 18: "0", 20: "10" }), []);
    expect(state).toEqual({ kind: "incomplete", missing: [{ migration: "020_m", part: "20.1" }] });
  });

  test("without any part of the baseline it is foreign, whatever else is there", () => {
    const state = judgeProbes(MIGRATIONS, probes({ 1: "00", 17: "0", 18: "1", 20: "11" }), ["public.orders"]);
    expect(state).toEqual({ kind: "foreign", tables: ["public.orders"] });
  });
});

test("a long list is cut with a count", () => {
  expect(listSome(["a", "b"])).toBe("a, b");
  expect(listSome(Array.from({ length: 10 }, (_, index) => `t${index}`))).toBe(
    "t0, t1, t2, t3, t4, t5, t6, t7 and 2 more",
  );
});
