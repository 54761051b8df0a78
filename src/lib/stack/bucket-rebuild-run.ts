import type { CID } from "multiformats/cid";
import { parseCid } from "../blocks/cid.ts";
import { bucketHistory } from "../buckets/bucket-rows.ts";
import { type AssertHeld, withCollectorLock } from "../buckets/collector-lock.ts";
import { KeepingWriter } from "../buckets/import-keep.ts";
import { type DamagedIndex, isWhole, salvage, surveyIndex } from "../buckets/rebuild.ts";
import { indexPinName } from "../buckets/root-mover.ts";
import type { BucketName, BucketState } from "../buckets/roots/root-pointer.ts";
import { readBucket } from "../buckets/roots/root-queries.ts";
import { buildTree } from "../buckets/tree/build-tree.ts";
import type { BucketIndex } from "../buckets/tree/bucket-index.ts";
import { logBlockCidOf } from "../buckets/tree/log-block.ts";
import type { KeyRef } from "../buckets/tree/object-entry.ts";
import { openBucketIndex } from "../buckets/tree/open-index.ts";
import { FulaError, isFulaError } from "../kernel/errors.ts";
import { type BucketContext, type BucketStores, withBucketStores } from "./bucket-ledger.ts";
import { withSavedBuckets } from "./bucket-saving.ts";
import { unknownBucket } from "./bucket-verify-run.ts";
import type { OpenBuckets } from "./open-buckets.ts";

/** What `buckets rebuild` prints; `--json` keeps these fields. */
export interface RebuildReport {
  readonly dryRun: boolean;
  /** Why blocks of the present index cannot be read. */
  readonly reasons: readonly string[];
  /** The newest root of the bucket's history that is whole; null where none is. */
  readonly olderRoot: string | null;
  /** Keys read from the damaged index, and keys taken from the older root. */
  readonly salvaged: number;
  readonly older: number;
  /** Keys of the new index, and what the row says that there were. */
  readonly keys: number;
  readonly keysBefore: string;
  /** Null in a dry run. */
  readonly root: string | null;
}

const HISTORY_MAX = 10_000;

async function newestWhole(
  { pool, nodes }: BucketStores,
  state: BucketState,
  signal: AbortSignal,
): Promise<CID | null> {
  const seen = new Set([state.root.toString()]);
  for (const { root } of await bucketHistory(pool, state, HISTORY_MAX)) {
    if (root === null) return null;
    if (seen.has(root)) continue;
    seen.add(root);
    const cid = parseCid(root);
    if (await isWhole(cid, nodes, signal)) return cid;
  }
  return null;
}

interface Plan {
  readonly state: BucketState;
  readonly damaged: DamagedIndex;
  readonly older: BucketIndex | null;
}

async function plan(stores: BucketStores, name: BucketName, signal: AbortSignal): Promise<Plan> {
  const state = await readBucket(stores.pool, name);
  if (state === null) throw unknownBucket(name);
  const damaged = await surveyIndex(state.root, stores.nodes, signal);
  if (damaged.reasons.length === 0) {
    throw new FulaError(
      "FULA_INDEX_WHOLE",
      `The index of ${name.ownerId}/${name.bucket} is whole: there is nothing to rebuild.`,
      {
        hint: "fula-master buckets verify looks for what else may be wrong.",
      },
    );
  }
  const root = await newestWhole(stores, state, signal);
  const older = root === null ? null : await openBucketIndex(root, stores.nodes, { signal });
  return { state, damaged, older };
}

async function build(
  { damaged, older }: Plan,
  { nodes }: Pick<BucketStores, "nodes">,
  writer: Parameters<typeof buildTree>[1],
  signal: AbortSignal,
  onOlder: (item: KeyRef) => Promise<void> = async () => {},
): Promise<Pick<RebuildReport, "salvaged" | "older" | "keys"> & { readonly root: CID; readonly bytes: bigint }> {
  const counts = { salvaged: 0, older: 0, onOlder };
  const { root, keys, bytes } = await buildTree(salvage(damaged, older, nodes, counts, signal), writer);
  return { salvaged: counts.salvaged, older: counts.older, root, keys, bytes };
}

async function adopt(
  name: BucketName,
  planned: Plan,
  { keeper, roots, nodes }: OpenBuckets,
  { random, signal }: BucketContext,
  assertHeld: AssertHeld,
): Promise<Awaited<ReturnType<typeof build>>> {
  const { state } = planned;
  const writer = new KeepingWriter(keeper, indexPinName(name.bucket), signal);
  const built = await build(planned, { nodes }, writer, signal, async ({ key, ref }) => {
    // What was replaced since may have lost its pins. A content that is gone by now is for buckets verify to tell.
    const entry = logBlockCidOf(ref.entry);
    await writer.put({ cid: entry, bytes: await nodes.get(entry, signal) });
    const content = { content: ref.content, pinName: `object:${name.bucket}/${key}` };
    await keeper.keepContents([content], signal).catch((error: unknown) => {
      if (!isFulaError(error, "FULA_BLOCK_MISSING")) throw error;
    });
  });
  await writer.flush();
  await assertHeld();
  const outcome = await roots.cas(name, {
    expected: { kind: "at", version: state.version, root: state.root },
    next: {
      kind: "content",
      content: { root: built.root, objectCount: BigInt(built.keys), totalBytes: built.bytes, metadata: state.metadata },
      userId: state.userId,
    },
    commitId: random.uuid(),
    claims: [built.root.toString()],
    garbage: [state.root.toString()],
    // The collector is kept out meanwhile.
    deadlineMs: null,
  });
  if (outcome.kind === "won") return built;
  throw new FulaError(
    "FULA_CAS_EXHAUSTED",
    `Bucket ${name.bucket} was changed while it was rebuilt. Nothing was changed.`,
    {
      hint: "run the command again.",
    },
  );
}

/**
 * Makes a whole index of one of which blocks cannot be read: of what can be read of it, and of its newest earlier root that
 * is whole where it cannot; by compare-and-swap like every other move.
 * @param confirm asks before the root is replaced
 * @throws FulaError FULA_BUCKET_UNKNOWN, FULA_INDEX_WHOLE where nothing is damaged, FULA_CAS_EXHAUSTED, and as a write does
 */
export async function runBucketRebuild(
  context: BucketContext,
  name: BucketName,
  dryRun: boolean,
  confirm: (report: RebuildReport) => Promise<void>,
): Promise<RebuildReport> {
  const { signal } = context;
  return await withBucketStores(context, async (stores) => {
    const planned = await plan(stores, name, signal);
    const { state, damaged, older } = planned;
    const foreseen = await build(planned, stores, { put: async () => {} }, signal);
    const report: RebuildReport = {
      dryRun,
      reasons: damaged.reasons,
      olderRoot: older?.root.toString() ?? null,
      salvaged: foreseen.salvaged,
      older: foreseen.older,
      keys: foreseen.keys,
      keysBefore: state.objectCount.toString(),
      root: null,
    };
    if (dryRun) return report;
    await confirm(report);
    const { clock } = context;
    const { root } = await withSavedBuckets(stores, context, async (open) =>
      // An earlier root's blocks may stand on the collector's queue for long.
      withCollectorLock(stores.pool, { clock, signal, waitMs: 0 }, async (assertHeld) =>
        adopt(name, planned, open, context, assertHeld),
      ),
    );
    return { ...report, root: root.toString() };
  });
}
