import { describe, expect, test } from "vitest";
import type { Pin } from "../../../src/lib/recovery/adapters.ts";
import { violationOf } from "../../../src/lib/recovery/budget.ts";
import { collectDeadPins } from "../../../src/lib/recovery/dead-pins.ts";
import { pinName } from "../../../src/lib/recovery/pins.ts";
import { aHandshake, aHistory } from "../../support/recovery-facts.ts";
import { anIo, chunks, EPOCH, RecoveryBench } from "../../support/recovery-fakes.ts";

const NEXT_EPOCH = { number: 2n, uuid: "two" };

// The model that the engine follows has ten defects (docs/recovery-engine.md names them); one test or more for each.
describe("1: real work is done in chunks, and budget and session are looked at after each", () => {
  test.each([
    ["duration_exceeded", { maxDurationMs: 50, maxEntries: 0n, progressDeadlineMs: 0 }],
    ["entries_exceeded", { maxDurationMs: 0, maxEntries: 40n, progressDeadlineMs: 0 }],
    ["progress_stalled", { maxDurationMs: 0, maxEntries: 0n, progressDeadlineMs: 50 }],
  ])("%s stops a catch-up that is under way, and escalates", async (violation, budget) => {
    const bench = new RecoveryBench();
    bench.budget = budget;
    const plan = await bench.catchUpPlan();
    const seen: bigint[] = [];
    const stalls = violation === "progress_stalled";
    const streamWal = chunks(stalls ? [810n, 810n, 810n, 1_000n] : [810n, 850n, 900n, 1_000n], (lsn) => {
      seen.push(lsn);
      bench.clock.step(30);
    });
    const execution = await bench.engine.executeCatchUp(plan, anIo({ streamWal }));
    expect(execution).toMatchObject({ outcome: "needs_rebuild", because: `budget_${violation}` });
    expect(seen).not.toContain(1_000n);
    expect(bench.engine.sender("r")?.state).toBe("needs_rebuild");
    expect(bench.details("exec_escalated")).toEqual([`budget_${violation}`]);
  });

  test("a stream that has reached the target is not read on, whatever it cost", async () => {
    const bench = new RecoveryBench();
    bench.budget = { maxDurationMs: 50, maxEntries: 1n, progressDeadlineMs: 0 };
    const seen: bigint[] = [];
    const streamWal = chunks([1_000n, 1_000n], (lsn) => {
      seen.push(lsn);
      bench.clock.step(60);
    });
    const execution = await bench.engine.executeCatchUp(await bench.catchUpPlan(), anIo({ streamWal }));
    expect([execution.outcome, seen]).toEqual(["in_sync", [1_000n]]);
  });

  test("what goes wrong while a stream is stopped does not hide why it was", async () => {
    const bench = new RecoveryBench();
    bench.budget = { maxDurationMs: 0, maxEntries: 5n, progressDeadlineMs: 0 };
    const streamWal = async function* (): AsyncGenerator<bigint> {
      try {
        yield 810n;
      } finally {
        await Promise.reject(new Error("the receiver does not end"));
      }
    };
    const execution = await bench.engine.executeCatchUp(await bench.catchUpPlan(), anIo({ streamWal }));
    expect(execution).toMatchObject({ outcome: "needs_rebuild", because: "budget_entries_exceeded" });
    expect(bench.released).toEqual(["fm_pin_1_wal: budget_entries_exceeded"]);
  });

  test.each([
    [{ startedAtMs: 0, lastProgressAtMs: 50, entries: 40n }, 100, null],
    [{ startedAtMs: 0, lastProgressAtMs: 51, entries: 40n }, 101, "duration_exceeded"],
    [{ startedAtMs: 0, lastProgressAtMs: 50, entries: 41n }, 100, "entries_exceeded"],
    [{ startedAtMs: 0, lastProgressAtMs: 49, entries: 40n }, 100, "progress_stalled"],
  ])("of a budget that is used up nothing more may be taken: %o at %i is %s", (tracker, nowMs, violation) => {
    expect(violationOf({ maxDurationMs: 100, maxEntries: 40n, progressDeadlineMs: 50 }, tracker, nowMs)).toBe(
      violation,
    );
    expect(violationOf({ maxDurationMs: 0, maxEntries: 0n, progressDeadlineMs: 0 }, tracker, nowMs)).toBeNull();
  });

  test("entries are counted from where the catch-up began, not from zero", async () => {
    const bench = new RecoveryBench();
    bench.budget = { maxDurationMs: 0, maxEntries: 200n, progressDeadlineMs: 0 };
    const execution = await bench.engine.executeCatchUp(await bench.catchUpPlan(), anIo());
    expect(execution.outcome).toBe("in_sync");
  });

  test("an epoch that is raised between two chunks stops a replica that does not listen to its signal", async () => {
    const bench = new RecoveryBench();
    const plan = await bench.catchUpPlan();
    const seen: bigint[] = [];
    const streamWal = chunks([810n, 820n, 1_000n], async (lsn) => {
      seen.push(lsn);
      if (lsn === 820n) await bench.assign({ epoch: NEXT_EPOCH });
    });
    const execution = await bench.engine.executeCatchUp(plan, anIo({ streamWal }));
    expect(execution).toMatchObject({ outcome: "invalidated" });
    expect(seen).toEqual([810n, 820n]);
    expect(bench.details("session_invalidated")).toEqual(["epoch_advanced_1_to_2"]);
    expect(bench.released).toEqual([expect.stringContaining("epoch_advanced_1_to_2")]);
  });

  test("the tail of a rebuild is looked at as a catch-up is", async () => {
    const bench = new RecoveryBench();
    bench.budget = { maxDurationMs: 50, maxEntries: 0n, progressDeadlineMs: 0 };
    const plan = await bench.rebuildPlan();
    const streamWal = chunks([600n, 700n, 1_000n], () => bench.clock.step(30));
    const execution = await bench.engine.executeRebuild(plan, anIo({ streamWal }));
    expect(execution).toMatchObject({ outcome: "needs_rebuild", because: "budget_duration_exceeded" });
    expect(bench.engine.sender("r")?.floor?.rung).toBe("full_base");
  });
});

describe("2: an error lets go of every pin and ends the session", () => {
  test("a stream that fails leaves a session that another one can follow", async () => {
    const bench = new RecoveryBench();
    const plan = await bench.catchUpPlan();
    const streamWal = chunks([810n], () => {
      throw new Error("the replica's disk is full");
    });
    const execution = await bench.engine.executeCatchUp(plan, anIo({ streamWal }));
    expect(execution).toMatchObject({ outcome: "failed", because: "the replica's disk is full" });
    expect(bench.released).toEqual(["fm_pin_1_wal: the replica's disk is full"]);
    expect(bench.engine.open("r", "catchup", bench.newSessionId()).ok).toBe(true);
  });
});

describe("3: a rebuild records what was achieved", () => {
  test("a backup that ends short of where its tail begins is refused, and the rung above is next", async () => {
    const bench = new RecoveryBench();
    const execution = await bench.engine.executeRebuild(
      await bench.rebuildPlan(),
      anIo({ transferSnapshot: async (lsn) => lsn - 1n }),
    );
    expect(execution).toMatchObject({ outcome: "needs_rebuild" });
    expect(bench.details("exec_escalated")[0]).toContain("short_of_source");
    expect(bench.engine.sender("r")).toMatchObject({ state: "needs_rebuild", floor: { rung: "full_base" } });
  });

  test("a full base that is short of what was committed is refused", async () => {
    const bench = new RecoveryBench();
    bench.histories = [aHistory({ checkpointLsn: 0n })];
    const io = anIo({ transferFullBase: async () => 999n });
    const execution = await bench.engine.executeRebuild(await bench.rebuildPlan(), io);
    expect(execution).toMatchObject({ outcome: "needs_rebuild", because: expect.stringContaining("not_converged") });
  });

  test("a full base is recorded as it came, and asks for a second catch-up", async () => {
    const bench = new RecoveryBench();
    bench.histories = [aHistory({ checkpointLsn: 0n })];
    const io = anIo({ transferFullBase: async () => 1_234n });
    const execution = await bench.engine.executeRebuild(await bench.rebuildPlan(), io);
    expect(execution).toEqual({ outcome: "second_catchup_needed", achievedLsn: 1_234n });
    expect(bench.engine.sender("r")).toMatchObject({ state: "degraded", session: { recoveredTo: 1_234n } });
  });
});

describe("4: what is missing is an error with a name", () => {
  test.each(["catchup", "rebuild"] as const)("no history ends a %s session and holds nothing", async (kind) => {
    const bench = new RecoveryBench();
    bench.histories = [null];
    const authority = await bench.session(kind);
    const plan =
      kind === "rebuild"
        ? await bench.engine.planRebuild(authority, bench.edge)
        : await bench.engine.planRecovery(authority, bench.edge);
    expect(plan).toMatchObject({ ok: false, refusal: { code: "history_missing" } });
    expect(bench.engine.liveSessions().size).toBe(0);
  });

  test.each([
    ["no replica", "unknown_replica"],
    ["no session", "no_session"],
    ["no rebuild", "wrong_kind"],
  ])("a rebuild is refused where there is %s", async (what, code) => {
    const bench = new RecoveryBench();
    if (what === "no session") await bench.assign();
    const authority =
      what === "no rebuild" ? await bench.session("catchup") : { replicaId: "r", sessionId: 1n, epoch: EPOCH };
    const plan = await bench.engine.planRebuild(authority, bench.edge);
    expect(plan).toMatchObject({ ok: false, refusal: { code } });
  });
});

describe("5: the history is read again once the pin is held", () => {
  test("a tail that moved in between is noticed, and the pin let go", async () => {
    const bench = new RecoveryBench();
    bench.histories = [aHistory(), aHistory({ tailLsn: 900n })];
    const plan = await bench.engine.planRecovery(await bench.session("catchup"), bench.edge);
    expect(plan).toMatchObject({ ok: true, value: { outcome: "needs_rebuild" } });
    expect(bench.released).toEqual([expect.stringContaining("gap_beyond_retention")]);
  });

  test("the target is what was committed when the pin was held", async () => {
    const bench = new RecoveryBench();
    bench.histories = [aHistory(), aHistory({ headLsn: 2_000n, committedLsn: 1_900n })];
    expect(await bench.catchUpPlan()).toMatchObject({ catchUpStartLsn: 800n, catchUpTarget: 1_900n });
  });

  test("a primary that lost its head in between does not hold what would be needed now", async () => {
    const bench = new RecoveryBench();
    bench.histories = [aHistory(), aHistory({ headLsn: 790n, committedLsn: 700n })];
    const plan = await bench.engine.planRecovery(await bench.session("catchup"), bench.edge);
    expect(plan).toMatchObject({ ok: false, refusal: { code: "history_inconsistent" } });
    expect([...bench.pins]).toEqual([]);
  });

  test("a newer backup that appears in between does not change which one is restored", async () => {
    const bench = new RecoveryBench();
    bench.histories = [aHistory(), aHistory({ checkpointLsn: 600n, checkpointTrusted: false })];
    expect(await bench.rebuildPlan()).toMatchObject({ rebuildSource: "snapshot_tail", rebuildSnapshotLsn: 500n });
  });

  test("a backup that became untrusted while it was being pinned is not restored", async () => {
    const bench = new RecoveryBench();
    bench.histories = [aHistory(), aHistory({ checkpointTrusted: false })];
    const plan = await bench.engine.planRebuild(await bench.session("rebuild"), bench.edge);
    expect(plan.ok).toBe(false);
    expect([...bench.pins]).toEqual([]);
  });
});

describe("6: lineage is decided before positions are compared", () => {
  test("a twin with all positions of the primary has forked", async () => {
    const bench = new RecoveryBench();
    bench.handshake = aHandshake({
      replicaFlushedLsn: 1_000n,
      lineage: { kind: "forked", ancestorLsn: 900n, because: "same_tli_uuid_mismatch" },
    });
    const plan = await bench.engine.planRecovery(await bench.session("catchup"), bench.edge);
    expect(plan).toMatchObject({ ok: true, value: { outcome: "needs_rebuild", rung: "rewind" } });
    expect(bench.engine.sender("r")?.state).toBe("needs_rebuild");
  });
});

describe("7: being beyond the target is being there", () => {
  test("a replica that streams past what is committed lacks nothing", async () => {
    const bench = new RecoveryBench();
    bench.histories = [aHistory({ committedLsn: 700n })];
    const plan = await bench.engine.planRecovery(await bench.session("catchup"), bench.edge);
    expect(plan).toMatchObject({ ok: true, value: { outcome: "zero_gap" } });
    expect(bench.engine.sender("r")?.state).toBe("in_sync");
    expect(bench.details("pin_acquired")).toEqual([]);
  });
});

describe("8: a session's id comes from outside, and only grows", () => {
  test("an id that was used, or is lower than the last, begins nothing", async () => {
    const bench = new RecoveryBench();
    const { sessionId } = await bench.session("catchup");
    bench.engine.abandon({ replicaId: "r", sessionId, epoch: EPOCH }, "done with");
    expect(bench.engine.open("r", "catchup", sessionId)).toMatchObject({ refusal: { code: "session_id_not_growing" } });
    expect(bench.engine.open("r", "catchup", sessionId - 1n).ok).toBe(false);
    expect(bench.engine.open("r", "catchup", sessionId + 1n).ok).toBe(true);
  });
});

describe("9: nothing committed proves nothing", () => {
  test("an empty replica of a primary that knows nothing committed is not in sync", async () => {
    const bench = new RecoveryBench();
    bench.handshake = aHandshake({ replicaFlushedLsn: 0n, recoveryPointLsn: 0n });
    bench.histories = [aHistory({ committedLsn: 0n, tailLsn: 0n })];
    const plan = await bench.engine.planRecovery(await bench.session("catchup"), bench.edge);
    expect(plan).toMatchObject({ ok: true, value: { outcome: "needs_rebuild", rung: "full_base" } });
    expect(plan.ok && plan.value.proof.recoverable).toBe(false);
  });

  test("a base of nothing is not a base", async () => {
    const bench = new RecoveryBench();
    bench.histories = [aHistory({ committedLsn: 0n })];
    const io = anIo({ transferFullBase: async () => 0n });
    const execution = await bench.engine.executeRebuild(await bench.rebuildPlan(), io);
    expect(execution.outcome).toBe("needs_rebuild");
  });
});

describe("10: pins of dead sessions are found by their names", () => {
  test("a process that died leaves pins, and the next one collects just those", async () => {
    const bench = new RecoveryBench();
    const { sessionId } = await bench.session("catchup");
    const held = ["fm_floor", pinName(sessionId, "wal"), pinName(77n, "wal"), pinName(78n, "base")];
    const released: string[] = [];
    const dead = await collectDeadPins(
      async () =>
        held.map((name) => {
          const release = async (): Promise<void> => {
            if (name === pinName(78n, "base")) throw new Error("the primary does not answer");
            released.push(name);
          };
          return { name, release, [Symbol.asyncDispose]: release };
        }),
      async () => bench.engine.liveSessions(),
    );
    expect(released).toEqual([pinName(77n, "wal")]);
    expect(dead).toEqual({
      collected: [pinName(77n, "wal")],
      failed: [{ name: pinName(78n, "base"), because: "the primary does not answer" }],
    });
  });

  test("a session that begins while it is looked is not taken for dead", async () => {
    const pins: Pin[] = [];
    const released: string[] = [];
    const begin = (): void => {
      const release = async (reason: string): Promise<void> => void released.push(reason);
      pins.push({ name: pinName(5n, "wal"), release, [Symbol.asyncDispose]: () => release("disposed") });
    };
    const live = async (): Promise<ReadonlySet<bigint>> => {
      const before = new Set<bigint>();
      begin();
      return before;
    };
    expect(await collectDeadPins(async () => [...pins], live)).toEqual({ collected: [], failed: [] });
    expect(released).toEqual([]);
  });

  test("nothing is collected where the live sessions cannot be asked", async () => {
    const released: string[] = [];
    const release = async (reason: string): Promise<void> => void released.push(reason);
    const pin = { name: pinName(77n, "wal"), release, [Symbol.asyncDispose]: () => release("disposed") };
    const ask = async (): Promise<never> => {
      throw new Error("no quorum");
    };
    await expect(collectDeadPins(async () => [pin], ask)).rejects.toThrow("no quorum");
    expect(released).toEqual([]);
  });
});
