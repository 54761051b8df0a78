import type { CatchUpIO, Pin, RebuildIO, ReplicaProbe, StorageAdapter } from "../../../src/lib/recovery/adapters.ts";
import type { RecoveryEngine } from "../../../src/lib/recovery/engine.ts";
import { relateLineage } from "../../../src/lib/recovery/lineage.ts";
import { type PinKind, pinName } from "../../../src/lib/recovery/pins.ts";
import type { Handshake, ReplicaId, RetainedHistory, SessionId } from "../../../src/lib/recovery/types.ts";
import type { Scheduler } from "./scheduler.ts";
import { Violation } from "./violation.ts";
import { lineageOf, type SimReplica, type World } from "./world.ts";

/** Where a simulation reports what it may not go on after. */
export interface Ground {
  readonly world: World;
  readonly scheduler: Scheduler;
  readonly engine: () => RecoveryEngine;
  readonly report: (violation: Violation) => void;
  readonly trace: (line: () => string) => void;
}

/** The primary's storage as the engine sees it; every step may fail, before it was done and after. */
export function simStorage(ground: Ground): StorageAdapter {
  const { world, scheduler } = ground;
  const pin = async (sessionId: SessionId, kind: PinKind, lsn: number): Promise<Pin> => {
    const name = pinName(sessionId, kind);
    await scheduler.point(`before ${name}`);
    const isGone = kind === "wal" && lsn < world.tail;
    if (isGone && !world.traits.pinsLate) throw new Error(`WAL above ${lsn} is gone, the tail is at ${world.tail}`);
    if (kind === "snapshot" && !world.checkpoints.has(lsn)) throw new Error(`The backup at ${lsn} is gone`);
    if (world.pins.has(name)) ground.report(new Violation("pinned twice", name));
    const held = { name, sessionId, kind, lsn: isGone ? world.tail : lsn, excused: false };
    world.pins.set(name, held);
    try {
      await scheduler.point(`after ${name}`);
    } catch (error) {
      held.excused = true;
      throw error;
    }
    return simPin(ground, name);
  };
  return {
    getRetainedHistory: async () => {
      await scheduler.point("before history");
      const history = retained(world);
      await scheduler.point("after history");
      return world.random.int(1_000) < scheduler.faultRate / 4 ? null : history;
    },
    pinWal: (start, sessionId) => pin(sessionId, "wal", Number(start)),
    pinSnapshot: (lsn, sessionId) => pin(sessionId, "snapshot", Number(lsn)),
    pinFullBase: (_committed, sessionId) => pin(sessionId, "base", world.history.length),
  };
}

function simPin(ground: Ground, name: string): Pin {
  let releases = 0;
  const release = async (reason: string): Promise<void> => {
    releases += 1;
    if (releases > 1) ground.report(new Violation("released twice", `${name}: ${reason}`));
    if (reason === "") ground.report(new Violation("released without a cause", name));
    const held = ground.world.pins.get(name);
    try {
      await ground.scheduler.point(`release ${name}`);
    } catch (error) {
      if (held !== undefined) held.excused = true;
      throw error;
    }
    ground.world.pins.delete(name);
  };
  return { name, release, [Symbol.asyncDispose]: () => release("disposed") };
}

function retained(world: World): RetainedHistory {
  const checkpoint = world.newestCheckpoint === null ? undefined : world.checkpoints.get(world.newestCheckpoint);
  return {
    headLsn: BigInt(world.history.length),
    tailLsn: BigInt(world.tail),
    committedLsn: BigInt(world.committed),
    checkpointLsn: BigInt(checkpoint?.lsn ?? 0),
    checkpointTrusted: checkpoint?.trusted ?? false,
  };
}

/** Asks a replica what it has. */
export function simProbe(ground: Ground, replicaId: ReplicaId): ReplicaProbe {
  return {
    handshake: async () => {
      await ground.scheduler.point(`before handshake ${replicaId}`);
      const said = handshakeOf(ground.world, ground.world.replica(replicaId));
      await ground.scheduler.point(`after handshake ${replicaId}`);
      return said;
    },
  };
}

function handshakeOf(world: World, replica: SimReplica): Handshake {
  const fromLsn = BigInt(Math.max(0, world.commonPrefix(replica) - 2));
  const facts: Omit<Handshake, "lineage"> = {
    replicaFlushedLsn: BigInt(replica.log.length),
    recoveryPointLsn: BigInt(replica.applied),
    rewind: replica.canRewind ? { possible: true, fromLsn } : { possible: false, because: "no checksums" },
    isSlotLost: replica.slotLost,
  };
  if (replica.marker !== null) {
    return { ...facts, lineage: { kind: "interrupted", what: replica.marker, mayRewindAgain: false } };
  }
  const lineage = relateLineage({
    arbiterEpoch: world.epoch,
    primary: world.lineage,
    replica: lineageOf(replica.log),
    replicaFlushedLsn: facts.replicaFlushedLsn,
  });
  return { ...facts, lineage: replica.log.length === 0 ? { kind: "lost", because: "empty" } : lineage };
}

/** Works on a replica, in steps; every write is checked against the session that it is made for. */
export function simIo(ground: Ground, replicaId: ReplicaId): CatchUpIO & RebuildIO {
  const call = async <T>(name: string, signal: AbortSignal, work: (work: Work) => Promise<T>): Promise<T> => {
    const open = new Work(ground, replicaId, name, signal);
    try {
      return await work(open);
    } catch (error) {
      // Whoever is told to stop takes a while.
      await ground.scheduler.turn();
      throw error;
    } finally {
      open.end();
    }
  };
  return {
    streamWal: (start, end, signal) => streamed(ground, replicaId, Number(start), Number(end), signal),
    truncate: (lsn, signal) => call("truncate", signal, (work) => truncated(work, Number(lsn))),
    rewind: (from, signal) => call("rewind", signal, (work) => rewound(work, Number(from))),
    transferSnapshot: (lsn, signal) => call("snapshot", signal, (work) => restored(work, Number(lsn))),
    transferFullBase: (_committed, signal) => call("base", signal, based),
  };
}

/** One call at work on a replica. */
class Work {
  readonly ground: Ground;
  readonly name: string;
  readonly #replica: SimReplica;
  readonly #signal: AbortSignal;
  readonly #sessionId: SessionId | null;
  readonly #endpointVersion: number | null;

  constructor(ground: Ground, replicaId: ReplicaId, name: string, signal: AbortSignal) {
    this.ground = ground;
    this.name = name;
    this.#replica = ground.world.replica(replicaId);
    this.#signal = signal;
    const sender = ground.engine().sender(replicaId);
    this.#sessionId = sender?.session?.id ?? null;
    this.#endpointVersion = sender?.endpoint.version ?? null;
    if (this.#replica.busy !== null) {
      ground.report(new Violation("two at work", `${name} on ${replicaId} beside ${this.#replica.busy}`));
    }
    this.#replica.busy = name;
  }

  /** Waits, then changes the replica: whoever was told to stop has stopped, and changes nothing. */
  async change(change: (replica: SimReplica, world: World) => void): Promise<void> {
    await this.ground.scheduler.point(`before ${this.name} of ${this.#replica.id}`);
    this.#signal.throwIfAborted();
    this.#judge();
    change(this.#replica, this.ground.world);
    await this.ground.scheduler.point(`after ${this.name} of ${this.#replica.id}`);
  }

  /** As `change`, for what leaves the replica useless until it is done. @returns whether it was useless before */
  async begin(): Promise<boolean> {
    let wasCorrupt = false;
    await this.change((replica, world) => {
      wasCorrupt = replica.corrupt;
      replica.corrupt = true;
      if (world.traits.hasMarkers) replica.marker = this.name;
    });
    return wasCorrupt;
  }

  end(): void {
    this.#replica.busy = null;
  }

  #judge(): void {
    const { engine, world, report } = this.ground;
    const sender = engine().sender(this.#replica.id);
    const session = sender?.session ?? null;
    const isActive = session !== null && session.phase !== "completed" && session.phase !== "invalidated";
    const isOurs = isActive && session.id === this.#sessionId && sender?.stopped === false;
    if (!isOurs || session.epoch.uuid !== world.epoch.uuid) {
      report(new Violation("changed by an ended session", `${this.name} of session ${this.#sessionId}`));
    }
    if (sender?.endpoint.version !== this.#endpointVersion) {
      report(new Violation("changed at an old address", `${this.name} of session ${this.#sessionId}`));
    }
  }
}

async function* streamed(
  ground: Ground,
  replicaId: ReplicaId,
  start: number,
  end: number,
  signal: AbortSignal,
): AsyncGenerator<bigint> {
  const work = new Work(ground, replicaId, "stream", signal);
  const { world } = ground;
  try {
    if (start > world.replica(replicaId).log.length) ground.report(new Violation("streamed over a hole", `${start}`));
    for (let at = start; at < end; ) {
      // A chunk that brings nothing, as from a slow sender: time passes alone.
      const size = world.random.int(6) === 0 ? 0 : 1 + world.random.int(world.traits.chunk);
      const upTo = Math.min(end, at + size);
      world.nowMs += 1 + world.random.int(20);
      if (at < world.tail) ground.report(new Violation("pinned WAL is gone", `${at} below the tail ${world.tail}`));
      await work.change((replica) => {
        judgeTarget(ground, replicaId, upTo);
        replica.log = [...replica.log.slice(0, at), ...world.history.slice(at, upTo), ...replica.log.slice(upTo)];
        replica.applied = Math.max(replica.applied, at);
      });
      at = upTo;
      yield BigInt(at);
      if (isCutShort(work)) return;
    }
  } finally {
    try {
      await ground.scheduler.point(`end of stream of ${replicaId}`);
    } finally {
      work.end();
    }
  }
}

function judgeTarget({ engine, report }: Ground, replicaId: ReplicaId, upTo: number): void {
  const session = engine().sender(replicaId)?.session;
  if (session == null || session.targetLsn >= BigInt(upTo)) return;
  report(new Violation("beyond the frozen target", `wrote up to ${upTo}, target ${session.targetLsn}`));
}

async function truncated(work: Work, lsn: number): Promise<void> {
  await work.change((replica, world) => {
    if (world.traits.hasMarkers) replica.marker = work.name;
    replica.log = replica.log.slice(0, Math.ceil((replica.log.length + lsn) / 2));
  });
  await work.change((replica) => {
    replica.log = replica.log.slice(0, lsn);
    // What is in the data files is not taken out of them by taking away WAL.
    if (replica.applied > lsn) replica.corrupt = true;
    replica.marker = null;
  });
}

async function rewound(work: Work, from: number): Promise<bigint> {
  const wasCorrupt = await work.begin();
  await work.change((replica, world) => {
    if (from < world.tail) work.ground.report(new Violation("pinned WAL is gone", `rewind from ${from}`));
    replica.log = world.history.slice(0, from);
    finish(replica, from);
    // Only what is known to differ is copied.
    replica.corrupt = wasCorrupt;
  });
  return BigInt(from);
}

async function restored(work: Work, lsn: number): Promise<bigint> {
  const { world } = work.ground;
  const isShort = isCutShort(work);
  const achieved = isShort ? Math.max(0, lsn - 1 - world.random.int(3)) : lsn;
  await work.begin();
  await work.change((replica) => {
    const checkpoint = world.checkpoints.get(lsn);
    if (checkpoint === undefined) {
      work.ground.report(new Violation("pinned backup is gone", `${lsn}`));
      return;
    }
    replica.log = checkpoint.entries.slice(0, achieved);
    finish(replica, achieved);
    replica.corrupt = checkpoint.corrupt;
  });
  return BigInt(achieved);
}

async function based(work: Work): Promise<bigint> {
  const { world } = work.ground;
  const entries = [...world.history];
  const isShort = isCutShort(work);
  const achieved = isShort ? world.random.int(entries.length) : entries.length;
  await work.begin();
  await work.change((replica) => {
    replica.log = entries.slice(0, achieved);
    finish(replica, achieved);
  });
  return BigInt(achieved);
}

/** Whether a transfer or a stream ends too early without a word. */
function isCutShort({ ground }: Work): boolean {
  return ground.scheduler.faultRate > 0 && ground.world.random.int(8) === 0;
}

function finish(replica: SimReplica, applied: number): void {
  replica.applied = applied;
  replica.corrupt = false;
  replica.marker = null;
  replica.slotLost = false;
}
