import { join } from "node:path";
import { setTimeout as wait } from "node:timers/promises";
import { afterEach, beforeEach, expect, test } from "vitest";
import { readTextIfExists } from "../../src/lib/kernel/files.ts";
import { inspectEmbeddedPostgres } from "../../src/lib/runtime/embedded-postgres.ts";
import { readInstallation } from "../../src/lib/stack/installation.ts";
import { identifyProcess } from "../../src/lib/runtime/processes.ts";
import { findUnfinishedRun } from "../../src/lib/stack/join-journal.ts";
import type { StepId } from "../../src/lib/stack/plan.ts";
import { EMBEDDED_STEPS } from "../support/join-steps.ts";
import { journalNames, journalText, launch } from "../support/launched.ts";
import { seededRandom } from "../support/seeded-random.ts";
import { makeTestBox, type TestBox } from "../support/test-box.ts";
import { settled, until } from "../support/until.ts";

const SOAK = process.env["SOAK"] === "1";
/** About what a whole join takes; random kills fall within it. */
const JOIN_MS = 2_500;
const RANDOM_KILLS = SOAK ? 200 : 20;
const KILLS_A_BOX = 4;

let box: TestBox;

beforeEach(async () => {
  box = await makeTestBox();
});

afterEach(async () => {
  await box[Symbol.asyncDispose]();
});

/** Which secrets and which cluster id were seen first; they must never be others. */
class FirstSeen {
  #env: string | null = null;
  #clusterId: string | null = null;

  async check(): Promise<void> {
    const env = await readTextIfExists(join(box.baseDir, ".env"));
    const installation = await readInstallation(join(box.baseDir, "state"));
    if (this.#env !== null) expect(env).toBe(this.#env);
    if (this.#clusterId !== null) expect(installation?.clusterId).toBe(this.#clusterId);
    this.#env ??= env;
    this.#clusterId ??= installation?.clusterId ?? null;
  }
}

function joinNow() {
  return launch([...box.joinArgs, "--base-dir", box.baseDir]);
}

/** Joins, and kills the process as soon as this run's journal holds one of the texts, and `delayMs` have passed. */
async function killAt(texts: readonly string[], delayMs: number): Promise<boolean> {
  const before = new Set(journalNames(box.baseDir));
  const run = joinNow();
  const watch = new AbortController();
  void run.ended.then(() => {
    watch.abort();
  });
  while (!watch.signal.aborted) {
    const name = journalNames(box.baseDir).find((each) => !before.has(each));
    const text = name === undefined ? "" : journalText(box.baseDir, name);
    if (texts.some((wanted) => text.includes(wanted))) {
      if (delayMs > 0) await wait(delayMs);
      run.kill();
      break;
    }
    // Not without a pause: the join needs the processor that this would take.
    await wait(1);
  }
  const { signal, exitCode, output } = await run.ended;
  // A run that was too quick to be killed must have come to its end, not to an error.
  if (signal === null) expect(exitCode, output).toBe(0);
  return signal === "SIGKILL";
}

/** Joins to the end, and looks at everything that a master must have exactly once. */
async function expectWholeMaster(seen: FirstSeen): Promise<void> {
  const { exitCode, output } = await joinNow().ended;
  expect(exitCode, output).toBe(0);
  await seen.check();
  // What is late to answer on a busy machine is said to be bad.
  const status = await settled(
    async () => JSON.parse((await box.run(["status", "--json", "--schedule-root", box.scheduleRoot])).stdout),
    ({ healthy }) => healthy,
  );
  expect(status).toMatchObject({
    healthy: true,
    serve: { state: "ok", pid: expect.any(Number) },
    ledger: { state: "ok", pending: [] },
    schedules: { state: "ok" },
    snapshot: { state: "ok" },
  });
  const { clusterId } = (await box.load()).config.node;
  expect(await readInstallation(join(box.baseDir, "state"))).toMatchObject({
    clusterId,
    made: ["ledger", "pinset", "control-plane"],
  });
  const verified = await box.run(["verify", "--json"]);
  expect(verified).toMatchObject({ exitCode: 0 });
  expect(verified.stdout).toContain(clusterId);
  const again = await box.run([...box.joinArgs, "--json"]);
  expect(JSON.parse(again.stdout)).toMatchObject({ outcome: "already", changed: [] });
}

async function expectNothingRunsAfterStop(): Promise<void> {
  expect(await box.run(["stop"])).toMatchObject({ exitCode: 0 });
  expect((await inspectEmbeddedPostgres((await box.load()).paths)).running).toBeNull();
}

// Half of what the step takes on a machine like CI's.
const MIDDLE_MS: Readonly<Partial<Record<StepId, number>>> = {
  postgres: 500,
  migrations: 150,
  snapshot: 20,
  serve: 400,
};

/** Steps that are long enough for a kill to come while they run. */
const LONG_STEPS = ["postgres", "migrations", "serve"] as const;
/** How often one of them is tried again, on a box of its own, where the kill came too late. */
const TRIES_MAX = 5;

/** Kills on one box after the other: on one whose join came to its end no further step begins. */
class Killer {
  seen = new FirstSeen();
  killed = 0;
  readonly stopped = new Set<StepId | null>();
  #isWhole = false;

  async strike(texts: readonly string[], delayMs: number): Promise<void> {
    if (this.#isWhole) await this.anew();
    const isKilled = await killAt(texts, delayMs);
    this.#isWhole = !isKilled;
    if (isKilled) this.killed += 1;
    this.stopped.add((await findUnfinishedRun(join(box.baseDir, "journal")))?.stoppedAt ?? null);
    await this.seen.check();
  }

  async anew(): Promise<void> {
    await box[Symbol.asyncDispose]();
    box = await makeTestBox();
    this.seen = new FirstSeen();
    this.#isWhole = false;
  }
}

const startOf = (step: StepId): string => `"event":"step.started","step":"${step}"`;
const endOf = (step: StepId): string => `"event":"step.done","step":"${step}"`;

test("kill -9 at the beginning, in the middle and at the end of every step is resumed by the next run", {
  timeout: 900_000,
}, async () => {
  const killer = new Killer();
  for (const step of EMBEDDED_STEPS) {
    const [started, done] = [startOf(step), endOf(step)];
    await killer.strike([started, done], 0);
    await killer.strike([started, done], MIDDLE_MS[step] ?? 2);
    await killer.strike([done], 0);
  }
  // On a busy machine a step of a millisecond, or the whole rest of a run, is over before the kill arrives.
  expect(killer.killed).toBeGreaterThanOrEqual(EMBEDDED_STEPS.length * 2);
  for (const step of LONG_STEPS) {
    for (let tries = 0; tries < TRIES_MAX && !killer.stopped.has(step); tries += 1) {
      await killer.anew();
      await killer.strike([startOf(step)], 0);
    }
  }
  expect([...killer.stopped]).toEqual(expect.arrayContaining([...LONG_STEPS]));
  await expectWholeMaster(killer.seen);
  await expectNothingRunsAfterStop();
});

test.each(Array.from({ length: RANDOM_KILLS / KILLS_A_BOX }, (_, index) => index + 1))(
  `kill -9 at ${KILLS_A_BOX} random moments is resumed by the next run (seed %i)`,
  async (seed) => {
    const random = seededRandom(seed);
    const seen = new FirstSeen();
    for (let kill = 0; kill < KILLS_A_BOX; kill += 1) {
      const run = joinNow();
      await Promise.race([wait(random.int(JOIN_MS)), run.ended]);
      run.kill();
      const { signal, exitCode, output } = await run.ended;
      if (signal === null) expect(exitCode, output).toBe(0);
      await seen.check();
    }
    await expectWholeMaster(seen);
  },
);

test("kill -9 of serve and of PostgreSQL under it is put right by the next join", async () => {
  const seen = new FirstSeen();
  await expectWholeMaster(seen);
  const report = JSON.parse((await box.run(["status", "--json"])).stdout);
  const { running } = await inspectEmbeddedPostgres((await box.load()).paths);
  if (running === null) throw new Error("PostgreSQL does not run");
  for (const pid of [report.serve.pid, running.pid]) {
    process.kill(pid, "SIGKILL");
    // The signal only marks a process for death; it runs on until the kernel has taken it down.
    await until(`process ${pid} is gone`, async () => identifyProcess(pid) === null);
  }
  expect(await box.run(["status"])).toMatchObject({
    exitCode: 1,
    stdout: expect.stringContaining("serve does not run"),
  });
  await expectWholeMaster(seen);
});
