/** Items that come one by one, of which the next one can be looked at before it is taken. */
export class Lookahead<T> {
  readonly #items: AsyncIterator<T> | Iterator<T>;
  #next: IteratorResult<T> | null = null;

  constructor(items: AsyncIterable<T> | Iterable<T>) {
    this.#items = Symbol.asyncIterator in items ? items[Symbol.asyncIterator]() : items[Symbol.iterator]();
  }

  /** The next item, which stays the next one; null at the end. */
  async peek(): Promise<T | null> {
    this.#next ??= await this.#items.next();
    return this.#next.done === true ? null : this.#next.value;
  }

  /** Goes on behind the item that was looked at. */
  skip(): void {
    if (this.#next?.done !== true) this.#next = null;
  }
}
