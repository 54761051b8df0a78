import { parseCid } from "../blocks/cid.ts";
import type { Mutation, MutationOutcome, WriteCondition } from "../buckets/buckets.ts";
import { type MergedIndexes, type MergeStep, mergeSteps } from "../buckets/tree/merge-indexes.ts";
import type { BucketName } from "../buckets/roots/root-pointer.ts";
import { readBucket } from "../buckets/roots/root-queries.ts";
import type { BucketIndex } from "../buckets/tree/bucket-index.ts";
import type { NodeReader } from "../buckets/tree/node-store.ts";
import { type EntryRef, etagOf } from "../buckets/tree/object-entry.ts";
import { openBucketIndex } from "../buckets/tree/open-index.ts";
import { FulaError } from "../kernel/errors.ts";
import { formatCount } from "../kernel/units.ts";
import { type BucketContext, type BucketStores, withBucketStores } from "./bucket-ledger.ts";
import { withSavedBuckets } from "./bucket-saving.ts";
import { unknownBucket } from "./bucket-verify-run.ts";
import type { OpenBuckets } from "./open-buckets.ts";

/** What `buckets merge` is given. */
export interface MergeOptions {
  /** A root that both sides came from. */
  readonly base: string;
  /** The root whose changes are wanted. */
  readonly from: string;
  /** Who is right where both changed a key; null refuses such a merge. */
  readonly prefer: "ours" | "theirs" | null;
  readonly dryRun: boolean;
}

/** What `buckets merge` prints; `--json` keeps these fields. */
export interface MergeReport {
  readonly dryRun: boolean;
  /** Keys that were, or would be, put or deleted. */
  readonly put: number;
  readonly deleted: number;
  /** Keys that both sides changed; the first of them by name. */
  readonly conflicts: number;
  readonly conflicting: readonly string[];
  /** Keys that somebody else changed while they were merged: they stay as they are. */
  readonly raced: number;
}

const MUTATIONS_AT_ONCE = 200;
const SHOWN_MAX = 100;

async function openMerge(
  pool: BucketStores["pool"],
  nodes: NodeReader,
  name: BucketName,
  { base, from }: MergeOptions,
  signal: AbortSignal,
): Promise<MergedIndexes> {
  const state = await readBucket(pool, name);
  if (state === null) throw unknownBucket(name);
  const open = async (text: string): Promise<BucketIndex> => openBucketIndex(parseCid(text), nodes, { signal });
  return {
    base: await open(base),
    ours: await openBucketIndex(state.root, nodes, { signal }),
    theirs: await open(from),
  };
}

/** What must still hold of our side when the change is made. */
function conditionOf(ours: EntryRef | null): WriteCondition {
  if (ours === null) return { ifMatch: null, ifNoneMatch: "*" };
  return { ifMatch: [etagOf(ours)], ifNoneMatch: null };
}

async function mutationOf({ key, ours, theirs }: MergeStep, index: BucketIndex): Promise<Mutation> {
  const condition = conditionOf(ours);
  if (theirs === null) return { key, change: { kind: "delete" }, condition };
  return { key, change: { kind: "put", entry: await index.readEntry(key, theirs) }, condition };
}

function isWanted({ isConflict }: MergeStep, { prefer }: MergeOptions): boolean {
  return !isConflict || prefer === "theirs";
}

async function plan(
  indexes: MergedIndexes,
  nodes: NodeReader,
  options: MergeOptions,
  signal: AbortSignal,
): Promise<MergeReport> {
  const counts = { put: 0, deleted: 0, conflicts: 0, raced: 0 };
  const conflicting: string[] = [];
  for await (const step of mergeSteps(indexes, nodes, signal)) {
    if (step.isConflict) {
      counts.conflicts += 1;
      if (conflicting.length < SHOWN_MAX) conflicting.push(step.key);
    }
    if (isWanted(step, options)) counts[step.theirs === null ? "deleted" : "put"] += 1;
  }
  return { dryRun: options.dryRun, ...counts, conflicting };
}

function refuseConflicts({ ownerId, bucket }: BucketName, { conflicts, conflicting }: MergeReport): FulaError {
  const shown = conflicting
    .slice(0, 5)
    .map((key) => JSON.stringify(key))
    .join(", ");
  return new FulaError(
    "FULA_BUCKET_MERGE_CONFLICT",
    `Both sides of ${ownerId}/${bucket} changed ${formatCount(conflicts, "key")} in different ways, such as ${shown}. Nothing was changed.`,
    {
      hint: "--dry-run --json lists them; --prefer ours or --prefer theirs says who is right.",
      details: { conflicts, conflicting },
    },
  );
}

async function execute(
  name: BucketName,
  indexes: MergedIndexes,
  { buckets, nodes }: OpenBuckets,
  options: MergeOptions,
  signal: AbortSignal,
): Promise<Pick<MergeReport, "put" | "deleted" | "raced">> {
  const done = { put: 0, deleted: 0, raced: 0 };
  let held: Mutation[] = [];
  const write = async (): Promise<void> => {
    const mutations = held;
    held = [];
    if (mutations.length === 0) return;
    const outcomes: readonly MutationOutcome[] | null = await buckets.write(name, mutations);
    if (outcomes === null) throw unknownBucket(name);
    for (const outcome of outcomes) {
      if (outcome.kind !== "done") done.raced += 1;
      else done[outcome.entry === null ? "deleted" : "put"] += 1;
    }
  };
  for await (const step of mergeSteps(indexes, nodes, signal)) {
    if (!isWanted(step, options)) continue;
    held.push(await mutationOf(step, indexes.theirs));
    if (held.length >= MUTATIONS_AT_ONCE) await write();
  }
  await write();
  return done;
}

/**
 * Brings what one root of a bucket changed since another one into the bucket as it is: by writes like any client's, each
 * on condition that the key is still what it was when it was compared. May be run again.
 * @throws FulaError FULA_BUCKET_UNKNOWN, FULA_BUCKET_MERGE_CONFLICT, FULA_CID_INVALID, FULA_BLOCK_MISSING where a root or a
 *   content is gone by now, and as a write does
 */
export async function runBucketMerge(
  context: BucketContext,
  name: BucketName,
  options: MergeOptions,
): Promise<MergeReport> {
  const { signal } = context;
  return await withBucketStores(context, async (stores) => {
    const { pool, nodes } = stores;
    const indexes = await openMerge(pool, nodes, name, options, signal);
    const planned = await plan(indexes, nodes, options, signal);
    if (options.dryRun) return planned;
    if (planned.conflicts > 0 && options.prefer === null) throw refuseConflicts(name, planned);
    return await withSavedBuckets(stores, context, async (open) => ({
      ...planned,
      ...(await execute(name, indexes, open, options, signal)),
    }));
  });
}
