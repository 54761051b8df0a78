import type { Lsn } from "./lsn.ts";
import type { AssignmentIntent, Handshake, RetainedHistory, SessionId } from "./types.ts";

/** Something that is kept from being removed for as long as a session needs it. */
export interface Pin extends AsyncDisposable {
  /** Names kind and session (`pinName`), so that the pins of dead sessions can be found. */
  readonly name: string;
  /** Lets go. Safe to call again. @throws when it may still be held */
  release(reason: string): Promise<void>;
}

/** The primary's storage: what it still has, and how to make it keep that. */
export interface StorageAdapter {
  /** @returns null where the primary cannot tell */
  getRetainedHistory(): Promise<RetainedHistory | null>;
  /** Keeps the WAL above `startExclusive`. @throws when that is not there any more, or cannot be kept */
  pinWal(startExclusive: Lsn, sessionId: SessionId): Promise<Pin>;
  /** Keeps the backup that ends at `checkpointLsn`. */
  pinSnapshot(checkpointLsn: Lsn, sessionId: SessionId): Promise<Pin>;
  /** Keeps what a new base of at least `committedLsn` needs, from before it begins. */
  pinFullBase(committedLsn: Lsn, sessionId: SessionId): Promise<Pin>;
}

/** Asks a replica, running or not, what it has. */
export interface ReplicaProbe {
  handshake(signal: AbortSignal): Promise<Handshake>;
}

/**
 * What a catch-up does on the replica. The signal ends with the session: whoever is told to stop has to have stopped,
 * with every child process, when its promise settles.
 */
export interface CatchUpIO {
  /**
   * Brings WAL to the replica, in chunks: gives the position reached after each, and also now and then when nothing moved,
   * for budget and session are looked at between two of them.
   */
  streamWal(startExclusive: Lsn, endInclusive: Lsn, signal: AbortSignal): AsyncIterable<Lsn>;
  /** Takes away what lies above `lsn`. @throws whenever it is not certain that just that was done */
  truncate(lsn: Lsn, signal: AbortSignal): Promise<void>;
}

/** What a rebuild does on the replica. For the signal see `CatchUpIO`. */
export interface RebuildIO {
  /** Takes back what the replica has of its own. @returns the position from which it goes on, not below `fromLsn` */
  rewind(fromLsn: Lsn, signal: AbortSignal): Promise<Lsn>;
  /** Restores the backup that ends at `snapshotLsn`. @returns the position really achieved */
  transferSnapshot(snapshotLsn: Lsn, signal: AbortSignal): Promise<Lsn>;
  /** Copies everything. @returns the position really achieved, which may be beyond `committedLsn` */
  transferFullBase(committedLsn: Lsn, signal: AbortSignal): Promise<Lsn>;
  /** As in `CatchUpIO`. */
  streamWal(startExclusive: Lsn, endInclusive: Lsn, signal: AbortSignal): AsyncIterable<Lsn>;
}

/** Who decides who replicates: heartbeats and failovers arrive from it as intents. */
export interface ControlPlaneAdapter {
  /** Ids that nobody else has got and that are higher than all before. */
  newSessionIds(count: number): Promise<readonly SessionId[]>;
  /** One intent for each heartbeat or failover that changed something. */
  intents(signal: AbortSignal): AsyncIterable<AssignmentIntent>;
}
