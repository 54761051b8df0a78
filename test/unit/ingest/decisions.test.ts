import { describe, expect, test } from "vitest";
import {
  createDecisions,
  type Decisions,
  digestOfBearer,
  type LocalVerdict,
} from "../../../src/lib/ingest/decisions.ts";
import type { MasterAnswer } from "../../../src/lib/ingest/masters.ts";
import { FulaError } from "../../../src/lib/kernel/errors.ts";
import { ManualClock } from "../../support/manual-clock.ts";

const USER = "ab".repeat(32);
const WALLET = `0x${"cd".repeat(20)}`;
const YES: MasterAnswer = {
  state: "accepted",
  userId: USER,
  leftBytes: 100,
  credentialExpiresMs: null,
  leasedUntilMs: null,
};

class Scene {
  readonly clock = new ManualClock();
  readonly asked: string[] = [];
  answer: MasterAnswer | null = YES;
  local: LocalVerdict = { state: "unknown" };
  /** What answers wait for. */
  held: Promise<void> = Promise.resolve();
  waitMs: number | null = null;
  readonly decisions: Decisions;

  constructor(mode: "strict" | "open") {
    this.decisions = createDecisions({
      masters: {
        ask: async (bearer) => {
          this.asked.push(bearer);
          await this.held;
          if (this.answer !== null) return this.answer;
          throw new FulaError("FULA_INGEST_MASTERS_SILENT", "No master.");
        },
      },
      verifyLocally: () => this.local,
      pace: () => this.waitMs,
      node: "n-1",
      mode,
      clock: this.clock,
      memoryMs: 3_600_000,
    });
  }

  async status(bearer = "t"): Promise<unknown> {
    return await this.decisions.decide(bearer, "203.0.113.1").then(
      ({ countedAs }) => countedAs,
      (error: unknown) => (error instanceof Error && "status" in error ? error.status : error),
    );
  }
}

describe("an answer of a master", () => {
  test("that lets in counts for ten seconds, and one that refuses for five", async () => {
    const scene = new Scene("strict");
    for (const [ms, asked] of [
      [0, 1],
      [9_999, 1],
      [1, 2],
    ] as const) {
      await scene.clock.step(ms);
      expect([await scene.status(), scene.asked.length]).toEqual([USER, asked]);
    }
    scene.answer = { state: "refused", status: 401, because: "revoked" };
    await scene.clock.step(10_000);
    for (const [ms, asked] of [
      [0, 3],
      [4_999, 3],
      [1, 4],
    ] as const) {
      await scene.clock.step(ms);
      expect([await scene.status(), scene.asked.length]).toEqual([401, asked]);
    }
  });

  test("counts from when it was asked, however late it comes, and is overtaken by that to a later question", async () => {
    const scene = new Scene("strict");
    const late = Promise.withResolvers<void>();
    scene.held = late.promise;
    const first = scene.status();
    await scene.clock.step(4_000);
    late.resolve();
    expect(await first).toBe(USER);
    await scene.clock.step(5_999);
    expect([await scene.status(), scene.asked.length]).toEqual([USER, 1]);
    await scene.clock.step(1);
    expect([await scene.status(), scene.asked.length]).toEqual([USER, 2]);
    const gone = { state: "refused", status: 401, because: "revoked" } as const;
    scene.decisions.learned(digestOfBearer("t"), gone, scene.clock.monotonicMs() - 1);
    expect(await scene.status()).toBe(USER);
    scene.decisions.learned(digestOfBearer("t"), gone, scene.clock.monotonicMs());
    expect(await scene.status()).toBe(401);
  });

  test("is one for all who ask at the same moment, and belongs to its credential alone", async () => {
    const scene = new Scene("strict");
    expect(await Promise.all([scene.status(), scene.status(), scene.status("other")])).toEqual([USER, USER, USER]);
    expect(scene.asked).toEqual(["t", "other"]);
  });

  test("does not outlive the credential", async () => {
    const scene = new Scene("strict");
    scene.answer = { ...YES, credentialExpiresMs: scene.clock.nowMs() + 2_000 };
    expect(await scene.status()).toBe(USER);
    await scene.clock.step(2_000);
    expect([await scene.status(), scene.asked.length]).toEqual([401, 1]);
  });

  test("about a lease is one about the client as well", async () => {
    const scene = new Scene("strict");
    await scene.status();
    const full = { state: "refused", status: 402, because: "full" } as const;
    scene.decisions.learned(digestOfBearer("t"), full, scene.clock.monotonicMs());
    expect([await scene.status(), scene.asked.length]).toEqual([402, 1]);
  });
});

test("what this node can refuse by itself costs no question", async () => {
  const scene = new Scene("open");
  scene.local = { state: "refused", because: "it has expired" };
  expect([await scene.status(), scene.asked]).toEqual([401, []]);
});

test("an address that brings too many unknown credentials is put off, and one that is known gets in beside it", async () => {
  const scene = new Scene("strict");
  expect(await scene.status("known")).toBe(USER);
  scene.waitMs = 1_500;
  await expect(scene.decisions.decide("new", "203.0.113.1")).rejects.toMatchObject({
    status: 429,
    retryAfterSeconds: 2,
  });
  expect(await scene.status("known")).toBe(USER);
});

describe("while no master answers", () => {
  const verified: LocalVerdict = { state: "accepted", identity: WALLET };

  test.each([
    ["strict", "nobody knows it", { state: "unknown" }, null, 503],
    ["strict", "its signature is good", verified, null, 503],
    ["strict", "a master knew it", { state: "unknown" }, YES, 503],
    ["open", "nobody knows it", { state: "unknown" }, null, 503],
    ["open", "its signature is good", verified, null, WALLET],
    ["open", "a master knew it", { state: "unknown" }, YES, USER],
    ["open", "a master refused it", verified, { state: "refused", status: 401, because: "revoked" }, 401],
    ["open", "a master knew it, and it has ended", verified, { ...YES, credentialExpiresMs: 1 }, 401],
  ] as const)("%s, where %s", async (mode, _, local, before, expected) => {
    const scene = new Scene(mode);
    scene.local = local;
    if (before !== null) scene.decisions.learned(digestOfBearer("t"), before, scene.clock.monotonicMs());
    await scene.clock.step(20_000);
    scene.answer = null;
    expect(await scene.status()).toBe(expected);
  });

  test("what a master said is not remembered for ever", async () => {
    const scene = new Scene("open");
    await scene.status();
    scene.answer = null;
    await scene.clock.step(3_599_999);
    expect(await scene.status()).toBe(USER);
    await scene.clock.step(1);
    expect(await scene.status()).toBe(503);
  });
});
