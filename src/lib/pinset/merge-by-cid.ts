import { FulaError } from "../kernel/errors.ts";

/** What one list has about a CID. */
interface Named {
  readonly cid: string;
}

/** What up to three lists have about one CID; null where a list does not name it. */
export interface Merged<A, B, C> {
  readonly cid: string;
  readonly first: A | null;
  readonly second: B | null;
  readonly third: C | null;
}

/** A list in ascending order of the CID text, and what it is called where it breaks that order. */
export interface OrderedList<T> {
  readonly name: string;
  readonly items: AsyncIterable<T>;
}

/**
 * Merges three lists that are in ascending order of the CID text, each CID at most once in each. Holds one item of each
 * list, however long they are. They are begun in the order in which they are given.
 * @throws FulaError FULA_CLUSTER_UNREADABLE where a list is not in order: merging it would call things missing
 */
export async function* mergeByCid<A extends Named, B extends Named, C extends Named>(
  first: OrderedList<A>,
  second: OrderedList<B>,
  third: OrderedList<C>,
): AsyncGenerator<Merged<A, B, C>> {
  await using a = new Head(first);
  await using b = new Head(second);
  await using c = new Head(third);
  await a.advance();
  await b.advance();
  await c.advance();
  for (;;) {
    const cid = least(a.cid, least(b.cid, c.cid));
    if (cid === null) return;
    yield { cid, first: a.at(cid), second: b.at(cid), third: c.at(cid) };
    if (a.cid === cid) await a.advance();
    if (b.cid === cid) await b.advance();
    if (c.cid === cid) await c.advance();
  }
}

function least(a: string | null, b: string | null): string | null {
  if (a === null || b === null) return a ?? b;
  return a < b ? a : b;
}

class Head<T extends Named> implements AsyncDisposable {
  #current: T | null = null;
  readonly #source: AsyncIterator<T>;
  readonly #name: string;

  constructor({ name, items }: OrderedList<T>) {
    this.#source = items[Symbol.asyncIterator]();
    this.#name = name;
  }

  get cid(): string | null {
    return this.#current?.cid ?? null;
  }

  at(cid: string): T | null {
    return this.#current?.cid === cid ? this.#current : null;
  }

  async advance(): Promise<void> {
    const before = this.#current;
    const next = await this.#source.next();
    this.#current = next.done === true ? null : next.value;
    if (before === null || this.#current === null || before.cid < this.#current.cid) return;
    throw new FulaError(
      "FULA_CLUSTER_UNREADABLE",
      `Nothing is known about the pins: the list of ${this.#name} is not in order: ${this.#current.cid} after ${before.cid}.`,
      { hint: "this is no all-clear. Run the command again." },
    );
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#source.return?.();
  }
}
