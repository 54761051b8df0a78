import { describe, expect, test } from "vitest";
import { retry } from "../../../src/lib/kernel/retry.ts";
import { FakeClock } from "../../support/clock.ts";

describe("retry", () => {
  test("goes on until it succeeds, with the given pauses between", async () => {
    const clock = new FakeClock();
    const result = await retry(
      async (attempt) => {
        if (attempt < 2) throw new Error(`attempt ${attempt}`);
        return attempt;
      },
      { delaysMs: [100, 200, 400], clock },
    );
    expect(result).toBe(2);
    expect(clock.sleptMs).toEqual([100, 200]);
  });

  test("gives the last error when the pauses are used up, after one attempt more than there are pauses", async () => {
    const clock = new FakeClock();
    let attempts = 0;
    const run = retry(
      async () => {
        attempts += 1;
        throw new Error(`attempt ${attempts}`);
      },
      { delaysMs: [1, 1], clock },
    );
    await expect(run).rejects.toThrow("attempt 3");
    expect(attempts).toBe(3);
  });

  test("an error that trying again cannot mend ends it at once", async () => {
    const clock = new FakeClock();
    const run = retry(() => Promise.reject(new Error("denied")), { delaysMs: [1, 1], clock, shouldRetry: () => false });
    await expect(run).rejects.toThrow("denied");
    expect(clock.sleptMs).toEqual([]);
  });

  test("an aborted signal stops it before the next attempt, with the signal's reason", async () => {
    const controller = new AbortController();
    const clock = new FakeClock();
    let attempts = 0;
    const run = retry(
      async () => {
        attempts += 1;
        controller.abort(new Error("stopped"));
        throw new Error("failed");
      },
      { delaysMs: [1, 1], clock, signal: controller.signal },
    );
    await expect(run).rejects.toThrow("stopped");
    expect(attempts).toBe(1);
  });
});
