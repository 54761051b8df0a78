import type { CID } from "multiformats/cid";
import type { BlockStore } from "../blocks/block-store.ts";
import { isEmptyBlock } from "../blocks/cid.ts";
import type { Pin, PinCluster } from "../cluster/pins.ts";
import { isFulaError } from "../kernel/errors.ts";
import { mapOrdered } from "../kernel/map-ordered.ts";
import type { KeyedEntry } from "./import-sort.ts";
import type { Keeper } from "./keeping/keeper.ts";
import type { NewBlock, NodeWriter } from "./tree/node-store.ts";

/** What keeping an imported bucket needs. */
export interface ImportKeepParts {
  readonly blocks: Pick<BlockStore, "has" | "get">;
  readonly pins: Pick<PinCluster, "pin">;
  /** Null only looks whether the contents are there. */
  readonly keeper: Keeper | null;
}

/** Contents of an imported bucket that could not be found. */
export interface MissingContents {
  count: number;
  /** The first of them. */
  readonly shown: { readonly key: string; readonly cid: string }[];
}

const CONTENTS_AT_ONCE = 16;
const BLOCKS_AT_ONCE = 64;
const SHOWN_MAX = 20;

function keepsForEver(pin: Pin | null): boolean {
  return pin !== null && pin.mode === "recursive" && pin.max_depth === -1 && pin.expire_at === null;
}

/** True where a content is there: on our own node, or on one that it is fetched from. */
async function isThere(content: CID, { blocks }: ImportKeepParts, signal: AbortSignal): Promise<boolean> {
  if (await blocks.has(content)) return true;
  try {
    await blocks.get(content, signal);
    return true;
  } catch (error) {
    if (isFulaError(error, "FULA_BLOCK_MISSING")) return false;
    throw error;
  }
}

async function keepContent(
  { key, entry: { content } }: KeyedEntry,
  bucket: string,
  parts: ImportKeepParts,
  signal: AbortSignal,
): Promise<boolean> {
  const { keeper, pins } = parts;
  if (isEmptyBlock(content)) return true;
  // In a cluster not every node holds every content: what the pinset keeps already is looked for, not held once more.
  const isKept = keepsForEver(await pins.pin(content.toString(), signal));
  if (keeper === null || isKept) return await isThere(content, parts, signal);
  try {
    await keeper.keepContents([{ content, pinName: `object:${bucket}/${key}` }], signal);
    return true;
  } catch (error) {
    if (isFulaError(error, "FULA_BLOCK_MISSING")) return false;
    throw error;
  }
}

/**
 * Keeps the contents of all objects, and tells which are not there.
 * @throws FulaError where ledger, blocks or pinset do not answer
 */
export async function keepAllContents(
  objects: Iterable<KeyedEntry>,
  bucket: string,
  parts: ImportKeepParts,
  signal: AbortSignal,
): Promise<MissingContents> {
  const missing: MissingContents = { count: 0, shown: [] };
  const looks = mapOrdered(each(objects), CONTENTS_AT_ONCE, async (object) => ({
    object,
    isThere: await keepContent(object, bucket, parts, signal),
  }));
  for await (const look of looks) {
    signal.throwIfAborted();
    if (look.isThere) continue;
    missing.count += 1;
    const { key, entry } = look.object;
    if (missing.shown.length < SHOWN_MAX) missing.shown.push({ key, cid: entry.content.toString() });
  }
  return missing;
}

async function* each<T>(items: Iterable<T>): AsyncGenerator<T> {
  yield* items;
}

/** Stores and keeps blocks of an index, some at a time, in the order in which they come. */
export class KeepingWriter implements NodeWriter {
  readonly #keeper: Keeper;
  readonly #pinName: string;
  readonly #signal: AbortSignal;
  #held: NewBlock[] = [];

  constructor(keeper: Keeper, pinName: string, signal: AbortSignal) {
    this.#keeper = keeper;
    this.#pinName = pinName;
    this.#signal = signal;
  }

  async put(block: NewBlock): Promise<void> {
    this.#held.push(block);
    if (this.#held.length >= BLOCKS_AT_ONCE) await this.flush();
  }

  /** Keeps what is held back. */
  async flush(): Promise<void> {
    const blocks = this.#held;
    this.#held = [];
    if (blocks.length > 0) await this.#keeper.keepBlocks(blocks, this.#pinName, this.#signal);
  }
}
