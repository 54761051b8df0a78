import type { Random } from "../../../src/lib/kernel/random.ts";
import type { Epoch } from "../../../src/lib/recovery/epoch.ts";
import type { LineageEntry } from "../../../src/lib/recovery/lineage.ts";
import type { ReplicaId, SessionId } from "../../../src/lib/recovery/types.ts";

/** One entry of a history; the one at index i has position i + 1. Two are the same only if they are the same object. */
export interface Entry {
  readonly stretch: LineageEntry;
}

/** A replica as it really is, which the engine learns only by asking. */
export interface SimReplica {
  readonly id: ReplicaId;
  log: Entry[];
  /** Up to here its data files have it: what is taken away below stays visible in them. */
  applied: number;
  /** Its data are not what its log says. */
  corrupt: boolean;
  /** What was begun on it and not ended; only in worlds that keep markers. */
  marker: string | null;
  canRewind: boolean;
  slotLost: boolean;
  /** A call that is at work on it. */
  busy: string | null;
}

export interface Checkpoint {
  readonly lsn: number;
  /** What the primary says of it. */
  readonly trusted: boolean;
  readonly corrupt: boolean;
  readonly entries: readonly Entry[];
}

export interface SimPin {
  readonly name: string;
  readonly sessionId: SessionId;
  readonly kind: "wal" | "snapshot" | "base";
  /** WAL above it is kept; of a snapshot, its position. */
  readonly lsn: number;
  /** Set where a fault kept the engine from knowing or releasing it: only the collector can. */
  excused: boolean;
}

/** What a seed draws once for a whole schedule. */
export interface Traits {
  /** Interrupted work leaves a marker on the replica, as on PostgreSQL; without, only the engine's memory protects it. */
  readonly hasMarkers: boolean;
  /** A pin for WAL that is gone holds what is left, without a word. */
  readonly pinsLate: boolean;
  /** Faults in a thousand steps. */
  readonly faultRate: number;
  /** Events of the surroundings in a thousand steps. */
  readonly eventRate: number;
  readonly chunk: number;
}

/** The primary and its replicas, and nothing that the engine could read without asking. */
export class World {
  readonly random: Random;
  readonly traits: Traits;
  readonly replicas = new Map<ReplicaId, SimReplica>();
  readonly pins = new Map<string, SimPin>();
  readonly checkpoints = new Map<number, Checkpoint>();
  history: Entry[] = [];
  lineage: LineageEntry[] = [];
  committed = 0;
  tail = 0;
  newestCheckpoint: number | null = null;
  nowMs = 1_000;
  readonly #committedAt = new Map<SessionId, number>();
  #sessions = 0n;
  #epochs = 0n;

  constructor(random: Random) {
    this.random = random;
    this.traits = {
      hasMarkers: random.int(2) === 0,
      pinsLate: random.int(2) === 0,
      faultRate: random.int(3) === 0 ? 0 : random.int(120),
      eventRate: 50 + random.int(300),
      chunk: 1 + random.int(6),
    };
    this.beginEpoch(1);
    this.write(8 + random.int(10));
    this.committed = random.int(20) === 0 ? 0 : this.history.length - random.int(4);
    for (const id of ["a", "b", "c"]) this.replicas.set(id, this.#newReplica(id));
  }

  get epoch(): Epoch {
    const epoch = this.lineage.at(-1)?.epoch;
    if (epoch == null) throw new Error("A world without an epoch");
    return epoch;
  }

  newSessionId(): SessionId {
    this.#sessions += 1n + BigInt(this.random.int(3));
    this.#committedAt.set(this.#sessions, this.committed);
    return this.#sessions;
  }

  /** What was committed before a session began: whatever it brings back has at least that. */
  committedAt(id: SessionId): number {
    return this.#committedAt.get(id) ?? 0;
  }

  replica(id: ReplicaId): SimReplica {
    const replica = this.replicas.get(id);
    if (replica === undefined) throw new Error(`No replica ${id}`);
    return replica;
  }

  /** Begins an epoch at the head, with its row as the first entry. */
  beginEpoch(timeline: number): void {
    this.#epochs += 1n;
    const epoch = { number: this.#epochs, uuid: this.random.int(1_000_000_000).toString() };
    const stretch = { epoch, timeline, beganAtLsn: BigInt(this.history.length) };
    this.lineage.push(stretch);
    this.history.push({ stretch });
  }

  write(count: number): void {
    const stretch = this.lineage.at(-1);
    if (stretch === undefined) return;
    for (let written = 0; written < count; written += 1) this.history.push({ stretch });
  }

  /** How far a replica's log agrees with the primary's. */
  commonPrefix({ log }: Pick<SimReplica, "log">): number {
    let common = 0;
    while (common < log.length && log[common] === this.history[common]) common += 1;
    return common;
  }

  /** The lowest position that no pin lets go. */
  pinnedTail(): number {
    const wal = [...this.pins.values()].filter(({ kind }) => kind !== "snapshot");
    return Math.min(this.history.length, ...wal.map(({ lsn }) => lsn));
  }

  #newReplica(id: ReplicaId): SimReplica {
    const { random } = this;
    const log = this.history.slice(0, random.int(this.history.length + 1));
    const condition = { corrupt: false, marker: null, slotLost: random.int(10) === 0, busy: null };
    return { id, log, applied: random.int(log.length + 1), canRewind: random.int(4) > 0, ...condition };
  }
}

/** The stretches that a log shows, oldest first. */
export function lineageOf(log: readonly Entry[]): readonly LineageEntry[] {
  return [...new Set(log.map(({ stretch }) => stretch))];
}
