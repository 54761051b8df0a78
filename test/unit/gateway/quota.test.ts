import { describe, expect, test } from "vitest";
import { type Allowance, createQuota, cutAt, type Quota } from "../../../src/lib/gateway/quota.ts";
import { S3Error } from "../../../src/lib/gateway/s3-error.ts";
import { silentLog } from "../../../src/lib/kernel/log.ts";
import { ManualClock } from "../../support/manual-clock.ts";

/** Accounts that count how often they are asked. */
function accounts(
  answer: () => Promise<Allowance>,
  mode: "strict" | "open" = "strict",
): { readonly quota: Quota; readonly clock: ManualClock; readonly asked: () => number } {
  const clock = new ManualClock();
  let asked = 0;
  const readAllowance = async (): Promise<Allowance> => {
    asked += 1;
    return await answer();
  };
  return { quota: createQuota({ readAllowance, mode, clock, log: silentLog }), clock, asked: () => asked };
}

async function outcome(admitted: Promise<number | null>): Promise<number | string | null> {
  return await admitted.catch((error: unknown) => {
    if (error instanceof S3Error) return error.code;
    throw error;
  });
}

describe("an account", () => {
  test.each([
    ["without limit", { mayStore: true, leftBytes: null }, 10, null],
    ["with room", { mayStore: true, leftBytes: 10n }, 10, 10],
    ["with too little room", { mayStore: true, leftBytes: 10n }, 11, "AccountProblem"],
    ["with room, asked for a body of unknown length", { mayStore: true, leftBytes: 10n }, null, 10],
    ["that is suspended", { mayStore: false, leftBytes: null }, 0, "AccountProblem"],
  ] as const)("%s", async (_what, allowance, size, expected) => {
    const { quota } = accounts(async () => allowance);
    expect(await outcome(quota.admit("u", size))).toBe(expected);
  });

  test("is asked once in five seconds, and what was admitted meanwhile is taken off", async () => {
    const { quota, clock, asked } = accounts(async () => ({ mayStore: true, leftBytes: 10n }));
    expect(await Promise.all([quota.admit("u", 4), quota.admit("u", 4)])).toEqual([10, 6]);
    expect(await outcome(quota.admit("u", 4))).toBe("AccountProblem");
    expect(asked()).toBe(1);
    await clock.step(5_000);
    expect(await quota.admit("u", 4)).toBe(10);
    expect(asked()).toBe(2);
  });

  test("that was refused is asked again after a second", async () => {
    const { quota, clock, asked } = accounts(async () => ({ mayStore: false, leftBytes: 0n }));
    expect(await outcome(quota.admit("u", 4))).toBe("AccountProblem");
    expect(await outcome(quota.admit("u", 4))).toBe("AccountProblem");
    expect(asked()).toBe(1);
    await clock.step(1_000);
    expect(await outcome(quota.admit("u", 4))).toBe("AccountProblem");
    expect(asked()).toBe(2);
  });
});

describe("an account that cannot be asked", () => {
  test.each([
    ["strict", "ServiceUnavailable"],
    ["open", null],
  ] as const)("stores by %s: %s, and is asked again the next time", async (mode, expected) => {
    const { quota, asked } = accounts(async () => {
      throw new Error("the ledger is down");
    }, mode);
    expect(await outcome(quota.admit("u", 1))).toBe(expected);
    expect(await outcome(quota.admit("u", 1))).toBe(expected);
    expect(asked()).toBe(2);
  });

  test("is not waited for without end", async () => {
    const { quota, clock } = accounts(async () => await new Promise(() => {}));
    const admitted = outcome(quota.admit("u", 1));
    await clock.step(0);
    await clock.step(5_000);
    expect(await admitted).toBe("ServiceUnavailable");
  });
});

test("a body of unknown length is cut off where it passes what is left", async () => {
  const body = async function* (): AsyncGenerator<Uint8Array> {
    yield Buffer.alloc(6);
    yield Buffer.alloc(5);
    throw new Error("read on");
  };
  let taken = 0;
  const reading = (async () => {
    for await (const piece of cutAt(body(), 10)) taken += piece.byteLength;
  })();
  await expect(reading).rejects.toMatchObject({ code: "AccountProblem" });
  expect(taken).toBe(6);
});
