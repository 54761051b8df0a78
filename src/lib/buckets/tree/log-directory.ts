import { hash } from "node:crypto";
import type { CID } from "multiformats/cid";
import { assert } from "../../kernel/assert.ts";
import type { LogBlock, LogDirectory, NamedLogBlock } from "./log-block.ts";
import { hasDirectory, innerOf, PRINT_BYTES, SEGMENT_BLOCKS, segmentsOf } from "./log-shape.ts";

/** What a directory keeps of a key. Another key may have the same: a reader looks into the blocks. */
export function printOf(key: string): Uint8Array {
  return hash("sha256", key, "buffer").subarray(0, PRINT_BYTES);
}

/** True where one of the fingerprints is this one. */
export function holdsPrint(prints: Uint8Array, print: Uint8Array): boolean {
  for (let at = 0; at < prints.byteLength; at += PRINT_BYTES) {
    if (prints[at] === print[0] && prints[at + 1] === print[1] && prints[at + 2] === print[2]) return true;
  }
  return false;
}

function printsOf(blocks: readonly Pick<LogBlock, "changes">[]): Uint8Array {
  return Buffer.concat(blocks.flatMap(({ changes }) => [...changes.keys()].map(printOf)));
}

/**
 * The directory of a block, made from the log before it.
 * @param before all blocks of the log before this one, from the oldest
 */
export function makeDirectory(
  block: Pick<LogBlock, "ordinal" | "changes">,
  before: readonly NamedLogBlock[],
  base: CID,
): LogDirectory {
  assert(hasDirectory(block.ordinal) && before.length === block.ordinal - 1, "a directory stands at every sixth block");
  const n = block.ordinal / SEGMENT_BLOCKS;
  const first = n - segmentsOf(n);
  const all = [...before.map((named) => named.block), block];
  const prints = Array.from({ length: segmentsOf(n) }, (_none, segment) => {
    const from = (first + segment) * SEGMENT_BLOCKS;
    return printsOf(all.slice(from, from + SEGMENT_BLOCKS));
  });
  return {
    up: directoryCid(before, first) ?? base,
    inner: innerOf(n).map((number) => directoryCid(before, number) ?? base),
    prints,
  };
}

/** The block that carries the `n`-th directory. */
function directoryCid(before: readonly NamedLogBlock[], n: number): CID | null {
  return before[n * SEGMENT_BLOCKS - 1]?.cid ?? null;
}
