import { expect, test } from "vitest";
import { FulaError } from "../../../src/lib/kernel/errors.ts";
import { controlPlaneSilent } from "../../../src/lib/membership/kv/budget.ts";
import { outlastSilence } from "../../../src/lib/membership/outlast.ts";
import { ManualClock } from "../../support/manual-clock.ts";

const PATIENCE_MS = 3_000;
const PAUSE_MS = 250;
const election = (): FulaError => controlPlaneSilent("It has no leader", "no-quorum", "Wait.");

interface Run {
  readonly outcome: Promise<unknown>;
  readonly waits: readonly string[];
  readonly clock: ManualClock;
  readonly end: AbortController;
  readonly calls: () => number;
}

/** Work that fails with each of these errors first; it has been done once. */
async function start(errors: readonly (() => unknown)[]): Promise<Run> {
  const clock = new ManualClock();
  const end = new AbortController();
  const waits: string[] = [];
  let calls = 0;
  const work = async (): Promise<string> => {
    const error = errors[calls]?.();
    calls += 1;
    if (error !== undefined) throw error;
    return await Promise.resolve("done");
  };
  const deadlineMs = clock.monotonicMs() + PATIENCE_MS;
  const onWait = (sentence: string): void => void waits.push(sentence);
  const running = outlastSilence(work, { clock, signal: end.signal, deadlineMs, onWait });
  const outcome = running.catch((error: unknown) => error);
  await clock.step(0);
  return { outcome, waits, clock, end, calls: () => calls };
}

test("a silence is waited out, and said", async () => {
  const run = await start([election, election]);
  for (let i = 0; i < 2; i += 1) await run.clock.step(PAUSE_MS);
  expect(await run.outcome).toBe("done");
  expect(run.waits).toEqual(["waiting for the NATS servers to elect a leader"]);
});

test("when the time is over, what it met last is thrown", async () => {
  const run = await start(Array.from({ length: 99 }, () => election));
  for (let i = 0; i < PATIENCE_MS / PAUSE_MS; i += 1) await run.clock.step(PAUSE_MS);
  expect(await run.outcome).toMatchObject({ code: "FULA_CONTROL_PLANE_UNREACHABLE" });
  expect(run.calls()).toBe(PATIENCE_MS / PAUSE_MS + 1);
});

test.each([
  [
    "a server that does not let this box in",
    () => new FulaError("FULA_CONTROL_PLANE_UNREACHABLE", "No.", { details: { refused: true } }),
  ],
  ["anything else", () => new FulaError("FULA_CONTROL_PLANE_UNREADABLE", "What?")],
])("%s is told at once", async (_title, error) => {
  const run = await start([error]);
  expect(await run.outcome).toMatchObject({ message: error().message });
  expect(run.calls()).toBe(1);
});

test("who is told to stop waits no longer", async () => {
  const run = await start([election, election]);
  run.end.abort();
  await run.outcome;
  expect(run.calls()).toBe(1);
});
