import { type BucketLine, bucketHistory, bucketLine, bucketLines, type CommitLine } from "../buckets/bucket-rows.ts";
import type { BucketName } from "../buckets/roots/root-pointer.ts";
import { openBucketIndex } from "../buckets/tree/open-index.ts";
import { readNode } from "../buckets/tree/read-node.ts";
import { parseCid } from "../blocks/cid.ts";
import { type BucketContext, withBucketLedger, withBucketStores } from "./bucket-ledger.ts";
import { unknownBucket } from "./bucket-verify-run.ts";

/** What `buckets show` prints; `--json` keeps these fields. */
export interface BucketReport extends BucketLine {
  /** Null for a bucket that waits for its import. */
  readonly index: {
    /** Changes in the log, and the blocks that it consists of. */
    readonly logChanges: number;
    readonly logBlocks: number;
    readonly base: string;
    /** Levels of the search tree. */
    readonly height: number;
  } | null;
  /** The newest roots, the newest first. */
  readonly history: readonly CommitLine[];
}

/** Gives every bucket to `onBucket`. @throws FulaError as `withBucketLedger` */
export async function runBucketList(
  context: BucketContext,
  ownerId: string | null,
  onBucket: (line: BucketLine) => Promise<void>,
): Promise<number> {
  return await withBucketLedger(context, async (pool) => {
    let count = 0;
    for await (const line of bucketLines(pool, ownerId)) {
      context.signal.throwIfAborted();
      await onBucket(line);
      count += 1;
    }
    return count;
  });
}

/** Shows one bucket. @throws FulaError FULA_BUCKET_UNKNOWN, FULA_INDEX_CORRUPT, and as `withBucketStores` */
export async function runBucketShow(context: BucketContext, name: BucketName, limit: number): Promise<BucketReport> {
  const { signal } = context;
  return await withBucketStores(context, async ({ pool, nodes }) => {
    const line = await bucketLine(pool, name);
    if (line === null) throw unknownBucket(name);
    const history = await bucketHistory(pool, name, limit);
    if (!line.imported) return { ...line, index: null, history };
    const index = await openBucketIndex(parseCid(line.root), nodes, { signal });
    const { base, blocks } = await index.log(signal);
    const { level } = await readNode(nodes, base, null, signal);
    const { logChanges } = index;
    return {
      ...line,
      index: { logChanges, logBlocks: blocks.length, base: base.toString(), height: level + 1 },
      history,
    };
  });
}
