import type { Clock } from "../kernel/clock.ts";
import type { Keeper } from "./keeping/keeper.ts";
import { earliest, indexPinName, type PlannedMove, type Planner } from "./root-mover.ts";
import type { BucketName } from "./roots/root-pointer.ts";
import type { BucketIndex } from "./tree/bucket-index.ts";
import type { CachedReader } from "./tree/cached-reader.ts";
import { adoptBase, type CompactedBase, compactIndex } from "./tree/compact-index.ts";
import type { NewBlock, NodeReader } from "./tree/node-store.ts";

/** How a compaction ended. `overtaken`: somebody else put another base under the bucket meanwhile. */
export type CompactionOutcome = "adopted" | "overtaken" | "nothing" | "absent";

/** What compacting needs. */
export interface CompactionParts {
  readonly nodes: CachedReader;
  readonly keeper: Keeper;
  readonly clock: Clock;
  /** How long after it was announced something may still be claimed, in milliseconds. */
  readonly claimAgeMaxMs: number;
}

/** Nodes that are kept together. */
const KEPT_AT_ONCE = 64;

/** Takes the nodes of a new base: each can be read at once, and is kept with others. */
class BaseWriter implements NodeReader {
  readonly written: NewBlock[] = [];
  /** When the first of them was announced, by the arbiter's clock. */
  announcedMs: number | null = null;
  /** When they were begun to be kept, by the monotonic clock. */
  #sinceMs: number | null = null;
  readonly #parts: CompactionParts;
  readonly #pinName: string;
  readonly #signal: AbortSignal;
  readonly #unkept = new Map<string, NewBlock>();

  constructor(parts: CompactionParts, pinName: string, signal: AbortSignal) {
    this.#parts = parts;
    this.#pinName = pinName;
    this.#signal = signal;
  }

  async put(block: NewBlock): Promise<void> {
    this.written.push(block);
    this.#unkept.set(block.cid.toString(), block);
    if (this.#unkept.size >= KEPT_AT_ONCE) await this.keep();
  }

  async get(cid: NewBlock["cid"], signal?: AbortSignal): Promise<Uint8Array> {
    return this.#unkept.get(cid.toString())?.bytes ?? (await this.#parts.nodes.get(cid, signal));
  }

  /** Keeps what was not kept yet; all of it once more where the first of it was announced long ago. */
  async keep(): Promise<void> {
    const { keeper, clock, claimAgeMaxMs } = this.#parts;
    const nowMs = clock.monotonicMs();
    const isOld = this.#sinceMs !== null && nowMs - this.#sinceMs > claimAgeMaxMs / 2;
    const blocks = isOld ? this.written : [...this.#unkept.values()];
    if (isOld || this.#sinceMs === null) this.#sinceMs = nowMs;
    const announcedMs = await keeper.keepBlocks(blocks, this.#pinName, this.#signal);
    this.announcedMs = isOld ? announcedMs : earliest(this.announcedMs, announcedMs);
    this.#unkept.clear();
  }
}

/** Puts the new base under the bucket as it is by then. */
function planAdoption(compacted: CompactedBase, base: BaseWriter, nodes: NodeReader): Planner<CompactionOutcome> {
  return async (state, current) => {
    const adopted = await adoptBase(compacted, current, { reader: nodes });
    if (adopted === null) return { result: "overtaken", move: null };
    const { objectCount, totalBytes, metadata, userId } = state;
    const move: PlannedMove = {
      next: { kind: "content", content: { root: adopted.root, objectCount, totalBytes, metadata }, userId },
      blocks: adopted.blocks,
      claims: base.written.map(({ cid }) => cid),
      garbage: adopted.garbage,
      index: adopted.index,
      claimsSinceMs: base.announcedMs,
    };
    return { result: "adopted", move };
  };
}

/**
 * Works the log of a bucket into its base. Writers go on meanwhile: the new base is built beside the bucket, and put under
 * it by one more move of its root, between two flushes.
 * @param move runs a plan as the bucket's writer does; null where the bucket is gone
 * @throws FulaError as a write does, and the signal's reason; the bucket is as it was
 */
export async function compactBucket(
  name: BucketName,
  index: BucketIndex,
  parts: CompactionParts,
  move: (plan: Planner<CompactionOutcome>) => Promise<CompactionOutcome | null>,
  signal: AbortSignal,
): Promise<CompactionOutcome> {
  const base = new BaseWriter(parts, indexPinName(name.bucket), signal);
  const compacted = await compactIndex(index, { reader: base, writer: base, signal });
  if (compacted === null) return "nothing";
  await base.keep();
  return (await move(planAdoption(compacted, base, parts.nodes))) ?? "absent";
}
