import { bucketLines } from "../buckets/bucket-rows.ts";
import type { BucketName } from "../buckets/roots/root-pointer.ts";
import { readBucket } from "../buckets/roots/root-queries.ts";
import { type BucketVerdict, verifyBucket } from "../buckets/verify.ts";
import { FulaError, isFulaError } from "../kernel/errors.ts";
import { type BucketContext, type BucketStores, withBucketStores } from "./bucket-ledger.ts";

/** One bucket in the report. */
export interface VerifiedBucket {
  readonly ownerId: string;
  readonly bucket: string;
  /** Null where it could not be looked at. */
  readonly verdict: BucketVerdict | null;
  /** Why it could not be looked at. */
  readonly error: { readonly code: string; readonly message: string } | null;
}

/** What `buckets verify` prints at the end. */
export interface VerifySummary {
  /** True where every bucket was looked at and nothing is wrong with any. */
  readonly ok: boolean;
  readonly buckets: number;
  readonly faulty: number;
  readonly unread: number;
  readonly keys: number;
  readonly bytes: string;
}

async function verifyOne(
  { pool, blocks, nodes, pins }: BucketStores,
  { ownerId, bucket }: BucketName,
  options: { readonly deep: boolean; readonly signal: AbortSignal },
): Promise<VerifiedBucket | null> {
  const name = { ownerId, bucket };
  try {
    const state = await readBucket(pool, name);
    // Deleted since it was listed.
    if (state === null) return null;
    return { ...name, verdict: await verifyBucket(state, { blocks, nodes, pins }, options), error: null };
  } catch (error) {
    options.signal.throwIfAborted();
    if (!isFulaError(error, "FULA_BUCKET_NOT_IMPORTED") && !isFulaError(error, "FULA_BUCKET_ROOT_CORRUPT")) throw error;
    return { ...name, verdict: null, error: { code: error.code, message: error.message } };
  }
}

async function* chosen(pool: BucketStores["pool"], choice: BucketName | "all"): AsyncGenerator<BucketName> {
  if (choice === "all") yield* bucketLines(pool, null);
  else yield choice;
}

/**
 * Looks at one bucket or at all.
 * @param onBucket given each as soon as it was looked at
 * @throws FulaError FULA_BUCKET_UNKNOWN, and what opening the stores throws
 */
export async function runBucketVerify(
  context: BucketContext,
  choice: BucketName | "all",
  { deep }: { readonly deep: boolean },
  onBucket: (bucket: VerifiedBucket) => Promise<void>,
): Promise<VerifySummary> {
  const { signal } = context;
  return await withBucketStores(context, async (stores) => {
    const sum = { buckets: 0, faulty: 0, unread: 0, keys: 0, bytes: 0n };
    for await (const name of chosen(stores.pool, choice)) {
      const found = await verifyOne(stores, name, { deep, signal });
      if (found === null) continue;
      sum.buckets += 1;
      sum.faulty += found.verdict?.ok === false ? 1 : 0;
      sum.unread += found.verdict === null ? 1 : 0;
      sum.keys += found.verdict?.keys ?? 0;
      sum.bytes += BigInt(found.verdict?.bytes ?? 0);
      await onBucket(found);
    }
    if (choice !== "all" && sum.buckets === 0) throw unknownBucket(choice);
    return { ok: sum.faulty === 0 && sum.unread === 0, ...sum, bytes: sum.bytes.toString() };
  });
}

/** The error for a bucket that is not there. */
export function unknownBucket({ ownerId, bucket }: BucketName): FulaError {
  return new FulaError("FULA_BUCKET_UNKNOWN", `There is no bucket ${ownerId}/${bucket} in this ledger.`, {
    hint: "fula-master buckets list shows those that are there.",
    details: { ownerId, bucket },
  });
}
