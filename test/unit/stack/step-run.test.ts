import { expect, test } from "vitest";
import type { ErrorCode } from "../../../src/lib/kernel/error-codes.ts";
import { FulaError } from "../../../src/lib/kernel/errors.ts";
import { openJournal } from "../../../src/lib/kernel/journal.ts";
import type { RunStep } from "../../../src/lib/stack/join-step.ts";
import type { StepId } from "../../../src/lib/stack/plan.ts";
import { runSteps, type ShowTasks } from "../../../src/lib/stack/step-run.ts";
import { EventClock } from "../../support/event-clock.ts";
import { tempDir } from "../../support/temp-dir.ts";

/** Runs one step that fails some times with a code, and then is done. */
async function run(code: ErrorCode, failures: number, at: "assess" | "apply" = "apply") {
  let left = failures;
  let calls = 0;
  const said: string[] = [];
  const maybeFail = (where: typeof at): void => {
    if (where !== at) return;
    calls += 1;
    left -= 1;
    if (left >= 0) throw new FulaError(code, "It did not answer.");
  };
  const step: RunStep<StepId> = {
    id: "stores",
    title: "Block store and pinset",
    assess: async () => {
      maybeFail("assess");
      return await Promise.resolve({ state: "todo", why: "a test", changes: [] });
    },
    apply: async () => {
      maybeFail("apply");
      return await Promise.resolve("done");
    },
  };
  const show: ShowTasks = async (tasks) => {
    for (const task of tasks) {
      if ((await task.skip()) === null) await task.run((text) => said.push(text));
    }
  };
  const clock = new EventClock();
  await using journal = await openJournal(tempDir(), "join", clock);
  const { signal } = new AbortController();
  const running = runSteps({ command: "join", steps: [step], journal, clock, signal, show });
  const outcome = await running.then(
    (changed) => changed.join(),
    (error: unknown) => (error instanceof FulaError ? `${error.code}: ${error.message}` : String(error)),
  );
  return { outcome, calls, said };
}

test("a service that does not answer once is asked again, and the operator is told", async () => {
  expect(await run("FULA_KUBO_UNREACHABLE", 2)).toEqual({
    outcome: "stores",
    calls: 3,
    said: ["trying again: It did not answer.", "trying again: It did not answer."],
  });
  expect(await run("FULA_DATABASE_UNREACHABLE", 1, "assess")).toMatchObject({ outcome: "stores", calls: 2 });
});

test("one that goes on not answering ends the run, which says where", async () => {
  const { outcome, calls } = await run("FULA_KUBO_UNREACHABLE", 100);
  expect(outcome).toMatch(/^FULA_KUBO_UNREACHABLE: It did not answer\.\n {2}join failed at the step "stores"/);
  expect(calls).toBe(4);
});

test("what no waiting mends ends the run at once", async () => {
  expect(await run("FULA_STATE_LOST", 1)).toMatchObject({ calls: 1, said: [] });
});
