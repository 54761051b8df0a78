import { setImmediate as nextTurn } from "node:timers/promises";
import * as dagCbor from "@ipld/dag-cbor";
import * as dagPb from "@ipld/dag-pb";
import { CID } from "multiformats/cid";
import { FulaError, isFulaError, messageOf } from "../kernel/errors.ts";
import type { BlockStore } from "./block-store.ts";
import { VisitedSet } from "./visited-set.ts";

// Codes of https://github.com/multiformats/multicodec/blob/master/table.csv
const CODEC_CBOR = 0x51;
const CODEC_RAW = 0x55;
const CODEC_JSON = 0x02_00;
const HASH_IDENTITY = 0x00;

/** Codecs whose blocks name no other block. */
const CODECS_WITHOUT_LINKS: ReadonlySet<number> = new Set([CODEC_RAW, CODEC_CBOR, CODEC_JSON]);

/** How many blocks of one node are looked up at the same time. */
const LOOKUPS_AT_ONCE = 16;

/** The walk lets others run after that many nodes, however fast the store answers. */
const NODES_PER_TURN = 64;

function cborLinks(value: unknown, found: CID[]): void {
  // A stack instead of recursion: nesting depth is the writer's choice, our call stack is not.
  const open: unknown[] = [value];
  while (open.length > 0) {
    const next = open.pop();
    const cid = CID.asCID(next);
    if (cid !== null) found.push(cid);
    else if (typeof next === "object" && next !== null && !(next instanceof Uint8Array))
      // What is pushed last comes first.
      for (const item of Object.values(next).toReversed()) open.push(item);
  }
}

/**
 * The CIDs that a block names, in their order: dag-pb and dag-cbor; none for raw, cbor and json.
 * @throws FulaError FULA_DAG_UNREADABLE where the bytes are no such node, or the codec is not one of these
 */
export function blockLinks(cid: CID, bytes: Uint8Array): readonly CID[] {
  if (CODECS_WITHOUT_LINKS.has(cid.code)) return [];
  try {
    if (cid.code === dagPb.code) return dagPb.decode(bytes).Links.map((link) => link.Hash);
    if (cid.code === dagCbor.code) {
      const found: CID[] = [];
      cborLinks(dagCbor.decode(bytes), found);
      return found;
    }
  } catch (error) {
    throw new FulaError("FULA_DAG_UNREADABLE", `Block ${cid.toString()} is no valid node: ${messageOf(error)}.`, {
      cause: error,
      hint: "store the object again; its bytes are what their hash says, so they were written like this.",
      details: { cid: cid.toString() },
    });
  }
  const code = `0x${cid.code.toString(16)}`;
  throw new FulaError("FULA_DAG_UNREADABLE", `Block ${cid.toString()} has codec ${code}, whose links cannot be read.`, {
    hint: "known are dag-pb, dag-cbor, raw, cbor and json; pin it with --mode direct to have its root alone checked.",
    details: { cid: cid.toString(), codec: code },
  });
}

/** What a look at every block of a DAG found. `missing` is a lower bound: what a missing node names is unknown. */
export interface DagCheck {
  /** Blocks that were looked up; a raw block that two nodes name is looked up twice. */
  readonly blocks: number;
  readonly missing: number;
  /** One of the missing ones, to look for by hand. */
  readonly firstMissing: string | null;
  /** Blocks that are there, but not readable as what their CID says. */
  readonly unreadable: number;
  readonly firstError: string | null;
}

/** How far and how closely `checkDag` looks. */
export interface DagCheckOptions {
  /** Default true; false looks at the root block alone. */
  readonly recursive?: boolean;
  /** True reads and re-hashes leaves too, which otherwise are only looked for. */
  readonly deep?: boolean;
  readonly signal?: AbortSignal | undefined;
  readonly visited?: VisitedSet;
}

class DagWalk {
  blocks = 0;
  missing = 0;
  firstMissing: string | null = null;
  unreadable = 0;
  firstError: string | null = null;
  readonly #blocks: BlockStore;
  readonly #options: DagCheckOptions;

  constructor(blocks: BlockStore, options: DagCheckOptions) {
    this.#blocks = blocks;
    this.#options = options;
  }

  noteMissing(cid: CID): void {
    this.missing += 1;
    this.firstMissing ??= cid.toString();
  }

  noteError(error: unknown): void {
    this.unreadable += 1;
    this.firstError ??= messageOf(error);
  }

  /** Looks whether a block is there that names no others, or whose links are not wanted. */
  async lookUp(cid: CID): Promise<void> {
    this.blocks += 1;
    if (cid.multihash.code === HASH_IDENTITY) return;
    if (this.#options.deep === true) {
      await this.#read(cid);
      return;
    }
    try {
      if (!(await this.#blocks.has(cid))) this.noteMissing(cid);
    } catch (error) {
      this.#options.signal?.throwIfAborted();
      this.noteError(error);
    }
  }

  /** Reads a node and gives what it names; empty where it could not be read, which is noted. */
  async #links(cid: CID): Promise<readonly CID[]> {
    this.blocks += 1;
    const bytes = cid.multihash.code === HASH_IDENTITY ? cid.multihash.digest : await this.#read(cid);
    if (bytes === null) return [];
    try {
      return blockLinks(cid, bytes);
    } catch (error) {
      this.noteError(error);
      return [];
    }
  }

  /** Reads a node and looks for the leaves that it names. @returns the nodes that it names */
  async visit(cid: CID): Promise<readonly CID[]> {
    const nodes: CID[] = [];
    const leaves: CID[] = [];
    for (const link of await this.#links(cid)) (CODECS_WITHOUT_LINKS.has(link.code) ? leaves : nodes).push(link);
    for (let from = 0; from < leaves.length; from += LOOKUPS_AT_ONCE) {
      await Promise.all(leaves.slice(from, from + LOOKUPS_AT_ONCE).map(async (leaf) => this.lookUp(leaf)));
    }
    return nodes;
  }

  async #read(cid: CID): Promise<Uint8Array | null> {
    try {
      return await this.#blocks.get(cid, this.#options.signal);
    } catch (error) {
      this.#options.signal?.throwIfAborted();
      if (isFulaError(error, "FULA_BLOCK_MISSING")) this.noteMissing(cid);
      else this.noteError(error);
      return null;
    }
  }
}

/** What a walk through a DAG takes. */
interface DagWalkOptions {
  /** Blocks that need no visit; those that are visited are added. */
  readonly visited: VisitedSet;
  readonly signal: AbortSignal | undefined;
  /** Reads a block. @returns those that it names and that are to be visited in turn */
  readonly visit: (cid: CID) => Promise<readonly CID[]>;
}

/** Visits every block below a CID, and it itself, each once. */
export async function walkDag(root: CID, { visited, signal, visit }: DagWalkOptions): Promise<void> {
  // Depth first: memory holds one list of links a level, never a whole level of a wide file.
  const open: { readonly links: readonly CID[]; next: number }[] = [{ links: [root], next: 0 }];
  for (let nodes = 1; open.length > 0; nodes += 1) {
    signal?.throwIfAborted();
    if (nodes % NODES_PER_TURN === 0) await nextTurn();
    const level = open.at(-1);
    const cid = level?.links[level.next];
    if (level === undefined || cid === undefined) {
      open.pop();
      continue;
    }
    level.next += 1;
    // A level that is done leaves at once, so that a long chain of single links does not pile up.
    if (level.next === level.links.length) open.pop();
    if (!visited.add(cid.bytes)) continue;
    const links = await visit(cid);
    if (links.length > 0) open.push({ links, next: 0 });
  }
}

/**
 * Looks whether every block of a DAG is there and every node in it readable. Memory is bounded by the widest path,
 * not by the size of the DAG. Errors of the store itself count as unreadable blocks: a check that could not run has
 * failed.
 */
export async function checkDag(root: CID, blocks: BlockStore, options: DagCheckOptions = {}): Promise<DagCheck> {
  const walk = new DagWalk(blocks, options);
  if (options.recursive === false || CODECS_WITHOUT_LINKS.has(root.code)) {
    await walk.lookUp(root);
  } else {
    using visited = options.visited ?? new VisitedSet();
    await walkDag(root, { visited, signal: options.signal, visit: async (cid) => await walk.visit(cid) });
  }
  const { blocks: count, missing, firstMissing, unreadable, firstError } = walk;
  return { blocks: count, missing, firstMissing, unreadable, firstError };
}
