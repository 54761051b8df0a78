import { describe, expect, test } from "vitest";
import { retry, retryUntil } from "../../../src/lib/kernel/retry.ts";
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

describe("retryUntil", () => {
  test("goes on until it succeeds, and tells of each failure before the pause", async () => {
    const clock = new FakeClock();
    const told: string[] = [];
    const result = await retryUntil(
      async (attempt) => {
        if (attempt < 2) throw new Error(`attempt ${attempt}`);
        return attempt;
      },
      { clock, pauseMs: 100, shouldRetry: () => true, onRetry: (error) => void told.push(String(error)) },
    );
    expect(result).toBe(2);
    expect(told).toEqual(["Error: attempt 0", "Error: attempt 1"]);
    expect(clock.sleptMs).toEqual([100, 100]);
  });

  test("what fails at the deadline or after it is not tried again", async () => {
    const clock = new FakeClock();
    const deadlineMs = clock.monotonicMs() + 200;
    const fail = async (attempt: number): Promise<never> => await Promise.reject(new Error(`attempt ${attempt}`));
    const run = retryUntil(fail, { clock, pauseMs: 100, deadlineMs, shouldRetry: () => true });
    await expect(run).rejects.toThrow("attempt 2");
  });

  test("an error that time does not mend ends it at once, also where an abort has come before it", async () => {
    const clock = new FakeClock();
    const fail = async (): Promise<never> => await Promise.reject(new Error("denied"));
    const signal = AbortSignal.abort(new Error("stopped"));
    const run = retryUntil(fail, { clock, signal, pauseMs: 1, shouldRetry: () => false });
    await expect(run).rejects.toThrow("denied");
    expect(clock.sleptMs).toEqual([]);
  });

  test("after an abort the first attempt is made, and none after it", async () => {
    const clock = new FakeClock();
    const signal = AbortSignal.abort(new Error("stopped"));
    const options = { clock, signal, pauseMs: 1, shouldRetry: () => true };
    await expect(retryUntil(async () => await Promise.resolve("cleaned up"), options)).resolves.toBe("cleaned up");
    let attempts = 0;
    const fail = async (): Promise<never> => {
      attempts += 1;
      return await Promise.reject(new Error("busy"));
    };
    await expect(retryUntil(fail, options)).rejects.toThrow("stopped");
    expect(attempts).toBe(1);
  });
});
