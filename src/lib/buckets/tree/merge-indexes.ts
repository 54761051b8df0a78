import * as dagCbor from "@ipld/dag-cbor";
import type { BucketIndex } from "./bucket-index.ts";
import { diffTrees, sameRef } from "./diff-trees.ts";
import { entryToTuple } from "./entry-codec.ts";
import type { NodeReader } from "./node-store.ts";
import type { EntryRef } from "./object-entry.ts";

/** A key that one side changed since both parted; null = it is not there. */
export interface MergeStep {
  readonly key: string;
  readonly base: EntryRef | null;
  readonly ours: EntryRef | null;
  readonly theirs: EntryRef | null;
  /** True where our side changed it too, and to something else. */
  readonly isConflict: boolean;
}

/** Three indexes: two, and what both came from. */
export interface MergedIndexes {
  readonly base: BucketIndex;
  readonly ours: BucketIndex;
  readonly theirs: BucketIndex;
}

/** Keys that two indexes may not have alike: those in either log, and those in which their trees differ. */
async function* candidates(
  a: BucketIndex,
  b: BucketIndex,
  reader: NodeReader,
  signal: AbortSignal,
): AsyncGenerator<string> {
  const [ours, theirs] = [await a.log(signal), await b.log(signal)];
  const logged = new Set([...ours.changes.keys(), ...theirs.changes.keys()]);
  yield* logged;
  for await (const { key } of diffTrees(reader, ours.base, theirs.base, signal)) if (!logged.has(key)) yield key;
}

/** One side's word on a key. */
interface Side {
  readonly index: BucketIndex;
  readonly ref: EntryRef | null;
}

/** True where two sides have the same at a key, be it in different blocks: a merged entry is written anew. */
async function isSame(key: string, a: Side, b: Side): Promise<boolean> {
  if (sameRef(a.ref, b.ref)) return true;
  if (a.ref === null || b.ref === null || !sameRef({ ...a.ref, entry: b.ref.entry }, b.ref)) return false;
  const entries = await Promise.all([a.index.readEntry(key, a.ref), b.index.readEntry(key, b.ref)]);
  const [ours, theirs] = entries.map((entry) => dagCbor.encode(entryToTuple(entry)));
  return ours !== undefined && theirs !== undefined && Buffer.compare(ours, theirs) === 0;
}

/**
 * Gives what `theirs` changed since `base` and `ours` has not, key by key. What the three have in common is not read.
 * @throws FulaError FULA_INDEX_CORRUPT, and what the reader throws
 */
export async function* mergeSteps(
  { base, ours, theirs }: MergedIndexes,
  reader: NodeReader,
  signal: AbortSignal,
): AsyncGenerator<MergeStep> {
  for await (const key of candidates(base, theirs, reader, signal)) {
    const before: Side = { index: base, ref: await base.findRef(key, signal) };
    const their: Side = { index: theirs, ref: await theirs.findRef(key, signal) };
    if (await isSame(key, before, their)) continue;
    const our: Side = { index: ours, ref: await ours.findRef(key, signal) };
    if (await isSame(key, our, their)) continue;
    const isConflict = !(await isSame(key, our, before));
    yield { key, base: before.ref, ours: our.ref, theirs: their.ref, isConflict };
  }
}
