import type { CID } from "multiformats/cid";
import type { Buckets, Mutation, MutationOutcome, OpenBucket, WriteCondition } from "../buckets/buckets.ts";
import { judge } from "../buckets/draft.ts";
import type { BucketName } from "../buckets/roots/root-pointer.ts";
import type { ObjectEntry } from "../buckets/tree/object-entry.ts";
import { isFulaError } from "../kernel/errors.ts";
import { preconditionFailed } from "./conditions.ts";
import type { Exchange } from "./exchange.ts";
import { S3Error } from "./s3-error.ts";

/** Tells in an answer for how many seconds the arbiter has not been heard of. */
const STALE_HEADER = "x-fula-stale";

/** The error for a bucket that is not there. */
export function noSuchBucket(name: string): S3Error {
  return new S3Error("NoSuchBucket", "The specified bucket does not exist.", { fields: { BucketName: name } });
}

/** The error for a key that is not there. */
export function noSuchKey(key: string): S3Error {
  return new S3Error("NoSuchKey", "The specified key does not exist.", { fields: { Key: key } });
}

/** The error for a change while nobody can arbitrate between writers. */
export function arbiterSilent(): S3Error {
  return new S3Error("ServiceUnavailable", "Changes cannot be made at the moment; please try again.", {
    headers: { "retry-after": "1" },
  });
}

/** Says in the answer that it may be out of date. */
export function tellStale(exchange: Pick<Exchange, "wire">, staleMs: number | null): void {
  if (staleMs !== null) exchange.wire.tell(STALE_HEADER, String(Math.ceil(staleMs / 1000)));
}

/** The bucket that a request is about: names belong to each owner by themselves, so that nobody reaches another's. */
export function bucketNameOf({ auth, address }: Exchange): BucketName {
  return { ownerId: auth.principal.ownerId, bucket: address.bucket ?? "" };
}

/** The bucket of a request as it is now, or as it was last known. @throws S3Error NoSuchBucket */
export async function requireBucket(exchange: Exchange, buckets: Buckets): Promise<OpenBucket> {
  const name = bucketNameOf(exchange);
  const open = await buckets.open(name);
  if (open === null) throw noSuchBucket(name.bucket);
  tellStale(exchange, open.staleMs);
  return open;
}

/**
 * The bucket of a request that is to change something: nothing is begun that could not be finished, and nothing is stored
 * that nobody pays for. An import knows owners of buckets, and not always their accounts.
 * @throws S3Error NoSuchBucket, ServiceUnavailable; what `Buckets.claim` throws
 */
export async function requireCurrentBucket(exchange: Exchange, buckets: Buckets): Promise<OpenBucket> {
  const open = await requireBucket(exchange, buckets);
  if (open.staleMs !== null) throw arbiterSilent();
  if (open.state.userId === null) await buckets.claim(bucketNameOf(exchange), exchange.auth.principal.userId);
  return open;
}

/** What is thrown where the blocks of this content were gone before they were kept: the garbage collection of Kubo was faster. */
export function contentGone(error: unknown, content: CID): unknown {
  const isGone = isFulaError(error, "FULA_BLOCK_MISSING") && error.details?.["cid"] === content.toString();
  if (!isGone) return error;
  return new S3Error("ServiceUnavailable", "The content was not kept; please send it again.", {
    headers: { "retry-after": "1" },
    cause: error,
  });
}

function errorOf(
  outcome: Exclude<MutationOutcome, { kind: "done" }>,
  { key, condition }: Pick<Mutation, "key" | "condition">,
): S3Error {
  if (outcome.kind === "no-such-key") return noSuchKey(key);
  return preconditionFailed(condition?.ifMatch === null ? "If-None-Match" : "If-Match");
}

/**
 * Refuses a change whose condition does not hold already before its bytes are taken: on a root that is current, which
 * makes the answer right.
 * @throws S3Error PreconditionFailed, NoSuchKey
 */
export async function refuseEarly(open: OpenBucket, key: string, condition: WriteCondition | null): Promise<void> {
  if (condition === null) return;
  const outcome = judge(condition, await open.index.findRef(key));
  if (outcome !== null) throw errorOf(outcome, { key, condition });
}

/**
 * Makes one change in the bucket of a request.
 * @returns the entry that the key has now; null where it was deleted
 * @throws S3Error NoSuchBucket, NoSuchKey, PreconditionFailed, and what `Buckets.write` throws
 */
export async function changeObject(
  exchange: Exchange,
  buckets: Buckets,
  mutation: Mutation,
): Promise<ObjectEntry | null> {
  const name = bucketNameOf(exchange);
  const { change } = mutation;
  const outcomes = await buckets.write(name, [mutation]).catch((error: unknown) => {
    throw change.kind === "put" ? contentGone(error, change.entry.content) : error;
  });
  if (outcomes === null) throw noSuchBucket(name.bucket);
  const [outcome] = outcomes;
  if (outcome === undefined) throw new Error("A mutation had no outcome");
  if (outcome.kind === "done") return outcome.entry;
  throw errorOf(outcome, mutation);
}
