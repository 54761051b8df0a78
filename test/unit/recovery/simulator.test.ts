import { describe, expect, test } from "vitest";
import { MUTANTS } from "../../support/recovery-simulator/mutants.ts";
import { simulate, simulateMany } from "../../support/recovery-simulator/simulate.ts";

const SOAK = process.env["SOAK"] === "1";
const SEED = process.env["SEED"] === undefined ? null : Number(process.env["SEED"]);
const SCHEDULES = SOAK ? 1_000_000 : 20_000;
const BATCH = 1_000;
const FIRST_SEED = SOAK ? Date.now() : 20_261_120;
const MUTANT_SCHEDULES = 400;
const TIMEOUT_MS = SOAK ? 36_000_000 : 600_000;

/** What a broken schedule says of itself when it is run again, alone. */
async function replayed(seed: number): Promise<string> {
  const { violation, trace } = await simulate(seed, { traced: true });
  return [...trace, violation?.message ?? "no invariant broke", `Again: SEED=${seed}`].join("\n");
}

function scheduleOfSeed(seed: number): void {
  test(`the schedule of seed ${seed} holds`, async () => {
    const { violation } = await simulate(seed);
    expect(violation, await replayed(seed)).toBeNull();
  });
}

function manySchedules(): void {
  test(
    `${SCHEDULES} schedules leak no pin, obey no old epoch, and let nothing be in sync that is not`,
    async () => {
      const rungs = new Map<string, number>();
      for (let done = 0; done < SCHEDULES; done += BATCH) {
        const { broken, completed } = await simulateMany(FIRST_SEED + done, BATCH);
        for (const [rung, times] of completed) rungs.set(rung, (rungs.get(rung) ?? 0) + times);
        if (broken !== null) expect.fail(await replayed(broken.seed));
        if (SOAK && (done + BATCH) % 50_000 === 0) process.stderr.write(`${done + BATCH} schedules hold\n`);
      }
      // Schedules that bring nobody back prove nothing.
      for (const rung of ["zero_gap", "catchup", "truncate_only", "rewind", "snapshot_tail", "full_base"]) {
        expect(rungs.get(rung), rung).toBeGreaterThan(SCHEDULES / 50);
      }
    },
    TIMEOUT_MS,
  );

  test("the same seed is the same schedule", async () => {
    const first = await simulate(17, { traced: true });
    const second = await simulate(17, { traced: true });
    expect(first.trace.length).toBeGreaterThan(50);
    expect(second.trace).toEqual(first.trace);
  });

  test.each(Object.entries(MUTANTS))(
    `whoever %s is found out within ${MUTANT_SCHEDULES} schedules`,
    async (_name, mutant) => {
      const { broken } = await simulateMany(FIRST_SEED, MUTANT_SCHEDULES, mutant);
      expect(broken).not.toBeNull();
    },
    TIMEOUT_MS,
  );
}

describe("a primary and three replicas, under faults at every await", () => {
  if (SEED === null) manySchedules();
  else scheduleOfSeed(SEED);
});
