import type { CID } from "multiformats/cid";
import type { BucketMetadata, BucketName, BucketState } from "./roots/root-pointer.ts";
import type { BucketIndex } from "./tree/bucket-index.ts";
import type { ObjectEntry } from "./tree/object-entry.ts";

/** Who makes a bucket. */
export interface BucketOwner {
  readonly ownerId: string;
  readonly userId: string;
}

/** A bucket as it was at one moment of the call that opened it. */
export interface OpenBucket {
  readonly state: BucketState;
  readonly index: BucketIndex;
  /** Null where the arbiter was asked; else how long ago it said this: the last root that we know. */
  readonly staleMs: number | null;
}

/** What must hold of the object as it is when the change is made. Both lists together must hold. */
export interface WriteCondition {
  /** `If-Match`: the object is there and has one of these ETags (without quotes); `*` = is there. */
  readonly ifMatch: readonly string[] | "*" | null;
  /** `If-None-Match`: it has none of these; `*` = is not there. */
  readonly ifNoneMatch: readonly string[] | "*" | null;
}

/** What is done to one key. */
export type Change =
  | { readonly kind: "put"; readonly entry: ObjectEntry }
  | { readonly kind: "delete" }
  /** A new entry made from the present one (tags, metadata); made again where the race for the root was lost. */
  | { readonly kind: "update"; readonly update: (present: ObjectEntry) => ObjectEntry };

/** One change of one key. */
export interface Mutation {
  readonly key: string;
  readonly change: Change;
  readonly condition: WriteCondition | null;
}

/** What a change knows of the object that it met without reading its entry. */
export type ObjectFacts = Pick<ObjectEntry, "content" | "sizeBytes" | "modifiedMs" | "etag">;

/** What became of one mutation. */
export type MutationOutcome =
  /** `previous` is null where there was no such key; `entry` is null where it was deleted. */
  | { readonly kind: "done"; readonly previous: ObjectFacts | null; readonly entry: ObjectEntry | null }
  /** Its own condition does not hold; nothing was changed. */
  | { readonly kind: "condition-failed"; readonly present: ObjectFacts | null }
  /** An update or If-Match of a key that is not there. */
  | { readonly kind: "no-such-key" };

/** Buckets of all masters, and their objects' entries. */
export interface Buckets {
  /** @throws FulaError where the arbiter does not answer */
  create(owner: BucketOwner, bucket: string): Promise<"created" | "exists">;
  remove(name: BucketName): Promise<"deleted" | "not-empty" | "absent">;
  /** All buckets of an owner, by name. */
  list(ownerId: string): Promise<{ readonly buckets: readonly BucketState[]; readonly staleMs: number | null }>;
  /**
   * The bucket as it is now. While the arbiter does not answer, the last root that is known of it.
   * @throws FulaError FULA_DATABASE_UNREACHABLE where none is known
   */
  open(name: BucketName): Promise<OpenBucket | null>;
  /**
   * Makes changes, all in one move of the root or none: what was waiting for the same bucket goes with it. A move that
   * loses its race is made again on the root that won.
   * @returns one outcome a mutation, in their order; null where there is no such bucket
   * @throws FulaError FULA_CAS_EXHAUSTED where every try lost its race; FULA_DATABASE_UNREACHABLE, FULA_COMMIT_UNKNOWN;
   *   FULA_BUCKET_BUSY where too much waits for the bucket; FULA_BLOCK_MISSING where a block of a content is not there;
   *   what the pinset throws: then nothing was changed
   */
  write(name: BucketName, mutations: readonly Mutation[]): Promise<readonly MutationOutcome[] | null>;
  /** Has a bucket that nobody pays for paid for by an account; another's stays another's. @throws FulaError as `create` */
  claim(name: BucketName, userId: string): Promise<void>;
  /** Changes what belongs to the bucket itself. @returns false where there is no such bucket */
  setMetadata(name: BucketName, update: (present: BucketMetadata) => BucketMetadata): Promise<boolean>;
  /**
   * Keeps a content that no entry refers to yet (a part of a multipart upload): announced, held by our node, pinned.
   * Whoever writes down the reference takes it off the collector's queue in the same transaction.
   * @param name the bucket and `key` the key of the object that it is for
   * @returns until when that may be done, by the clock of the ledger, in milliseconds since the epoch: later the collector
   *   may have it soon; null where nothing has to be kept of it
   * @throws FulaError as `write`
   */
  keepContent(name: BucketName, key: string, content: CID, sizeBytes: number): Promise<number | null>;
  /** Gives up such a content, or any other that lost its last known reference: the collector looks at it. */
  releaseContents(contents: readonly CID[]): Promise<void>;
}
