import type { ScanRange } from "../buckets/tree/bucket-index.ts";
import type { KeyRef } from "../buckets/tree/object-entry.ts";

/** Where a page goes on: after a key, or after all keys of a common prefix. */
export interface Position {
  readonly kind: "key" | "prefix";
  readonly text: string;
}

/** Which keys a page is of. */
export interface PageRequest {
  readonly prefix: string;
  /** Empty for none. */
  readonly delimiter: string;
  /** Keys and common prefixes together. */
  readonly maxKeys: number;
  readonly from: Position | null;
}

/** One page of a listing. */
export interface Page {
  readonly objects: readonly KeyRef[];
  readonly prefixes: readonly string[];
  /** What the next page comes after; null at the end. */
  readonly next: Position | null;
}

/** Keys in the order of their UTF-8 bytes. */
export type Scan = (range: ScanRange) => AsyncIterable<KeyRef>;

/**
 * Keys of a common prefix that are read over before the scan begins anew behind them: the next ones mostly stand in the
 * node that is open already, and a new scan goes down the whole tree.
 */
const READ_OVER_MAX = 32;

const LAST_CODE_POINT = 0x10ffff;
const FIRST_SURROGATE = 0xd800;
const AFTER_SURROGATES = 0xe000;

/** The first text after every text that begins with `prefix`, by UTF-8 bytes; null where nothing comes after them. */
export function prefixEnd(prefix: string): string | null {
  const chars = Array.from(prefix, (char) => char.codePointAt(0) ?? 0);
  for (let last = chars.pop(); last !== undefined; last = chars.pop()) {
    if (last === LAST_CODE_POINT) continue;
    const next = last + 1 === FIRST_SURROGATE ? AFTER_SURROGATES : last + 1;
    return String.fromCodePoint(...chars, next);
  }
  return null;
}

/** The part of a key up to and with the first delimiter after the prefix; null where there is none. */
export function commonPrefixOf(
  key: string,
  { prefix, delimiter }: Pick<PageRequest, "prefix" | "delimiter">,
): string | null {
  if (delimiter === "" || !key.startsWith(prefix)) return null;
  const at = key.indexOf(delimiter, prefix.length);
  return at === -1 ? null : key.slice(0, at + delimiter.length);
}

type Cursor = Pick<ScanRange, "after" | "inclusive">;

/** The cursor behind a position; null where nothing can come after it. */
function cursorAfter(position: Position | null): Cursor | null {
  if (position === null) return {};
  if (position.kind === "key") return { after: position.text, inclusive: false };
  const end = prefixEnd(position.text);
  return end === null ? null : { after: end, inclusive: true };
}

/**
 * Reads one page. A common prefix is told once, however many keys it has, and only those are read that come before the
 * end of the page: of a "folder" with a million keys a few.
 */
export async function readPage(scan: Scan, request: PageRequest): Promise<Page> {
  const objects: KeyRef[] = [];
  const prefixes: string[] = [];
  let last: Position | null = null;
  let cursor = request.maxKeys === 0 ? null : cursorAfter(request.from);
  while (cursor !== null) {
    let readOver = 0;
    let further: Cursor | null = null;
    for await (const found of scan({ prefix: request.prefix, ...cursor })) {
      if (last?.kind === "prefix" && found.key.startsWith(last.text)) {
        readOver += 1;
        if (readOver < READ_OVER_MAX) continue;
        further = cursorAfter(last);
        break;
      }
      // Only now it is known that there is a next page.
      if (objects.length + prefixes.length >= request.maxKeys) return { objects, prefixes, next: last };
      const common = commonPrefixOf(found.key, request);
      if (common === null) objects.push(found);
      else prefixes.push(common);
      last = common === null ? { kind: "key", text: found.key } : { kind: "prefix", text: common };
      readOver = 0;
    }
    cursor = further;
  }
  return { objects, prefixes, next: null };
}
