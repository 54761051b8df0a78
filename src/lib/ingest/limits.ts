import { Slots } from "../kernel/slots.ts";
import { IngestRefusal } from "./refusal.ts";

/** Counts what each key has open at the same time. */
export class OpenCounts {
  readonly #most: number;
  readonly #open = new Map<string, number>();

  constructor(most: number) {
    this.#most = most;
  }

  /** @returns what ends it; null where the key has as many open as it may */
  enter(key: string): Disposable | null {
    const open = this.#open.get(key) ?? 0;
    if (open >= this.#most) return null;
    this.#open.set(key, open + 1);
    return {
      [Symbol.dispose]: () => {
        const left = (this.#open.get(key) ?? 1) - 1;
        if (left === 0) this.#open.delete(key);
        else this.#open.set(key, left);
      },
    };
  }
}

/** Whole blocks that wait for a slot, for each that is being stored: each lies in memory. */
const WAITING_PER_SLOT = 4;

/** Lets a number of whole blocks be stored at the same time; a few more wait, and the rest is sent away. */
export class StoreSlots {
  readonly #slots: Slots;
  readonly #most: number;
  #inside = 0;

  constructor(count: number) {
    this.#slots = new Slots(count);
    this.#most = count * (1 + WAITING_PER_SLOT);
  }

  /** @throws IngestRefusal 503 where too many wait already */
  async run<T>(work: () => Promise<T>): Promise<T> {
    if (this.#inside >= this.#most) {
      throw new IngestRefusal(503, "Too many blocks wait to be stored; please try again.", { retryAfterSeconds: 1 });
    }
    this.#inside += 1;
    try {
      return await this.#slots.run(work);
    } finally {
      this.#inside -= 1;
    }
  }
}
