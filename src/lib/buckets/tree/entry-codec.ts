import { CID } from "multiformats/cid";
import type { EntryRef, ObjectEntry, Texts } from "./object-entry.ts";

/** Items of an entry's tuple; a ref's has fewer, which tells them apart. */
const ENTRY_ITEMS = 9;
const REF_ITEMS = 5;

/** Why a value is no entry, ref or key. The caller says in which block it stood. */
export class EntryFault extends Error {
  override readonly name = "EntryFault";
}

function hold(condition: boolean, what: string): asserts condition {
  if (!condition) throw new EntryFault(what);
}

function isNatural(value: unknown): value is number {
  return typeof value === "number" && Number.isSafeInteger(value) && value >= 0;
}

function readNatural(value: unknown, what: string): number {
  hold(isNatural(value), `${what} is no natural number`);
  return value;
}

function readText(value: unknown, what: string): string {
  // CBOR would carry half a surrogate pair as U+FFFD: what comes back is not what was given.
  hold(typeof value === "string" && value.isWellFormed(), `${what} is no well-formed text`);
  return value;
}

function readCid(value: unknown, what: string): CID {
  const cid = CID.asCID(value);
  hold(cid !== null, `${what} is no link`);
  return cid;
}

function readArray(value: unknown, what: string): readonly unknown[] {
  hold(Array.isArray(value), `${what} is no list`);
  return value;
}

/** Name, text, name, text, …, by name. A CBOR map would lose `__proto__`, and has an order of its own. */
function textsToList(texts: Texts, what: string): readonly string[] {
  const names = Object.keys(texts).toSorted();
  return names.flatMap((name) => [readText(name, what), readText(texts[name], what)]);
}

function textsFromList(value: unknown, what: string): Texts {
  const list = readArray(value, what).map((item) => readText(item, what));
  hold(list.length % 2 === 0, `${what} has a name without a text`);
  const pairs: [string, string][] = [];
  for (let index = 0; index < list.length; index += 2) {
    const name = list[index] ?? "";
    const last = pairs.at(-1);
    hold(last === undefined || last[0] < name, `${what} is not in order`);
    pairs.push([name, list[index + 1] ?? ""]);
  }
  return Object.fromEntries(pairs);
}

/** Size, how many parts in a row have it, size, …: an upload has ten thousand parts, but seldom two sizes. */
function sizesToRuns(sizes: readonly number[]): readonly number[] {
  const runs: number[] = [];
  for (const size of sizes) {
    if (runs.at(-2) === size) runs[runs.length - 1] = (runs.at(-1) ?? 0) + 1;
    else runs.push(readNatural(size, "the size of a part"), 1);
  }
  return runs;
}

/** Of parts in a multipart upload (S3's limit), so that a few bytes cannot ask for memory without end. */
const PARTS_MAX = 10_000;

function sizesFromRuns(value: unknown): readonly number[] {
  const runs = readArray(value, "the list of parts").map((item) => readNatural(item, "the size of a part"));
  hold(runs.length % 2 === 0, "the list of parts has a size without a number of parts");
  const sizes: number[] = [];
  for (let index = 0; index < runs.length; index += 2) {
    const size = runs[index] ?? 0;
    const count = runs[index + 1] ?? 0;
    hold(count > 0 && sizes.at(-1) !== size, "the list of parts is not in its shortest form");
    hold(sizes.length + count <= PARTS_MAX, `the list of parts has more than ${PARTS_MAX}`);
    for (let part = 0; part < count; part += 1) sizes.push(size);
  }
  return sizes;
}

function etagOf(value: unknown): string | null {
  return value === null ? null : readText(value, "the ETag");
}

/**
 * An entry as the list of values that a block has for it.
 * @throws EntryFault where it holds what cannot be given back as it was
 */
export function entryToTuple(entry: ObjectEntry): readonly unknown[] {
  return [
    entry.content,
    readNatural(entry.sizeBytes, "the size"),
    readNatural(entry.modifiedMs, "the time"),
    etagOf(entry.etag),
    textsToList(entry.headers, "the list of headers"),
    textsToList(entry.metadata, "the metadata"),
    textsToList(entry.checksums, "the list of checksums"),
    textsToList(entry.tags, "the list of tags"),
    sizesToRuns(entry.partSizes),
  ];
}

/** A ref as the list of values that a block has for it. @throws EntryFault */
export function refToTuple(ref: EntryRef): readonly unknown[] {
  return [
    ref.entry,
    ref.content,
    readNatural(ref.sizeBytes, "the size"),
    readNatural(ref.modifiedMs, "the time"),
    etagOf(ref.etag),
  ];
}

/** True for the tuple of an entry, false for that of a ref. @throws EntryFault where it is neither */
export function isEntryTuple(tuple: readonly unknown[]): boolean {
  hold(tuple.length === ENTRY_ITEMS || tuple.length === REF_ITEMS, `it has ${tuple.length} values`);
  return tuple.length === ENTRY_ITEMS;
}

/** @throws EntryFault */
export function entryFromTuple(tuple: readonly unknown[]): ObjectEntry {
  hold(tuple.length === ENTRY_ITEMS, `an entry has ${tuple.length} values`);
  const [content, sizeBytes, modifiedMs, etag, headers, metadata, checksums, tags, parts] = tuple;
  return {
    content: readCid(content, "the content"),
    sizeBytes: readNatural(sizeBytes, "the size"),
    modifiedMs: readNatural(modifiedMs, "the time"),
    etag: etagOf(etag),
    headers: textsFromList(headers, "the list of headers"),
    metadata: textsFromList(metadata, "the metadata"),
    checksums: textsFromList(checksums, "the list of checksums"),
    tags: textsFromList(tags, "the list of tags"),
    partSizes: sizesFromRuns(parts),
  };
}

/** @throws EntryFault */
export function refFromTuple(tuple: readonly unknown[]): EntryRef {
  hold(tuple.length === REF_ITEMS, `a ref has ${tuple.length} values`);
  const [entry, content, sizeBytes, modifiedMs, etag] = tuple;
  return {
    entry: readCid(entry, "the entry"),
    content: readCid(content, "the content"),
    sizeBytes: readNatural(sizeBytes, "the size"),
    modifiedMs: readNatural(modifiedMs, "the time"),
    etag: etagOf(etag),
  };
}
