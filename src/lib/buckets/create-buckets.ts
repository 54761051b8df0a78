import type { CID } from "multiformats/cid";
import type { Clock } from "../kernel/clock.ts";
import type { Log } from "../kernel/log.ts";
import type { Random } from "../kernel/random.ts";
import { BucketWriter, type Flush } from "./bucket-writer.ts";
import type { BucketOwner, Buckets, Mutation, MutationOutcome, OpenBucket } from "./buckets.ts";
import { type CompactionOutcome, compactBucket } from "./compaction.ts";
import { CompactionRunner } from "./compaction-runner.ts";
import type { Keeper } from "./keeping/keeper.ts";
import { OpenedIndexes } from "./opened-indexes.ts";
import {
  casExhausted,
  indexPinName,
  keepInTime,
  LateMove,
  type MoverOutcome,
  type PlannedMove,
  type Planner,
  RootMover,
} from "./root-mover.ts";
import { nameText } from "./roots/bucket-name.ts";
import type { BucketMetadata, BucketName, BucketState, RootPointerStore } from "./roots/root-pointer.ts";
import type { BucketIndex } from "./tree/bucket-index.ts";
import type { CachedReader } from "./tree/cached-reader.ts";
import { compactIndex, needsCompaction } from "./tree/compact-index.ts";
import { emptyIndexBlock, openBucketIndex } from "./tree/open-index.ts";
import type { NodeReader } from "./tree/node-store.ts";
import type { Turns } from "./turns.ts";

/** Buckets as the arbiter has them, read together with what others ask for at the same time. */
export interface BucketReads {
  /** As it is now. @throws FulaError where the arbiter does not answer */
  current(name: BucketName): Promise<BucketState | null>;
  /** As it is now, or as it was last known to be while the arbiter is silent. */
  read(name: BucketName): Promise<{ readonly state: BucketState | null; readonly staleMs: number | null }>;
  list(ownerId: string): Promise<{ readonly buckets: readonly BucketState[]; readonly staleMs: number | null }>;
}

/** What is told of the work on buckets, for metrics. */
export interface BucketEvents {
  flushed(flush: Flush): void;
  /** A race for a root was lost; the change is tried again. */
  conflicted(): void;
  compacted(outcome: CompactionOutcome | "failed", durationMs: number): void;
}

/** What buckets are built from. */
export interface BucketsParts {
  readonly roots: RootPointerStore;
  readonly reads: BucketReads;
  /** Blocks of indexes, as many as fit in memory. */
  readonly nodes: CachedReader;
  readonly keeper: Keeper;
  readonly turns: Turns;
  readonly settings: {
    /** Tries of one flush. */
    readonly casAttempts: number;
    /** Flushes in a bucket's log after which it is worked into the base. */
    readonly compactAfter: number;
    /** How long the collector leaves alone what was announced, in milliseconds. */
    readonly graceMs: number;
    /** False makes each write a flush of its own. Default true. */
    readonly groupCommit?: boolean;
  };
  readonly events: BucketEvents;
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Log;
}

/** Buckets that are compacted in the background until they are disposed of. */
export interface OwnBuckets extends Buckets, AsyncDisposable {
  /** Works the log of a bucket into its base, however short it is. @throws FulaError as a write does */
  compact(name: BucketName, signal: AbortSignal): Promise<CompactionOutcome>;
}

/** A change that takes longer than this has lost its client long ago. */
const CLAIM_AGE_MAX_MS = 120_000;

const NO_METADATA: BucketMetadata = { tags: {} };

/** Keeps, and has blocks of indexes at hand that were kept: they are what is read next. */
function rememberingKeeper(keeper: Keeper, nodes: CachedReader): Keeper {
  return {
    keepContents: async (contents, signal) => await keeper.keepContents(contents, signal),
    keepBlocks: async (blocks, pinName, signal) => {
      const announcedMs = await keeper.keepBlocks(blocks, pinName, signal);
      for (const block of blocks) nodes.add(block);
      return announcedMs;
    },
  };
}

class ArbitratedBuckets implements OwnBuckets {
  readonly #parts: BucketsParts;
  readonly #indexes: OpenedIndexes;
  readonly #mover: RootMover;
  readonly #writers = new Map<string, BucketWriter>();
  readonly #compactions: CompactionRunner;
  readonly #claimAgeMaxMs: number;

  constructor(parts: BucketsParts) {
    const { roots, reads, nodes, turns, settings, events, clock, random, log } = parts;
    const keeper = rememberingKeeper(parts.keeper, nodes);
    this.#parts = { ...parts, keeper };
    this.#claimAgeMaxMs = Math.min(CLAIM_AGE_MAX_MS, settings.graceMs / 4);
    this.#compactions = new CompactionRunner({
      compact: async (name, signal) => await this.#compactIfLong(name, signal),
      onCompaction: (outcome, durationMs) => {
        events.compacted(outcome, durationMs);
      },
      clock,
      log,
    });
    this.#indexes = new OpenedIndexes(async (root) => await openBucketIndex(root, nodes));
    this.#mover = new RootMover({
      roots,
      current: async (name) => await reads.current(name),
      openIndex: async (root) => await this.#indexes.at(root),
      keeper,
      turns,
      clock,
      random,
      attempts: settings.casAttempts,
      claimAgeMaxMs: this.#claimAgeMaxMs,
      onConflict: () => {
        events.conflicted();
      },
    });
  }

  async create({ ownerId, userId }: BucketOwner, bucket: string): Promise<"created" | "exists"> {
    const { roots, reads, keeper, random, settings } = this.#parts;
    const name = { ownerId, bucket };
    const block = emptyIndexBlock();
    const content = { root: block.cid, objectCount: 0n, totalBytes: 0n, metadata: NO_METADATA };
    for (let attempt = 1; ; attempt += 1) {
      if ((await reads.current(name)) !== null) return "exists";
      const announcedMs = await keepInTime(name, CREATE_MAX_MS, async (signal) =>
        keeper.keepBlocks([block], indexPinName(bucket), signal),
      );
      const outcome = await roots.cas(name, {
        expected: { kind: "absent" },
        next: { kind: "content", content, userId },
        commitId: random.uuid(),
        claims: [block.cid.toString()],
        garbage: [],
        deadlineMs: announcedMs === null ? null : announcedMs + this.#claimAgeMaxMs,
      });
      if (outcome.kind === "won") return "created";
      if (outcome.kind === "late") throw new LateMove(name, outcome.nowMs - this.#claimAgeMaxMs);
      if (outcome.current !== null) return "exists";
      // Somebody has made and deleted it meanwhile.
      if (attempt === settings.casAttempts) throw casExhausted(name, attempt);
    }
  }

  async remove(name: BucketName): Promise<"deleted" | "not-empty" | "absent"> {
    const plan: Planner<"deleted" | "not-empty"> = async (state, index) =>
      await planRemoval(state, index, this.#parts.nodes);
    return (await this.#writer(name).move(plan)) ?? "absent";
  }

  async list(ownerId: string): ReturnType<Buckets["list"]> {
    return await this.#parts.reads.list(ownerId);
  }

  async open(name: BucketName): Promise<OpenBucket | null> {
    const { state, staleMs } = await this.#parts.reads.read(name);
    if (state === null) return null;
    return { state, staleMs, index: await this.#indexes.at(state.root) };
  }

  async write(name: BucketName, mutations: readonly Mutation[]): Promise<readonly MutationOutcome[] | null> {
    if (mutations.length === 0) throw new Error("A write needs at least one mutation");
    const { keeper } = this.#parts;
    const contents = mutations.flatMap(({ key, change }) =>
      change.kind === "put" ? [{ content: change.entry.content, pinName: objectPinName(name.bucket, key) }] : [],
    );
    const bytes = mutations.reduce((sum, { change }) => sum + (change.kind === "put" ? change.entry.sizeBytes : 0), 0);
    const announcedMs = await keepInTime(name, keepMaxMs(bytes), async (signal) =>
      keeper.keepContents(contents, signal),
    );
    return await this.#writer(name).edit({
      make: async (draft) => await draft.apply(mutations),
      size: mutations.length,
      announcedMs,
    });
  }

  async claim(name: BucketName, userId: string): Promise<void> {
    await this.#parts.roots.claim(name, userId);
  }

  async setMetadata(name: BucketName, update: (present: BucketMetadata) => BucketMetadata): Promise<boolean> {
    const made = await this.#writer(name).edit({
      make: async (draft) => {
        draft.setMetadata(update);
        return await Promise.resolve(true);
      },
      size: 1,
      announcedMs: null,
    });
    return made ?? false;
  }

  async keepContent(name: BucketName, key: string, content: CID, sizeBytes: number): Promise<number | null> {
    const named = { content, pinName: objectPinName(name.bucket, key) };
    const announcedMs = await keepInTime(name, keepMaxMs(sizeBytes), async (signal) =>
      this.#parts.keeper.keepContents([named], signal),
    );
    return announcedMs === null ? null : announcedMs + this.#claimAgeMaxMs;
  }

  async releaseContents(contents: readonly CID[]): Promise<void> {
    await this.#parts.roots.announce(contents.map(String).toSorted());
  }

  async compact(name: BucketName, signal: AbortSignal): Promise<CompactionOutcome> {
    const state = await this.#parts.reads.current(name);
    return state === null ? "absent" : await this.#compact(name, await this.#indexes.at(state.root), signal);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#compactions[Symbol.asyncDispose]();
  }

  /** Somebody else may have done it since it was asked for. */
  async #compactIfLong(name: BucketName, signal: AbortSignal): Promise<CompactionOutcome> {
    const state = await this.#parts.reads.current(name);
    if (state === null) return "absent";
    const index = await this.#indexes.at(state.root);
    return this.#isLong(index) ? await this.#compact(name, index, signal) : "nothing";
  }

  async #compact(name: BucketName, index: BucketIndex, signal: AbortSignal): Promise<CompactionOutcome> {
    const parts = { ...this.#parts, claimAgeMaxMs: this.#claimAgeMaxMs };
    return await compactBucket(name, index, parts, async (plan) => await this.#writer(name).move(plan), signal);
  }

  #isLong(index: BucketIndex): boolean {
    return needsCompaction(index, this.#parts.settings.compactAfter);
  }

  #writer(name: BucketName): BucketWriter {
    const text = nameText(name);
    const known = this.#writers.get(text);
    if (known !== undefined) return known;
    const writer = new BucketWriter({
      name,
      groupsEdits: this.#parts.settings.groupCommit ?? true,
      move: async (plan) => await this.#move(name, plan),
      onFlush: (flush) => {
        this.#parts.events.flushed(flush);
      },
      onIdle: () => {
        this.#writers.delete(text);
      },
      clock: this.#parts.clock,
    });
    this.#writers.set(text, writer);
    return writer;
  }

  async #move<T>(name: BucketName, plan: Planner<T>): Promise<MoverOutcome<T>> {
    const outcome = await this.#mover.move(name, plan);
    if (outcome.kind === "moved" && outcome.index !== null) {
      this.#indexes.add(outcome.index);
      if (this.#isLong(outcome.index)) this.#compactions.request(name);
    }
    return outcome;
  }
}

const KEEP_MAX_MS = 60_000;
/** The proof that every block of a content is there goes through all of it, on a slow disk no faster than 10 MB/s. */
const PROVED_BYTES_PER_MS = 10_000;
const CREATE_MAX_MS = 30_000;

/** How long keeping contents of so many bytes may take. */
function keepMaxMs(bytes: number): number {
  return KEEP_MAX_MS + Math.ceil(bytes / PROVED_BYTES_PER_MS);
}

/** The name of the pin of an object's content. */
function objectPinName(bucket: string, key: string): string {
  return `object:${bucket}/${key}`;
}

/** Only an empty bucket goes. The index is asked too: what is in it would be lost with it. */
async function planRemoval(
  state: BucketState,
  index: BucketIndex,
  reader: NodeReader,
): ReturnType<Planner<"deleted" | "not-empty">> {
  const first = await index.scan().next();
  if (state.objectCount > 0n || first.done !== true) return { result: "not-empty", move: null };
  // What is left of it is what a compaction would take out of use; the base that it would make is that of no keys.
  const compacted = await compactIndex(index, { reader, writer: { put: async () => {} } });
  const move: PlannedMove = {
    next: { kind: "deleted" },
    blocks: [],
    claims: [],
    garbage: [...(compacted?.garbage ?? []), compacted?.base ?? index.root],
    index: null,
    claimsSinceMs: null,
  };
  return { result: "deleted", move };
}

/** Puts arbiter, blocks and pinset together. */
export function createBuckets(parts: BucketsParts): OwnBuckets {
  return new ArbitratedBuckets(parts);
}
