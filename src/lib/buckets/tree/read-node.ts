import type { CID } from "multiformats/cid";
import { blockMatches } from "../../blocks/cid.ts";
import { FulaError, messageOf } from "../../kernel/errors.ts";
import { isDecodingReader } from "./cached-reader.ts";
import { EntryFault } from "./entry-codec.ts";
import { compareKeys } from "./key.ts";
import { type ChildRef, decodeNode, type TreeNode } from "./node.ts";
import type { NodeReader } from "./node-store.ts";

/** What the way down to a node says of it. Of a root nothing is known. */
export interface Expected {
  readonly level: number;
  /** As its parent names it. */
  readonly child: ChildRef;
  /** Where the next node of the level begins; null for the last one. */
  readonly end: string | null;
}

/** A node of the tree is not what its place says. */
export function corruptNode(cid: CID, place: string, why: string, cause?: unknown): FulaError {
  const where = place === "" ? "the root" : place;
  return new FulaError(
    "FULA_INDEX_CORRUPT",
    `Node ${cid.toString()} of a bucket's tree (${where}) is damaged: ${why}.`,
    {
      hint: "run `fula-master buckets verify` to see what else is damaged; nothing was answered from this node.",
      details: { cid: cid.toString(), place: where },
      ...(cause === undefined ? {} : { cause }),
    },
  );
}

/** Names the place of a node for an operator. */
export function placeOf(expected: Expected | null): string {
  if (expected === null) return "";
  return `level ${expected.level}, from ${JSON.stringify(expected.child.key)} on`;
}

function decodeVerified(cid: CID, bytes: Uint8Array): TreeNode {
  if (!blockMatches(cid, bytes)) throw new EntryFault("its bytes do not hash to its CID");
  try {
    return decodeNode(bytes);
  } catch (error) {
    throw new EntryFault(messageOf(error), { cause: error });
  }
}

/** Why a node cannot stand in a place, or null. Costs nothing that grows with the tree. */
function misplacement(node: TreeNode, expected: Expected | null): string | null {
  if (expected === null) {
    return node.kind === "inner" && node.items[0]?.key !== ""
      ? "it is the root and does not begin at the beginning"
      : null;
  }
  const { level, child, end } = expected;
  if (node.level !== level) return `it is of level ${node.level}`;
  if (node.keys !== child.keys) return `it has ${node.keys} keys and its parent says ${child.keys}`;
  if (node.bytes !== child.bytes) return `its objects have ${node.bytes} bytes and its parent says ${child.bytes}`;
  const first = node.items[0]?.key;
  const last = node.items.at(-1)?.key;
  if (first === undefined || last === undefined) return "it is empty";
  // A parent has the shortest text that tells a leaf from the one before; of inner nodes it has what they begin with.
  const begins = node.kind === "leaf" ? first.startsWith(child.key) : first === child.key;
  if (!begins) return `it begins with ${JSON.stringify(first)}`;
  if (end !== null && compareKeys(last, end) >= 0) return `it ends with ${JSON.stringify(last)}, at or after the next`;
  return null;
}

async function decodedBy(reader: NodeReader, cid: CID, signal: AbortSignal | undefined): Promise<TreeNode> {
  if (isDecodingReader(reader)) return reader.decoded(cid, decodeVerified, signal);
  return decodeVerified(cid, await reader.get(cid, signal));
}

/**
 * Reads a node and holds it against the way down to it.
 * @param expected null for a root
 * @throws FulaError FULA_INDEX_CORRUPT, and what the reader throws
 */
export async function readNode(
  reader: NodeReader,
  cid: CID,
  expected: Expected | null,
  signal?: AbortSignal,
): Promise<TreeNode> {
  let node: TreeNode;
  try {
    node = await decodedBy(reader, cid, signal);
  } catch (error) {
    if (!(error instanceof EntryFault)) throw error;
    throw corruptNode(cid, placeOf(expected), error.message, error);
  }
  const fault = misplacement(node, expected);
  if (fault !== null) throw corruptNode(cid, placeOf(expected), fault);
  return node;
}
