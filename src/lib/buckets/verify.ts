import type { CID } from "multiformats/cid";
import type { BlockStore } from "../blocks/block-store.ts";
import { isEmptyBlock } from "../blocks/cid.ts";
import { checkDag } from "../blocks/dag.ts";
import type { PinCluster } from "../cluster/pins.ts";
import { isFulaError, messageOf } from "../kernel/errors.ts";
import { mapOrdered } from "../kernel/map-ordered.ts";
import type { BucketState } from "./roots/root-pointer.ts";
import type { BucketIndex } from "./tree/bucket-index.ts";
import { logBlockCidOf } from "./tree/log-block.ts";
import type { NodeReader } from "./tree/node-store.ts";
import { openBucketIndex } from "./tree/open-index.ts";
import { verifyTree } from "./tree/verify-tree.ts";
import { readLog, type WalkedBlock, walkIndex } from "./walk.ts";

/** What can be wrong with a bucket. */
export type BucketFault =
  /** A block of the index cannot be read, or is not what its place says. */
  | "index"
  /** The keys, or their bytes, are not as many as the row says. */
  | "counts"
  /** What is kept of an object cannot be read, or is not what the index says of it. */
  | "entry"
  /** A block of a content is not there. */
  | "content"
  /** Nothing in the pinset keeps a block or a content. */
  | "pin";

/** One thing that is wrong. */
export interface BucketFinding {
  readonly fault: BucketFault;
  /** The block, or the root of the content; null where it is about the bucket. */
  readonly cid: string | null;
  /** The key that needs it; null where none or many do. */
  readonly key: string | null;
  readonly message: string;
}

/** What came of looking at one bucket. */
export interface BucketVerdict {
  readonly ok: boolean;
  readonly version: string;
  readonly root: string;
  /** Keys that were found, and what their objects add up to. */
  readonly keys: number;
  readonly bytes: string;
  /** Blocks of log and tree that were read. */
  readonly blocks: number;
  /** Things that are wrong; of many the first `FINDINGS_MAX` are told. */
  readonly faults: number;
  readonly findings: readonly BucketFinding[];
}

/** What verifying needs. */
export interface VerifyParts {
  readonly blocks: BlockStore;
  readonly nodes: NodeReader;
  readonly pins: Pick<PinCluster, "pin">;
}

/** How closely it looks. */
export interface VerifyOptions {
  /** True reads and re-hashes every block of every content. */
  readonly deep: boolean;
  readonly signal: AbortSignal;
}

const FINDINGS_MAX = 100;
const LOOKS_AT_ONCE = 16;

/** Counts what is wrong, and keeps the first of it. */
class Findings {
  readonly shown: BucketFinding[] = [];
  count = 0;

  add(fault: BucketFault, cid: CID | null, key: string | null, message: string): void {
    this.count += 1;
    if (this.shown.length < FINDINGS_MAX) this.shown.push({ fault, cid: cid?.toString() ?? null, key, message });
  }
}

class BucketCheck {
  readonly findings = new Findings();
  keys = 0;
  bytes = 0n;
  blocks = 0;
  readonly #parts: VerifyParts;
  readonly #options: VerifyOptions;

  constructor(parts: VerifyParts, options: VerifyOptions) {
    this.#parts = parts;
    this.#options = options;
  }

  async look(block: WalkedBlock, index: BucketIndex): Promise<void> {
    this.#options.signal.throwIfAborted();
    if (block.kind !== "key") {
      this.blocks += 1;
      await this.#lookAtPin(block.cid, null, false);
      return;
    }
    const { key, ref } = block;
    this.keys += 1;
    this.bytes += BigInt(ref.sizeBytes);
    await this.#lookAtEntry(key, ref, index);
    await this.#lookAtPin(logBlockCidOf(ref.entry), key, false);
    if (isEmptyBlock(ref.content)) return;
    await this.#lookAtContent(ref.content, key);
    await this.#lookAtPin(ref.content, key, true);
  }

  async #lookAtEntry(key: string, ref: Parameters<BucketIndex["readEntry"]>[1], index: BucketIndex): Promise<void> {
    try {
      await index.readEntry(key, ref, this.#options.signal);
    } catch (error) {
      this.#options.signal.throwIfAborted();
      if (!isFulaError(error)) throw error;
      this.findings.add("entry", ref.entry, key, error.message);
    }
  }

  async #lookAtContent(content: CID, key: string): Promise<void> {
    const { deep, signal } = this.#options;
    const { blocks } = this.#parts;
    // Looked for on our own node alone; where it is not, it is read from wherever it is.
    if (!deep && (await blocks.has(content))) return;
    const check = await checkDag(content, blocks, { recursive: deep, deep: true, signal });
    const { missing, firstMissing, unreadable, firstError } = check;
    if (missing > 0) this.findings.add("content", content, key, `Block ${firstMissing} of it is not there.`);
    if (unreadable > 0) this.findings.add("content", content, key, `It cannot be read: ${firstError}`);
  }

  async #lookAtPin(cid: CID, key: string | null, isWhole: boolean): Promise<void> {
    const pin = await this.#parts.pins.pin(cid.toString(), this.#options.signal);
    const what = isWhole ? "Content" : "Block";
    if (pin === null) this.findings.add("pin", cid, key, `${what} ${cid.toString()} is not in the pinset.`);
    else if (pin.expire_at !== null) {
      this.findings.add("pin", cid, key, `The pin of ${cid.toString()} expires at ${pin.expire_at}.`);
    } else if (isWhole && (pin.mode !== "recursive" || pin.max_depth !== -1)) {
      this.findings.add("pin", cid, key, `The pin of ${cid.toString()} does not keep what its root names.`);
    }
  }
}

/**
 * Looks at one bucket at its root, streaming: every block of the index, that keys and bytes are as many as the row says,
 * every entry, the root of every content (deep: every block of it), and that the pinset keeps all of it.
 * @throws FulaError where the pinset does not answer: a look that could not be taken is no verdict
 */
export async function verifyBucket(
  state: BucketState,
  parts: VerifyParts,
  options: VerifyOptions,
): Promise<BucketVerdict> {
  const check = new BucketCheck(parts, options);
  const { findings } = check;
  let isWhole = true;
  const tell = (error: unknown, cid: CID): void => {
    isWhole = false;
    findings.add("index", cid, null, messageOf(error));
  };
  try {
    const index = await openBucketIndex(state.root, parts.nodes, { signal: options.signal });
    const walk = walkIndex(state.root, { reader: parts.nodes, visited: null, onFault: tell }, options.signal);
    for await (const _ of mapOrdered(walk, LOOKS_AT_ONCE, async (block) => check.look(block, index)));
  } catch (error) {
    options.signal.throwIfAborted();
    if (!isFulaError(error) || !isOfIndex(error.code)) throw error;
    tell(error, state.root);
  }
  // What lies below a damaged node was not counted, and every such node would be told of again.
  if (isWhole) {
    tellCounts(state, check);
    await tellShape(state, parts, options, findings);
  }
  return {
    ok: findings.count === 0,
    version: state.version.toString(),
    root: state.root.toString(),
    keys: check.keys,
    bytes: check.bytes.toString(),
    blocks: check.blocks,
    faults: findings.count,
    findings: findings.shown,
  };
}

/** The tree has the one shape that its keys give it: otherwise two buckets of the same objects have two roots. */
async function tellShape(
  { root }: BucketState,
  { nodes }: VerifyParts,
  { signal }: VerifyOptions,
  findings: Findings,
): Promise<void> {
  const { base } = await readLog(root, nodes, signal);
  for await (const error of verifyTree(nodes, base, signal)) findings.add("index", null, null, error.message);
}

function isOfIndex(code: string): boolean {
  return code === "FULA_INDEX_CORRUPT" || code === "FULA_BLOCK_MISSING" || code === "FULA_BLOCK_CORRUPT";
}

function tellCounts({ objectCount, totalBytes }: BucketState, { keys, bytes, findings }: BucketCheck): void {
  if (BigInt(keys) !== objectCount) {
    findings.add("counts", null, null, `The index has ${keys} keys; the row says ${objectCount}.`);
  }
  if (bytes !== totalBytes) {
    findings.add("counts", null, null, `Its objects have ${bytes} bytes; the row says ${totalBytes}.`);
  }
}
