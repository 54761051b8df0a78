import { afterAll, beforeAll, expect, test } from "vitest";
import { CronWorkers } from "../support/cron-worker.ts";
import { describeOutcome, isRight, runScenario } from "./run-scenario.ts";
import { drawScenario, MASTERS } from "./scenario.ts";

const SEEDS = 200;
const SOAK_SEEDS = 2_000;
const SOAK = process.env["SOAK"] === "1";
/** Seeds to run again, as a failure names them: `FAULTS_SEED=17` or `FAULTS_SEED=17,4711`. */
const CHOSEN = process.env["FAULTS_SEED"];

/** The same seeds on every run, or with SOAK=1 ten times as many that nobody has seen yet. */
function allSeeds(): readonly number[] {
  if (CHOSEN !== undefined) return CHOSEN.split(",").map(Number);
  const first = SOAK ? Math.trunc(Date.now() / 1_000) : 1;
  return Array.from({ length: SOAK ? SOAK_SEEDS : SEEDS }, (_, index) => first + index);
}

/** Small enough that no worker is left with a long one when the others are done. */
const FILES = 4;

/** Declares a test for every fourth seed, so that files which run side by side share them. @param share 0 to 3 */
export function testSeeds(share: number): void {
  let workers: CronWorkers;
  beforeAll(() => {
    workers = new CronWorkers(MASTERS + 1);
  });
  afterAll(async () => {
    await workers[Symbol.asyncDispose]();
  });

  const seeds = allSeeds().filter((seed) => Math.abs(seed) % FILES === share);
  test.each(seeds)("seed %i leaves books behind that are right to the last unit", async (seed) => {
    const scenario = drawScenario(seed);
    const outcome = await runScenario(scenario, workers);
    if (!isRight(outcome)) expect.fail(describeOutcome(scenario, outcome));
  });
}
