import type { ScanRange } from "./bucket-index.ts";
import { compareKeys } from "./key.ts";
import { entryCidOf } from "./log-block.ts";
import type { LogChain, Logged } from "./log-chain.ts";
import type { EntryRef, KeyRef } from "./object-entry.ts";

/** What a log's change leaves of a key for a listing; null where it deletes it. */
export function refOf({ change, block }: Logged): EntryRef | null {
  if (change.kind === "delete") return null;
  if (change.kind === "refer") return change.ref;
  const { content, sizeBytes, modifiedMs, etag } = change.entry;
  return { entry: entryCidOf(block), content, sizeBytes, modifiedMs, etag };
}

/** A key of the log, and what is left of it. */
interface OverlaidKey {
  readonly key: string;
  readonly ref: EntryRef | null;
}

/** A log's keys in order: made once, asked for any range. */
export class Overlay {
  readonly #keys: readonly OverlaidKey[];

  constructor({ changes }: LogChain) {
    this.#keys = [...changes]
      .map(([key, logged]) => ({ key, ref: refOf(logged) }))
      .toSorted((a, b) => compareKeys(a.key, b.key));
  }

  /** In order of their bytes. */
  *within(range: ScanRange): Generator<OverlaidKey> {
    const prefix = range.prefix ?? "";
    for (let index = this.#firstWithin(range); index < this.#keys.length; index += 1) {
      const overlaid = this.#keys[index];
      if (overlaid === undefined || !overlaid.key.startsWith(prefix)) return;
      yield overlaid;
    }
  }

  #firstWithin({ prefix = "", after, inclusive = false }: ScanRange): number {
    const isBefore = (key: string): boolean => {
      if (compareKeys(key, prefix) < 0) return true;
      if (after === undefined) return false;
      const order = compareKeys(key, after);
      return inclusive ? order < 0 : order <= 0;
    };
    let low = 0;
    let high = this.#keys.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      const key = this.#keys[middle]?.key;
      if (key !== undefined && isBefore(key)) low = middle + 1;
      else high = middle;
    }
    return low;
  }
}

/** A tree's keys with a log's over them: its refs in their place, its deleted ones left out. */
export async function* mergeOverlay(
  tree: AsyncIterable<KeyRef>,
  overlay: Iterable<OverlaidKey>,
): AsyncGenerator<KeyRef> {
  const logged = overlay[Symbol.iterator]();
  let next = logged.next();
  for await (const item of tree) {
    while (next.done !== true && compareKeys(next.value.key, item.key) < 0) {
      const { key, ref } = next.value;
      if (ref !== null) yield { key, ref };
      next = logged.next();
    }
    if (next.done !== true && next.value.key === item.key) {
      const { key, ref } = next.value;
      if (ref !== null) yield { key, ref };
      next = logged.next();
    } else yield item;
  }
  for (; next.done !== true; next = logged.next()) {
    const { key, ref } = next.value;
    if (ref !== null) yield { key, ref };
  }
}
