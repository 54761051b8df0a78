import { getEventListeners } from "node:events";
import { describe, expect, test } from "vitest";
import { followAssignments } from "../../../src/lib/recovery/assignments.ts";
import { recoverReplica } from "../../../src/lib/recovery/recover.ts";
import type { AssignmentIntent, AssignmentResult, RetainedHistory } from "../../../src/lib/recovery/types.ts";
import { aHandshake, aHistory } from "../../support/recovery-facts.ts";
import { anIo, chunks, EPOCH, RecoveryBench } from "../../support/recovery-fakes.ts";

const AHEAD = aHandshake({ lineage: { kind: "ahead", forkLsn: 750n } });
const FORKED = aHandshake({
  lineage: { kind: "forked", ancestorLsn: 650n, because: "forked_before_recovery_point" },
});

async function failing(name: string): Promise<never> {
  throw new Error(`${name} cannot be held`);
}

/** Raises the epoch after so many turns of others. */
async function endAfter(turns: number, bench: RecoveryBench): Promise<void> {
  for (let turn = 0; turn < turns; turn += 1) await Promise.resolve();
  await bench.assign({ epoch: { number: 2n, uuid: "two" } });
}

describe("what is needed is held before work begins", () => {
  test("a catch-up holds WAL from the replica's own position", async () => {
    const bench = new RecoveryBench();
    const plan = await bench.catchUpPlan();
    expect(plan).toMatchObject({ rung: "catchup", catchUpStartLsn: 800n, catchUpTarget: 1_000n, truncateLsn: null });
    expect([...bench.pins]).toEqual(["fm_pin_1_wal"]);
  });

  test("a truncation with nothing to replay holds no pin", async () => {
    const bench = new RecoveryBench();
    bench.handshake = aHandshake({ replicaFlushedLsn: 1_010n });
    expect(await bench.catchUpPlan()).toMatchObject({ rung: "truncate_only", truncateLsn: 1_000n });
    expect(bench.pins.size).toBe(0);
  });

  test("a truncation to beyond what is committed ends where it truncates to", async () => {
    const bench = new RecoveryBench();
    bench.handshake = AHEAD;
    bench.histories = [aHistory({ committedLsn: 700n })];
    expect(await bench.catchUpPlan()).toMatchObject({ truncateLsn: 750n, catchUpStartLsn: 750n, catchUpTarget: 750n });
    expect(bench.pins.size).toBe(0);
  });

  test("a truncation that a new timeline follows holds WAL from the fork on", async () => {
    const bench = new RecoveryBench();
    bench.handshake = AHEAD;
    expect(await bench.catchUpPlan()).toMatchObject({
      rung: "truncate_only",
      truncateLsn: 750n,
      catchUpTarget: 1_000n,
    });
    expect([...bench.pins]).toEqual(["fm_pin_1_wal"]);
  });

  test("a rebuild from a backup holds the backup, and then the WAL after it", async () => {
    const bench = new RecoveryBench();
    expect(await bench.rebuildPlan()).toMatchObject({ rebuildSource: "snapshot_tail", rebuildSnapshotLsn: 500n });
    expect(bench.details("pin_acquired")).toEqual(["fm_pin_1_snapshot", "fm_pin_1_wal"]);
  });

  test("a plan keeps its values when the history changes, and cannot be changed itself", async () => {
    const bench = new RecoveryBench();
    const plan = await bench.catchUpPlan();
    bench.histories = [aHistory({ headLsn: 5_000n, committedLsn: 5_000n })];
    const execution = await bench.engine.executeCatchUp(plan, anIo());
    expect(execution).toEqual({ outcome: "in_sync", achievedLsn: 1_000n });
    expect(() => Object.assign(plan, { catchUpTarget: 9_999n })).toThrow(TypeError);
  });

  test.each([
    ["wal", "catchup", "wal_pin_failed", "disconnected"],
    ["snapshot", "rebuild", "snapshot_pin_failed", "needs_rebuild"],
    ["wal", "rebuild", "wal_pin_failed_during_rebuild", "needs_rebuild"],
    ["base", "rebuild", "full_base_pin_failed", "needs_rebuild"],
  ] as const)("a %s pin of a %s that fails is %s, and leaves it %s", async (pin, kind, reason, state) => {
    const bench = new RecoveryBench();
    bench.onPin = async (name) => (name.endsWith(pin) ? failing(name) : undefined);
    if (pin === "base") bench.histories = [aHistory({ checkpointLsn: 0n })];
    const authority = await bench.session(kind);
    const plan = await (kind === "rebuild"
      ? bench.engine.planRebuild(authority, bench.edge)
      : bench.engine.planRecovery(authority, bench.edge));
    expect(plan).toMatchObject({ ok: false, refusal: { code: "pin_failed" } });
    expect(bench.details("session_invalidated")).toEqual([reason]);
    expect(bench.engine.sender("r")?.state).toBe(state);
    expect(bench.pins.size).toBe(0);
    expect(bench.details("exec_resources_released")).toEqual(
      reason === "wal_pin_failed_during_rebuild" ? [reason] : [],
    );
  });

  test("a pin that arrives after the epoch was raised is let go, with the cause", async () => {
    const bench = new RecoveryBench();
    bench.onPin = () => bench.assign({ epoch: { number: 2n, uuid: "two" } });
    const plan = await bench.engine.planRecovery(await bench.session("catchup"), bench.edge);
    expect(plan).toMatchObject({ ok: false, refusal: { code: "inactive_session" } });
    expect(bench.released).toEqual([expect.stringContaining("epoch_advanced_1_to_2")]);
  });

  test.each(["catchup", "rebuild"] as const)(
    "a %s whose session ends between two steps of its planning, whichever they are, leaves nothing held",
    async (kind) => {
      for (let turns = 0; turns < 16; turns += 1) {
        const bench = new RecoveryBench();
        const authority = await bench.session(kind);
        const ended = Promise.withResolvers<void>();
        let asked = 0;
        const getRetainedHistory = async (): Promise<RetainedHistory> => {
          asked += 1;
          if (asked === 2) ended.resolve(endAfter(turns, bench));
          return aHistory();
        };
        const edge = { ...bench.edge, storage: { ...bench.storage, getRetainedHistory } };
        await (kind === "rebuild"
          ? bench.engine.planRebuild(authority, edge)
          : bench.engine.planRecovery(authority, edge));
        await ended.promise;
        expect([...bench.pins], `after ${turns} turns`).toEqual([]);
      }
    },
  );

  test("a plan that nobody carries out any more is let go when its session ends", async () => {
    const bench = new RecoveryBench();
    const plan = await bench.catchUpPlan();
    await bench.assign({ port: 5_433 });
    expect(bench.pins.size).toBe(0);
    expect(bench.details("session_invalidated")).toEqual(["endpoint_changed"]);
    const execution = await bench.engine.executeCatchUp(plan, anIo());
    expect(execution).toMatchObject({ outcome: "refused", refusal: { code: "plan_used" } });
  });
});

describe("letting go", () => {
  test("a cancelled plan ends its own session alone, and once", async () => {
    const bench = new RecoveryBench();
    const plan = await bench.catchUpPlan();
    await bench.engine.cancelPlan(plan, "not today");
    await bench.engine.cancelPlan(plan, "again");
    expect(bench.details("plan_cancelled")).toEqual(["not today"]);
    expect(bench.released).toEqual(["fm_pin_1_wal: plan_cancelled: not today"]);
    expect(bench.engine.liveSessions().size).toBe(0);
    await bench.engine.cancelPlan(await bench.rebuildPlan(), "nor that");
    expect(bench.engine.sender("r")).toMatchObject({ state: "needs_rebuild", floor: null });
  });

  test("a caller that gives up ends the session, and the replica is told", async () => {
    const bench = new RecoveryBench();
    const plan = await bench.catchUpPlan();
    const cancel = new AbortController();
    const streamWal = chunks([810n, 820n], () => cancel.abort());
    const execution = await bench.engine.executeCatchUp(plan, anIo({ streamWal }), cancel.signal);
    expect(execution).toMatchObject({ outcome: "invalidated", because: expect.stringContaining("cancelled") });
    expect(bench.released).toHaveLength(1);
  });

  test("a caller that gave up before ends the session at once, and one that has its answer is not listened to", async () => {
    const bench = new RecoveryBench();
    const given = AbortSignal.abort(new Error("no"));
    const refused = await bench.engine.planRecovery(await bench.session("catchup"), { ...bench.edge, cancel: given });
    expect(refused).toMatchObject({ ok: false, refusal: { code: "inactive_session" } });
    const late = await bench.engine.executeCatchUp(await bench.catchUpPlan(), anIo(), given);
    expect(late).toMatchObject({ outcome: "invalidated" });
    expect(bench.pins.size).toBe(0);
    const cancel = new AbortController();
    const edge = { ...bench.edge, cancel: cancel.signal };
    const plan = await bench.engine.planRecovery(await bench.session("catchup"), edge);
    if (!plan.ok || plan.value.outcome !== "catchup") throw new Error("No plan");
    await bench.engine.executeCatchUp(plan.value, anIo(), cancel.signal);
    expect(getEventListeners(cancel.signal, "abort")).toEqual([]);
  });

  test("a pin that cannot be released does not keep the others, and is named", async () => {
    const bench = new RecoveryBench();
    const storage = {
      ...bench.storage,
      pinSnapshot: async (lsn: bigint, id: bigint) => ({
        ...(await bench.storage.pinSnapshot(lsn, id)),
        release: () => failing("the snapshot"),
      }),
    };
    const authority = await bench.session("rebuild");
    const plan = await bench.engine.planRebuild(authority, { ...bench.edge, storage });
    if (!plan.ok || plan.value.outcome !== "rebuild") throw new Error("No plan");
    expect((await bench.engine.executeRebuild(plan.value, anIo())).outcome).toBe("in_sync");
    expect([...bench.pins]).toEqual(["fm_pin_1_snapshot"]);
    expect(bench.details("pin_release_failed")).toEqual(["fm_pin_1_snapshot: the snapshot cannot be held"]);
    expect(bench.details("exec_resources_released")).toEqual(["completed"]);
  });

  test("nobody plans for a replica on which an ended session still works", async () => {
    const bench = new RecoveryBench();
    const plan = await bench.catchUpPlan();
    const gate = Promise.withResolvers<void>();
    const streamWal = chunks([810n], () => gate.promise);
    const execution = bench.engine.executeCatchUp(plan, anIo({ streamWal }));
    const next = await bench.session("rebuild");
    const early = await bench.engine.planRebuild(next, bench.edge);
    expect(early).toMatchObject({ ok: false, refusal: { code: "replica_busy" } });
    gate.resolve();
    await bench.engine.whenFree("r");
    expect((await execution).outcome).toBe("invalidated");
    expect((await bench.engine.planRebuild(next, bench.edge)).ok).toBe(true);
  });
});

describe("truncation", () => {
  test("is done before anything is streamed, and just to the planned position", async () => {
    const bench = new RecoveryBench();
    bench.handshake = AHEAD;
    const calls: string[] = [];
    const io = anIo({
      truncate: async (lsn) => void calls.push(`truncate to ${lsn}`),
      streamWal: chunks([1_000n], () => void calls.push("stream")),
    });
    expect((await bench.engine.executeCatchUp(await bench.catchUpPlan(), io)).outcome).toBe("in_sync");
    expect(calls).toEqual(["truncate to 750", "stream"]);
  });

  test("that is not certain is never tried again: the next rung is a rewind", async () => {
    const bench = new RecoveryBench();
    bench.handshake = AHEAD;
    const io = anIo({ truncate: () => failing("the segment") });
    const execution = await bench.engine.executeCatchUp(await bench.catchUpPlan(), io);
    expect(execution).toMatchObject({
      outcome: "needs_rebuild",
      because: expect.stringContaining("truncation_unsafe"),
    });
    const again = await bench.engine.planRecovery(await bench.session("catchup"), bench.edge);
    expect(again).toMatchObject({ value: { outcome: "needs_rebuild", rung: "rewind" } });
  });

  test("that fails because its session has ended is that session's end, and no failure of the rung", async () => {
    const bench = new RecoveryBench();
    bench.handshake = AHEAD;
    const plan = await bench.catchUpPlan();
    const truncate = async (): Promise<never> => {
      await bench.assign({ epoch: { number: 2n, uuid: "two" } });
      return failing("the segment");
    };
    const execution = await bench.engine.executeCatchUp(plan, anIo({ truncate }));
    expect(execution).toMatchObject({
      outcome: "invalidated",
      because: expect.stringContaining("epoch_advanced_1_to_2"),
    });
    expect(bench.details("exec_escalated")).toEqual([]);
    expect(bench.engine.sender("r")).toMatchObject({ state: "needs_rebuild", floor: { rung: "rewind" } });
  });
});

describe("bringing a replica back", () => {
  test("goes up the ladder one rung after another, and catches up after a full base", async () => {
    const bench = new RecoveryBench();
    await bench.assign();
    bench.handshake = FORKED;
    const io = anIo({
      rewind: () => failing("the rewind"),
      transferSnapshot: () => failing("the backup"),
      transferFullBase: async () => {
        bench.handshake = aHandshake({ replicaFlushedLsn: 900n });
        return 1_000n;
      },
    });
    const sessions = { newSessionIds: async () => [bench.newSessionId()] };
    const recovery = await recoverReplica(bench.engine, "r", { ...bench.edge, io, sessions });
    expect(recovery).toMatchObject({ outcome: "in_sync", rungs: ["rewind", "snapshot_tail", "full_base", "catchup"] });
    expect(bench.details("exec_escalated")).toEqual([
      "the rewind cannot be held: next is snapshot_tail",
      "the backup cannot be held: next is full_base",
    ]);
    expect(bench.details("rung_refused")).toContain("rewind: below_floor: rewind: the rewind cannot be held");
    expect(bench.engine.status()).toMatchObject({ inSync: 1, rebuilding: 0 });
    expect(bench.pins.size).toBe(0);
  });

  test("waits for an operator where the arbiter was set back", async () => {
    const bench = new RecoveryBench();
    await bench.assign();
    bench.handshake = aHandshake({ lineage: { kind: "epoch_above_arbiter", epoch: { number: 9n, uuid: "nine" } } });
    const sessions = { newSessionIds: async () => [bench.newSessionId()] };
    const recovery = await recoverReplica(bench.engine, "r", { ...bench.edge, io: anIo(), sessions });
    expect(recovery).toMatchObject({ outcome: "halted", rungs: ["halt"] });
  });

  test("is rebuilt where streaming costs more than it may", async () => {
    const bench = new RecoveryBench();
    await bench.assign();
    bench.budget = { maxDurationMs: 0, maxEntries: 50n, progressDeadlineMs: 0 };
    const slowly = chunks([900n, 1_000n]);
    const io = anIo({
      streamWal: (start, end, signal) =>
        start === 800n ? slowly(start, end, signal) : chunks([end])(start, end, signal),
    });
    const sessions = { newSessionIds: async () => [bench.newSessionId()] };
    const recovery = await recoverReplica(bench.engine, "r", { ...bench.edge, io, sessions });
    expect(recovery).toMatchObject({ outcome: "in_sync", rungs: ["catchup", "snapshot_tail"] });
  });

  test("ends where nothing that is done helps", async () => {
    const bench = new RecoveryBench();
    await bench.assign();
    bench.histories = [aHistory({ checkpointLsn: 0n })];
    bench.handshake = aHandshake({ lineage: { kind: "lost", because: "empty" } });
    const sessions = { newSessionIds: async () => [bench.newSessionId()] };
    const recovery = await recoverReplica(bench.engine, "r", { ...bench.edge, io: anIo(), sessions });
    expect(recovery).toMatchObject({ outcome: "stopped", because: "not back after 12 sessions" });
    expect([...bench.pins]).toEqual([]);
  });

  test("waits for whoever still has the replica in hand", async () => {
    const bench = new RecoveryBench();
    const gate = Promise.withResolvers<void>();
    const ended = bench.engine.executeCatchUp(
      await bench.catchUpPlan(),
      anIo({ streamWal: chunks([810n], () => gate.promise) }),
    );
    await bench.assign({ epoch: { number: 2n, uuid: "two" } });
    const sessions = { newSessionIds: async () => [bench.newSessionId()] };
    const recovery = recoverReplica(bench.engine, "r", { ...bench.edge, io: anIo(), sessions });
    gate.resolve();
    expect(await ended).toMatchObject({ outcome: "invalidated" });
    expect(await recovery).toMatchObject({ outcome: "in_sync", rungs: ["catchup"] });
  });

  test("says what was achieved, and streams no tail where there is none", async () => {
    const bench = new RecoveryBench();
    const usual = await bench.engine.executeRebuild(await bench.rebuildPlan(), anIo());
    expect(usual).toEqual({ outcome: "in_sync", achievedLsn: 1_000n });
    const streamWal = chunks([1_000n], () => failing("the stream"));
    const io = anIo({ transferSnapshot: async () => 1_100n, streamWal });
    const beyond = await bench.engine.executeRebuild(await bench.rebuildPlan(), io);
    expect(beyond).toEqual({ outcome: "in_sync", achievedLsn: 1_100n });
  });

  test("is stopped by a connection that breaks, and may be tried again", async () => {
    const bench = new RecoveryBench();
    await bench.assign();
    const streamWal = chunks([810n], () => failing("the stream"));
    const sessions = { newSessionIds: async () => [bench.newSessionId()] };
    const edge = { ...bench.edge, sessions };
    const first = await recoverReplica(bench.engine, "r", { ...edge, io: anIo({ streamWal }) });
    expect(first).toMatchObject({ outcome: "stopped", because: "the stream cannot be held" });
    expect(bench.engine.status()).toMatchObject({ degraded: 1 });
    expect(await recoverReplica(bench.engine, "r", { ...edge, io: anIo() })).toMatchObject({ outcome: "in_sync" });
  });
});

describe("what the control plane says", () => {
  test("reaches the engine intent by intent, each target with a fresh session", async () => {
    const bench = new RecoveryBench();
    const endpoint = { dataAddr: "r:5432", ctrlAddr: "r:9", version: 1 };
    const intent = (number: bigint): AssignmentIntent => ({
      epoch: { number, uuid: `${number}` },
      replicas: [{ replicaId: "r", endpoint }],
      recoveryTargets: new Map([["r", "catchup"]]),
    });
    const results: AssignmentResult[] = [];
    await followAssignments(
      bench.engine,
      {
        newSessionIds: async (count) => Array.from({ length: count }, () => bench.newSessionId()),
        async *intents() {
          yield intent(1n);
          yield intent(2n);
          yield intent(1n);
        },
      },
      { signal: new AbortController().signal, onAssigned: async (result) => void results.push(result) },
    );
    expect(results).toMatchObject([
      { added: ["r"], sessionsCreated: [1n], sessionsSuperseded: [], sessionsFailed: [] },
      { added: [], sessionsCreated: [], sessionsSuperseded: [2n], sessionsFailed: [] },
      { sessionsCreated: [], sessionsFailed: [{ replicaId: "r", because: expect.stringContaining("stale_epoch") }] },
    ]);
  });

  test("what readers do to their copies changes nothing", async () => {
    const bench = new RecoveryBench();
    await bench.session("catchup");
    const seen = bench.engine.sender("r");
    Object.assign(seen?.session ?? {}, { phase: "completed", id: 99n });
    Object.assign(seen?.epoch ?? {}, { number: 99n });
    Object.assign(seen?.endpoint ?? {}, { dataAddr: "elsewhere" });
    expect(bench.engine.sender("r")).toMatchObject({
      epoch: EPOCH,
      endpoint: { dataAddr: "r:5432" },
      session: { id: 1n, phase: "init" },
    });
  });

  test("the chain from assignment to completion can be read back", async () => {
    const bench = new RecoveryBench();
    await bench.engine.executeCatchUp(await bench.catchUpPlan(), anIo());
    expect(bench.log.events(1n).map(({ event }) => event)).toEqual([
      "session_created",
      "handshake",
      "pin_acquired",
      "rung_refused",
      "plan_catchup",
      "exec_started",
      "exec_completed",
      "exec_resources_released",
    ]);
  });
});
