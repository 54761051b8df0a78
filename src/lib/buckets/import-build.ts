import { EMPTY_TREE, buildTree, type TreeRoot } from "./tree/build-tree.ts";
import { encodedEntryBytes, encodeLogBlock, entryCidOf, type LogChange } from "./tree/log-block.ts";
import type { NodeWriter } from "./tree/node-store.ts";
import type { KeyRef } from "./tree/object-entry.ts";
import type { KeyedEntry } from "./import-sort.ts";

/**
 * Entries that share a block. As long as one of them is there the block stays, and whoever reads one reads all of them;
 * one block an entry would be as many pins as there are objects.
 */
const ENTRIES_A_BLOCK = 32;
const BLOCK_BYTES = 32 * 1_024;

/** Writes a block that holds these entries inline, as a flush of them all would have. */
async function* writeEntries(entries: readonly KeyedEntry[], writer: NodeWriter): AsyncGenerator<KeyRef> {
  const changes = new Map(entries.map(({ key, entry }): [string, LogChange] => [key, { kind: "put", entry }]));
  const block = encodeLogBlock({
    ordinal: 1,
    total: entries.length,
    link: EMPTY_TREE.cid,
    changes,
    directory: null,
  });
  await writer.put(block);
  const entry = entryCidOf(block.cid);
  for (const each of entries) {
    const { content, sizeBytes, modifiedMs, etag } = each.entry;
    yield { key: each.key, ref: { entry, content, sizeBytes, modifiedMs, etag } };
  }
}

async function* asRefs(objects: Iterable<KeyedEntry>, writer: NodeWriter): AsyncGenerator<KeyRef> {
  let held: KeyedEntry[] = [];
  let bytes = 0;
  for (const object of objects) {
    held.push(object);
    bytes += encodedEntryBytes(object.entry) + object.key.length;
    if (held.length < ENTRIES_A_BLOCK && bytes < BLOCK_BYTES) continue;
    yield* writeEntries(held, writer);
    held = [];
    bytes = 0;
  }
  if (held.length > 0) yield* writeEntries(held, writer);
}

/**
 * Builds the index of a bucket at once: blocks with the entries, and the tree over them, without a log. The same objects
 * give the same root.
 * @param objects in order of their keys' bytes
 * @throws FulaError FULA_ENTRY_TOO_LARGE, FULA_ENTRY_TEXT, and what the writer throws
 */
export async function buildIndex(objects: Iterable<KeyedEntry>, writer: NodeWriter): Promise<TreeRoot> {
  return await buildTree(asRefs(objects, writer), writer);
}
