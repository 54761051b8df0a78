import * as dagCbor from "@ipld/dag-cbor";
import { CID } from "multiformats/cid";
import { createCid, RAW_CODEC, SHA2_256 } from "../../blocks/cid.ts";
import { EntryFault, refFromTuple, refToTuple } from "./entry-codec.ts";
import { compareKeys, keyFault } from "./key.ts";
import type { NewBlock } from "./node-store.ts";
import type { KeyRef } from "./object-entry.ts";
import { sharedUnits } from "./shared-prefix.ts";

/** First value of every node of the tree; tells its format from later ones and from a block of the log. */
const NODE_FORMAT = 1;

/** Above what any tree has: an inner node has four children at least. Keeps a made-up chain of nodes short. */
const LEVEL_MAX = 31;

/** Sums of sizes are unsigned numbers of CBOR. */
const BYTES_MAX = 2n ** 64n - 1n;

/** A node as its parent names it. */
export interface ChildRef {
  /**
   * Where it begins: every key below is at or after it, every key of the nodes before it comes before it. Empty for the
   * first node of a level.
   */
  readonly key: string;
  readonly link: CID;
  /** Keys below. */
  readonly keys: number;
  /** Sum of the sizes of all objects below. */
  readonly bytes: bigint;
}

/** What a node consists of: keys in a leaf, nodes of the level below in all others. */
export type TreeItem = KeyRef | ChildRef;

/** One node of the tree. Only that of the empty tree has no items. */
export type TreeNode = { readonly keys: number; readonly bytes: bigint } & (
  | { readonly kind: "leaf"; readonly level: 0; readonly items: readonly KeyRef[] }
  | { readonly kind: "inner"; readonly level: number; readonly items: readonly ChildRef[] }
);

/** A new node: its block and what a parent says of it beside where it begins. */
export interface EncodedNode {
  readonly block: NewBlock;
  readonly keys: number;
  readonly bytes: bigint;
}

/** True for the bytes of a node of the tree, whatever else is wrong with them. */
export function isTreeNode(bytes: Uint8Array): boolean {
  // An array of three values, the first of which is the format (RFC 8949 §3: major type 4, major type 0).
  return bytes[0] === 0x83 && bytes[1] === NODE_FORMAT;
}

function toNumber(bytes: bigint): number | bigint {
  return bytes <= BigInt(Number.MAX_SAFE_INTEGER) ? Number(bytes) : bytes;
}

/** The nodes' own way to write a key: bytes that it shares with the one before, and the rest. */
function rowOf(item: TreeItem, before: string): readonly unknown[] {
  const shared = item.key.slice(0, sharedUnits(before, item.key));
  const row = [Buffer.byteLength(shared), item.key.slice(shared.length)];
  return "ref" in item ? [...row, ...refToTuple(item.ref)] : [...row, item.link, item.keys, toNumber(item.bytes)];
}

function totalsOf(items: readonly TreeItem[]): { readonly keys: number; readonly bytes: bigint } {
  let keys = 0;
  let bytes = 0n;
  for (const item of items) {
    keys += "ref" in item ? 1 : item.keys;
    bytes += "ref" in item ? BigInt(item.ref.sizeBytes) : item.bytes;
  }
  return { keys, bytes };
}

/** Makes the node of a level that consists of these items, which are in order. */
export function encodeNode(level: number, items: readonly TreeItem[]): EncodedNode {
  const rows = items.map((item, index) => rowOf(item, items[index - 1]?.key ?? ""));
  const bytes = dagCbor.encode([NODE_FORMAT, level, rows]);
  return { block: { cid: createCid(dagCbor.code, bytes), bytes }, ...totalsOf(items) };
}

function hold(condition: boolean, what: string): asserts condition {
  if (!condition) throw new EntryFault(what);
}

function readCount(value: unknown, what: string): number {
  hold(typeof value === "number" && Number.isSafeInteger(value) && value > 0, `${what} is no positive number`);
  return value;
}

function readBytes(value: unknown): bigint {
  const isWhole = typeof value === "bigint" || (typeof value === "number" && Number.isSafeInteger(value));
  hold(isWhole, "a sum of sizes is no whole number");
  const bytes = BigInt(value);
  hold(bytes >= 0n && bytes <= BYTES_MAX, "a sum of sizes is out of range");
  return bytes;
}

function readKey(row: readonly unknown[], before: string): string {
  const [shared, rest] = row;
  hold(typeof shared === "number" && shared >= 0 && typeof rest === "string", "a key is not in two parts");
  return Buffer.from(before).toString("utf8", 0, shared) + rest;
}

function readLeafItem(row: readonly unknown[], before: string): KeyRef {
  const key = readKey(row, before);
  const fault = keyFault(key);
  hold(fault === null, `a key cannot be: ${fault}`);
  const ref = refFromTuple(row.slice(2));
  hold(ref.entry.code === RAW_CODEC, "a ref names its entry by another codec than raw");
  return { key, ref };
}

function readInnerItem(row: readonly unknown[], before: string, isFirst: boolean): ChildRef {
  hold(row.length === 5, `a child has ${row.length} values`);
  const key = readKey(row, before);
  const fault = isFirst && key === "" ? null : keyFault(key);
  hold(fault === null, `a child's beginning cannot be: ${fault}`);
  const link = CID.asCID(row[2]);
  const isNode = link !== null && link.version === 1 && link.code === dagCbor.code && link.multihash.code === SHA2_256;
  hold(isNode, "a child is no link to a node");
  return { key, link, keys: readCount(row[3], "the number of keys of a child"), bytes: readBytes(row[4]) };
}

function readItems<Item extends TreeItem>(
  rows: readonly unknown[],
  read: (row: readonly unknown[], before: string, isFirst: boolean) => Item,
): readonly Item[] {
  const items: Item[] = [];
  for (const row of rows) {
    hold(Array.isArray(row), "an item is no list");
    const last = items.at(-1);
    const item = read(row, last?.key ?? "", last === undefined);
    hold(last === undefined || compareKeys(last.key, item.key) < 0, "its keys are not in order");
    items.push(item);
  }
  return items;
}

/**
 * Reads a node. Only the one canonical form is taken; whether the node belongs where it was found is not looked at.
 * @throws EntryFault and what the decoder of CBOR throws
 */
export function decodeNode(bytes: Uint8Array): TreeNode {
  const values: unknown = dagCbor.decode(bytes);
  hold(Array.isArray(values) && values.length === 3, "it has not three values");
  const [format, level, rows]: unknown[] = values;
  hold(format === NODE_FORMAT, `its format is not ${NODE_FORMAT}`);
  hold(typeof level === "number" && Number.isInteger(level) && level >= 0 && level <= LEVEL_MAX, "its level cannot be");
  hold(Array.isArray(rows), "it has no list of items");
  hold(level === 0 || rows.length > 0, "it is an inner node without children");
  const node: TreeNode =
    level === 0
      ? { kind: "leaf", level, ...withTotals(readItems(rows, readLeafItem)) }
      : { kind: "inner", level, ...withTotals(readItems(rows, readInnerItem)) };
  hold(Buffer.compare(encodeNode(level, node.items).block.bytes, bytes) === 0, "it is not in canonical form");
  return node;
}

function withTotals<Item extends TreeItem>(
  items: readonly Item[],
): { readonly items: readonly Item[]; readonly keys: number; readonly bytes: bigint } {
  return { items, ...totalsOf(items) };
}
