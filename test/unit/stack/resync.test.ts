import { expect, test } from "vitest";
import type { CatchUpIO, RebuildIO } from "../../../src/lib/recovery/adapters.ts";
import { RUNGS } from "../../../src/lib/recovery/types.ts";
import type { ResyncPlan } from "../../../src/lib/stack/resync-plan.ts";
import { Retreat } from "../../../src/lib/stack/resync-retreat.ts";
import { assertAllowed, parseAllowed, withAllowed } from "../../../src/lib/stack/resync-rungs.ts";
import { renderPlan, renderResync } from "../../../src/lib/stack/resync-text.ts";

const PLAN: ResyncPlan = {
  node: "one",
  primary: "two",
  epoch: { number: 2, uuid: "6f1a0f0e-6d3f-4a57-8a53-3f6a7a3f9b11" },
  rung: "rewind",
  lineage: "forked",
  proof: {
    code: "forked_before_recovery_point",
    reason: "forked_before_recovery_point: fork at 0/3000000",
    recoverable: true,
    replicaFlushedLsn: "0/5000000",
    committedLsn: "0/4000000",
    tailLsn: "0/1000000",
    headLsn: "0/4000000",
    segmentsNeeded: 4,
    segmentsFound: 4,
    source: "mixed",
  },
  refused: [{ rung: "catchup", because: "it has history of its own" }],
  startLsn: "0/2000000",
  targetLsn: "0/4000000",
  tail: { timeline: 1, forkLsn: "0/3000000", endLsn: "0/5000000" },
};

test("everything is allowed where nothing is named, and nothing that is not named", () => {
  for (const rung of RUNGS) expect(() => assertAllowed(rung, parseAllowed(undefined))).not.toThrow();
  const allowed = parseAllowed("truncate,rewind");
  expect(RUNGS.filter((rung) => isAllowed(rung, allowed))).toEqual([
    "zero_gap",
    "catchup",
    "truncate_only",
    "rewind",
    "halt",
  ]);
  expect(() => parseAllowed("rewind,everything")).toThrow(/"everything"/);
  expect(() => parseAllowed("")).toThrow(/--allow/);
});

function isAllowed(rung: (typeof RUNGS)[number], allowed: ReturnType<typeof parseAllowed>): boolean {
  try {
    assertAllowed(rung, allowed);
    return true;
  } catch {
    return false;
  }
}

test("a way that is not allowed, or not meant, ends the session before anything is done", async () => {
  const done: string[] = [];
  const io: CatchUpIO & RebuildIO = {
    // oxlint-disable-next-line require-yield -- nothing is streamed
    streamWal: async function* () {
      await Promise.resolve();
    },
    truncate: async () => {
      await Promise.resolve(done.push("truncate"));
    },
    rewind: async () => await Promise.resolve(BigInt(done.push("rewind"))),
    transferSnapshot: async () => await Promise.resolve(BigInt(done.push("snapshot"))),
    transferFullBase: async () => await Promise.resolve(BigInt(done.push("base"))),
  };
  const stops: unknown[] = [];
  const asked: string[] = [];
  const ask = async (rung: string): Promise<void> => {
    asked.push(rung);
    if (rung === "rewind") throw new Error("it is not meant");
    await Promise.resolve();
  };
  const stop = (error: unknown): void => {
    stops.push(error);
  };
  const guarded = withAllowed(io, { allowed: parseAllowed("truncate"), ask, stop });
  const { signal } = new AbortController();
  await guarded.truncate(1n, signal);
  await expect(guarded.rewind(1n, signal)).rejects.toMatchObject({ code: "FULA_RESYNC_REFUSED" });
  await expect(guarded.transferFullBase(1n, signal)).rejects.toMatchObject({ code: "FULA_RESYNC_REFUSED" });
  expect([done, stops.length, asked]).toEqual([["truncate"], 2, ["truncate_only"]]);
  const asking = withAllowed(io, { allowed: parseAllowed(undefined), ask, stop });
  await expect(asking.rewind(1n, signal)).rejects.toThrow("it is not meant");
  expect([done, stops.length]).toEqual([["truncate"], 3]);
});

test("what cannot be held is given up once, and counts as not there from then on", async () => {
  const retreat = new Retreat();
  const history = { headLsn: 9n, tailLsn: 1n, committedLsn: 9n, checkpointLsn: 5n, checkpointTrusted: true };
  const pins = {
    pinWal: async () => await Promise.reject(new Error("no")),
    pinSnapshot: async () => await Promise.reject(new Error("no")),
    pinFullBase: async () => await Promise.reject(new Error("no")),
  };
  const storage = retreat.storage({ getRetainedHistory: async () => await Promise.resolve(history), ...pins });
  expect(await storage.getRetainedHistory()).toEqual(history);
  expect(retreat.note("pin_failed: wal_pin_failed_during_rebuild: no slot reaches back")).toBe(true);
  expect(retreat.note("pin_failed: wal_pin_failed_during_rebuild: no slot reaches back")).toBe(false);
  expect(retreat.note("cancelled")).toBe(false);
  expect(await storage.getRetainedHistory()).toMatchObject({ checkpointLsn: 0n, checkpointTrusted: false });
  const seen = await retreat
    .probe({
      handshake: async () =>
        await Promise.resolve({
          replicaFlushedLsn: 5n,
          recoveryPointLsn: 5n,
          lineage: { kind: "on_lineage" },
          rewind: { possible: true, fromLsn: 2n },
          isSlotLost: false,
        }),
    })
    .handshake(new AbortController().signal);
  expect(seen).toMatchObject({ rewind: { possible: false }, isSlotLost: false });
});

test("a plan says what is done, and explained, every position and every cheaper way", () => {
  expect(renderPlan(PLAN, false)).toBe(
    "one comes back to two (epoch 2) by rewind: what it alone has is kept and then taken back (pg_rewind), and it streams.",
  );
  const explained = renderPlan(PLAN, true);
  for (const said of ["0/5000000", "0/3000000", "timeline 1", "0/2000000", "catchup", "it has history of its own"]) {
    expect(explained).toContain(said);
  }
});

test("a dry run says what is put right first, and names the way as the dearest that can come of it", () => {
  const planned = { outcome: "planned", plan: PLAN, rungs: [], keptOldData: [], durationMs: 0, events: [] } as const;
  expect(renderResync({ ...planned, settles: null }, false)).toMatch(/^one comes back/);
  for (const settles of ["truncation", "exchange"] as const) {
    const text = renderResync({ ...planned, settles }, false);
    expect(text).toMatch(/^First: /);
    expect(text).toContain("at the dearest: one comes back to two (epoch 2) by rewind");
  }
});

test("a report says by which ways, where the tail is, and what was left", () => {
  const text = renderResync(
    {
      outcome: "in_sync",
      plan: PLAN,
      settles: null,
      rungs: ["rewind", "full_base"],
      keptOldData: ["data.old.7"],
      durationMs: 4_200,
      events: [],
    },
    false,
  );
  expect(text).toContain("by rewind, then full_base");
  expect(text).toContain("salvage/2");
  expect(text).toContain("(data.old.7)");
});
