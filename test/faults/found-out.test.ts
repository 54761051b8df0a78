/*
 * That these tests can fail: masters that are right only as long as nothing goes wrong are let be where nothing does, and
 * are found out by the same kills and cuts that the real ones have to stand.
 */
import { afterAll, beforeAll, expect, test } from "vitest";
import { CronWorkers } from "../support/cron-worker.ts";
import { seededRandom } from "../support/seeded-random.ts";
import { describeOutcome, isRight, runScenario } from "./run-scenario.ts";
import { drawScenario, type Fault, MASTERS, type Scenario } from "./scenario.ts";

/** Masters that were hurt may never be through; what they did by then is enough, or what the next ones do in more time. */
const DEADLINE_MS = 3_000;
/** One of these at the latest gives them away, on a machine with much else to do, too. */
const SEEDS = 10;
/** What fragile masters send for fifty hours. */
const MESSAGES = 1_200;

let workers: CronWorkers;

beforeAll(() => {
  workers = new CronWorkers(MASTERS);
});

afterAll(async () => {
  await workers[Symbol.asyncDispose]();
});

/** Accounts and clocks of the seed, and faults of this kind alone, which come upon whoever is at work. */
function withFaults(seed: number, harm: Fault["harm"], count: number): Scenario {
  const random = seededRandom(seed);
  const faults = Array.from({ length: count }, () => {
    const at = { session: "work", message: 1 + random.int(MESSAGES) } as const;
    return { at, master: null, harm };
  });
  return { ...drawScenario(seed), hasLease: true, errands: [], faults };
}

test("masters that nothing happens to are right, even if they trust in that", async () => {
  const scenario = withFaults(1, { kind: "kill", restartMs: 0 }, 0);
  const outcome = await runScenario(scenario, workers, "fragile");
  expect(isRight(outcome), describeOutcome(scenario, outcome)).toBe(true);
});

test.each<[string, Fault["harm"]]>([
  ["kill -9", { kind: "kill", restartMs: 50 }],
  ["a cut before the answer", { kind: "connection", verdict: "cut after" }],
  ["a pause that outlasts the lease", { kind: "pause", forMs: 1_000 }],
])("masters that trust in nothing happening are found out by %s", async (_, harm) => {
  const found = { verified: 0, recomputed: 0 };
  for (let seed = 1; seed <= SEEDS && found.verified * found.recomputed === 0; seed += 1) {
    const scenario = withFaults(seed, harm, 8);
    const { verified, recomputed } = await runScenario(scenario, workers, "fragile", seed * DEADLINE_MS);
    if (verified.length > 0) found.verified += 1;
    if (recomputed.length > 0) found.recomputed += 1;
  }
  expect(found.verified).toBeGreaterThan(0);
  expect(found.recomputed).toBeGreaterThan(0);
});
