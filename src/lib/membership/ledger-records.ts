import { z } from "zod";

/**
 * What the control plane knows of the ledger's PostgreSQL servers: which box has the primary, under which epoch, who attested
 * what, and which recovery or failover is under way. LSNs are texts as PostgreSQL writes them (`16/B374D848`). Times are
 * RFC 3339, UTC, and for people alone: nothing is decided by them.
 */

/** Which history of the ledger is meant: the number orders, the UUID tells two of the same number apart. */
export interface LedgerEpoch {
  /** Grows by at least one with every change of the primary; from 1. */
  readonly number: number;
  /** Made anew for each epoch, lower case. */
  readonly uuid: string;
}

/**
 * How far a change of the primary has come. `draining`, of a planned change alone: the old primary stops in order (`fast`),
 * so that its standbys, which stay attached, get all it has, and then attests; `fencing`: nobody is the primary, the
 * standbys of the epoch before detach; `promoting`: enough of them have said so, the chosen one is being promoted (or the
 * old primary is given its right back under a new number); `open`: it takes writes.
 */
export type EpochPhase = "draining" | "fencing" | "promoting" | "open";

/** The one record that says who may take the ledger's writes. */
export interface LedgerEpochRecord extends LedgerEpoch {
  readonly phase: EpochPhase;
  /** `node.name` of the box that has, or is to get, the primary. */
  readonly primary: string;
  /** Where other boxes reach it: `host:port`; null where none does. */
  readonly address: string | null;
  /** PostgreSQL's system identifier, in decimal. */
  readonly systemId: string;
  /** Attributes of the epoch, known once it is open: the primary's timeline, and where it left the one before. */
  readonly timeline: number | null;
  readonly switchLsn: string | null;
  /** Node names that may be promoted without loss: each is in PostgreSQL's `synchronous_standby_names`. By name. */
  readonly syncSet: readonly string[];
  /** How many of them a commit waits for; 0 where the set is empty. */
  readonly syncNeeded: number;
  /** The epoch before, as it stood when this one was made; null for the first. */
  readonly previous: (LedgerEpoch & Pick<LedgerEpochRecord, "primary" | "syncSet" | "syncNeeded">) | null;
  /** Why it was made, a sentence. */
  readonly reason: string;
  /** Whoever writes puts a fresh UUID here, so that a write without an answer can be told from another's. */
  readonly token: string;
  readonly at: string;
}

/**
 * That a box will not take part in the epoch before any more: a standby has detached, or a primary has stopped in order, or
 * has ended without (a crash, a kill). Durable on that box before it is said.
 */
export interface Attestation extends LedgerEpoch {
  readonly node: string;
  readonly what: "standby-detached" | "primary-stopped" | "primary-halted";
  /** The epoch whose rows its data has, as its newest; null where it has none. */
  readonly lineage: LedgerEpoch | null;
  readonly timeline: number;
  /**
   * The end of what it has received and written down; of a stopped primary, where its last record begins; of one that ended
   * without order, its last checkpoint: its log goes on after that, nobody knows how far.
   */
  readonly receivedLsn: string;
  readonly at: string;
}

/** A box that carries a server of the ledger. */
export interface LedgerBox {
  readonly node: string;
  /** Where other boxes reach its PostgreSQL: `host:port`. */
  readonly address: string;
  readonly systemId: string;
  /** PostgreSQL's major version. */
  readonly major: number;
  /** `standby` is written by `standby add` when it streams; `leaving` is not counted any more. */
  readonly state: "primary" | "standby" | "joining" | "leaving";
  readonly at: string;
}

/** One attempt at bringing a box's server back into sync; its id is the revision under which it was made. */
export interface RecoverySession {
  readonly node: string;
  readonly epoch: LedgerEpoch;
  readonly kind: "bootstrap" | "catchup" | "rebuild" | "reassign";
  readonly phase: string;
  /** Where it runs: node name and pid. */
  readonly owner: string;
  /** Names of slots and keep files that it holds. */
  readonly pins: readonly string[];
  readonly token: string;
  readonly at: string;
}

/** The one failover or switchover that is under way, or the last that was. */
export interface FailoverRun {
  readonly id: string;
  readonly kind: "failover" | "switchover";
  readonly state: "running" | "done" | "stopped" | "aborted";
  /** Who runs it: node name and pid, and the operator's id. */
  readonly owner: string;
  readonly operator: string;
  readonly from: string;
  /** The node that is to be the primary; null until it is chosen. */
  readonly to: string | null;
  /** The epoch that it ends, under which the standbys' data must stand. */
  readonly replaces: LedgerEpoch;
  /** Whether the operator attested that the old master is off and stays off, because that could not be proven. */
  readonly forced: boolean;
  /** What the operator let be lost: a number of bytes, or a position up to which nothing may be; null for nothing. */
  readonly allowedLoss: string | null;
  /** The last state that it came to, of those in `failover/failover-states.ts`. */
  readonly step: string;
  /** Grows while it runs; one that stands still for long may be taken over. */
  readonly beat: number;
  readonly token: string;
  readonly startedAt: string;
  readonly at: string;
}

/** What stands under which key; `attest`, `box` and `session` have one key a node. */
export interface LedgerRecords {
  readonly epoch: LedgerEpochRecord;
  readonly attest: Attestation;
  readonly box: LedgerBox;
  readonly session: RecoverySession;
  readonly failover: FailoverRun;
}

/** A kind of record. */
export type LedgerRecordKind = keyof LedgerRecords;

/** A record as it was read. */
export interface Versioned<T> {
  /** 0 where nothing was ever written. */
  readonly revision: number;
  readonly value: T | null;
}

/**
 * Records of the control plane that are only ever changed by compare-and-swap on their revision. A question that nobody
 * answers in time is FULA_CONTROL_PLANE_UNREACHABLE; of a write, nothing is said then of whether it was done: whoever wrote
 * writes the same again and takes a record with his own token for his own.
 */
export interface LedgerStore extends AsyncDisposable {
  /** @param node for the kinds with one key a node */
  get<K extends LedgerRecordKind>(kind: K, node?: string): Promise<Versioned<LedgerRecords[K]>>;
  /** @returns the new revision, acknowledged by the quorum; null where another one than the expected stands there */
  put<K extends LedgerRecordKind>(
    kind: K,
    value: LedgerRecords[K],
    expectedRevision: number,
    node?: string,
  ): Promise<number | null>;
  /** @returns false where another revision than the expected stands there */
  remove(kind: LedgerRecordKind, expectedRevision: number, node?: string): Promise<boolean>;
  /** All records of a kind that has one key a node, by node. */
  list<K extends LedgerRecordKind>(
    kind: K,
  ): Promise<readonly { readonly node: string; readonly revision: number; readonly value: LedgerRecords[K] }[]>;
  /**
   * As `get`, and proves by a write that the quorum has that record now: what a server says that is cut off from the others
   * is never taken for the state of things. What is decided upon a record is decided upon this.
   */
  confirm<K extends LedgerRecordKind>(kind: K, node?: string): Promise<Versioned<LedgerRecords[K]>>;
  /**
   * Calls `onHint` soon after somebody wrote a record, whichever. It may be called in vain, and some of the time not at all:
   * whoever has to know looks from time to time besides. Disposing ends it.
   */
  listen(onHint: () => void): AsyncDisposable;
  close(): Promise<void>;
}

const lsn = z.string().regex(/^[0-9A-F]{1,8}\/[0-9A-F]{1,8}$/, "must be an LSN such as 16/B374D848");
const node = z.string().regex(/^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$/);
const systemId = z.string().regex(/^\d{1,20}$/);
const address = z.string().regex(/^(?:[A-Za-z0-9.-]+|\[[0-9A-Fa-f:]+\]):\d{1,5}$/);
const line = z.string().max(500);
const at = z.iso.datetime();
const uuid = z.uuid();

const epochSchema = z.strictObject({ number: z.int().positive(), uuid });

/** Checks of the records, by kind. */
export const LEDGER_RECORD_SCHEMAS: { readonly [K in LedgerRecordKind]: z.ZodType<LedgerRecords[K]> } = {
  epoch: z.strictObject({
    ...epochSchema.shape,
    phase: z.enum(["draining", "fencing", "promoting", "open"]),
    primary: node,
    address: address.nullable(),
    systemId,
    timeline: z.int().positive().nullable(),
    switchLsn: lsn.nullable(),
    syncSet: z.array(node),
    syncNeeded: z.int().nonnegative(),
    previous: z
      .strictObject({ ...epochSchema.shape, primary: node, syncSet: z.array(node), syncNeeded: z.int().nonnegative() })
      .nullable(),
    reason: line,
    token: uuid,
    at,
  }),
  attest: z.strictObject({
    ...epochSchema.shape,
    node,
    what: z.enum(["standby-detached", "primary-stopped", "primary-halted"]),
    lineage: epochSchema.nullable(),
    timeline: z.int().positive(),
    receivedLsn: lsn,
    at,
  }),
  box: z.strictObject({
    node,
    address,
    systemId,
    major: z.int().positive(),
    state: z.enum(["primary", "standby", "joining", "leaving"]),
    at,
  }),
  session: z.strictObject({
    node,
    epoch: epochSchema,
    kind: z.enum(["bootstrap", "catchup", "rebuild", "reassign"]),
    phase: line,
    owner: line,
    pins: z.array(z.string().max(200)),
    token: uuid,
    at,
  }),
  failover: z.strictObject({
    id: uuid,
    kind: z.enum(["failover", "switchover"]),
    state: z.enum(["running", "done", "stopped", "aborted"]),
    owner: line,
    operator: line,
    from: node,
    to: node.nullable(),
    replaces: epochSchema,
    forced: z.boolean(),
    allowedLoss: line.nullable(),
    step: line,
    beat: z.int().nonnegative(),
    token: uuid,
    startedAt: at,
    at,
  }),
};
