import type { CID } from "multiformats/cid";
import type { FulaError } from "../../kernel/errors.ts";

/** Names a bucket: names are unique within their owner. */
export interface BucketName {
  /** 32 hex digits: `ownerIdOf` of the user id. */
  readonly ownerId: string;
  readonly bucket: string;
}

/** What belongs to a bucket beside its objects; moves with the root. */
export interface BucketMetadata {
  /** Tags of the bucket. */
  readonly tags: Readonly<Record<string, string>>;
}

/** What a bucket is at one version: everything that moves together. */
export interface BucketContent {
  /** Root of the index (log head or compacted base). */
  readonly root: CID;
  readonly objectCount: bigint;
  readonly totalBytes: bigint;
  readonly metadata: BucketMetadata;
}

/** A bucket as the arbiter has it. */
export interface BucketState extends BucketName, BucketContent {
  /** Whose account pays for it; null where only the owner id is known. */
  readonly userId: string | null;
  /** Grows by one with every move, for ever: also over deletion and a new beginning. */
  readonly version: bigint;
  readonly createdAtMs: number;
  readonly movedAtMs: number;
}

/** What a writer believes the bucket to be. */
export type Expected =
  /** There is no such bucket, or it was deleted. */
  { readonly kind: "absent" } | { readonly kind: "at"; readonly version: bigint; readonly root: CID };

/** What a bucket shall become. */
export type Next =
  | {
      readonly kind: "content";
      readonly content: BucketContent;
      /** Of a bucket that is made; ignored where it is there. */
      readonly userId: string | null;
    }
  /** Only an empty bucket can go; its row stays as a tombstone. */
  | { readonly kind: "deleted" };

/** One try to move a root. */
export interface Move {
  readonly expected: Expected;
  readonly next: Next;
  /** Random; names this try for ever, so that a lost answer can be looked up. */
  readonly commitId: string;
  /** CIDs that the new root refers to and that were announced: taken off the collector's queue where the move wins. */
  readonly claims: readonly string[];
  /** CIDs that lose the reference which this move takes away; the collector looks at them after its grace time. */
  readonly garbage: readonly string[];
  /**
   * After this time by the arbiter's clock, in milliseconds since the epoch, the move is not made any more: what it claims
   * was announced so long before that the collector may have it soon. Null where it claims nothing that can be taken.
   */
  readonly deadlineMs: number | null;
}

/** How a try ended. */
export type MoveOutcome =
  | { readonly kind: "won"; readonly version: bigint }
  /** Nothing was changed. `current` is null where there is no such bucket. */
  | { readonly kind: "conflict"; readonly current: BucketState | null; readonly version: bigint | null }
  /** Nothing was changed: the arbiter came to it after its deadline. `nowMs` is the arbiter's time. */
  | { readonly kind: "late"; readonly nowMs: number };

/** The arbiter between gateways: one row a bucket, moved by compare-and-swap alone. */
export interface RootPointerStore {
  /** Null where there is no such bucket. @throws FulaError FULA_DATABASE_UNREACHABLE, FULA_BUCKET_NOT_IMPORTED */
  get(name: BucketName): Promise<BucketState | null>;
  /**
   * Several at once, in the order that they were asked for, as they are at one moment. Where one alone cannot be told
   * (FULA_BUCKET_NOT_IMPORTED, FULA_BUCKET_ROOT_CORRUPT), its error stands in its place.
   */
  getMany(names: readonly BucketName[]): Promise<readonly (BucketState | FulaError | null)[]>;
  /** All buckets of an owner, by the bytes of their names. @throws FulaError as `get`, where one of them cannot be told */
  list(ownerId: string): Promise<readonly BucketState[]>;
  /**
   * Moves a root where it is as expected, in one statement. A lost answer is looked up by the commit id.
   * @throws FulaError FULA_DATABASE_UNREACHABLE where the arbiter does not answer; FULA_COMMIT_UNKNOWN where it may or
   *   may not have moved; FULA_BUCKET_MODE where the masters save in another way; FULA_BUCKET_NOT_IMPORTED
   */
  cas(name: BucketName, move: Move): Promise<MoveOutcome>;
  /**
   * Puts CIDs on the collector's queue, as of now: before somebody pins them for a move, so that a crash in between
   * leaves nothing that nobody knows of; and where a move has lost or a reference is gone. Whoever unpins holds the
   * queue's row, as it was before the grace time: an announcement makes it another row or waits until the pin is gone.
   * @returns when it was, by the arbiter's clock, in milliseconds since the epoch; null for no CIDs at all
   */
  announce(cids: readonly string[]): Promise<number | null>;
  /**
   * Has a bucket that nobody pays for, such as an imported one of an unknown user, paid for by an account; another's
   * stays another's. @throws FulaError FULA_DATABASE_UNREACHABLE
   */
  claim(name: BucketName, userId: string): Promise<void>;
}
