import { isDeepStrictEqual } from "node:util";
import type { LedgerRecordKind, LedgerRecords, LedgerStore, Versioned } from "./ledger-records.ts";
import { undecided } from "./ledger-swap.ts";
import { outlastSilence, type Patience } from "./outlast.ts";

/** How long a silence of the control plane is borne. */
export interface LedgerPatience extends Omit<Patience, "deadlineMs"> {
  /** Of one operation, in milliseconds. */
  readonly withinMs: number;
}

/**
 * The same records for whoever would rather wait than give up: servers that lost their leader elect another one within
 * seconds, and answer nobody meanwhile. A write whose answer was lost is made again, and is one's own where what stands there
 * is what was written.
 */
export function patientLedgerStore(store: LedgerStore, patience: LedgerPatience): LedgerStore {
  return new PatientLedgerStore(store, patience);
}

class PatientLedgerStore implements LedgerStore {
  readonly #store: LedgerStore;
  readonly #patience: LedgerPatience;

  constructor(store: LedgerStore, patience: LedgerPatience) {
    this.#store = store;
    this.#patience = patience;
  }

  async get<K extends LedgerRecordKind>(kind: K, node?: string): Promise<Versioned<LedgerRecords[K]>> {
    return await this.#insist(async () => await this.#store.get(kind, node));
  }

  async confirm<K extends LedgerRecordKind>(kind: K, node?: string): Promise<Versioned<LedgerRecords[K]>> {
    return await this.#insist(async () => await this.#store.confirm(kind, node));
  }

  async list<K extends LedgerRecordKind>(
    kind: K,
  ): Promise<readonly { readonly node: string; readonly revision: number; readonly value: LedgerRecords[K] }[]> {
    return await this.#insist(async () => await this.#store.list(kind));
  }

  async put<K extends LedgerRecordKind>(
    kind: K,
    value: LedgerRecords[K],
    expectedRevision: number,
    node?: string,
  ): Promise<number | null> {
    return await this.#insist(async (isFirst) => {
      const revision = await this.#store.put(kind, value, expectedRevision, node);
      if (revision !== null || isFirst) return revision;
      const now = await this.#store.confirm(kind, node);
      if (isDeepStrictEqual(now.value, value)) return now.revision;
      if (now.revision !== expectedRevision) return null;
      // Refused though nothing else stands there: the attempt before it hangs between the servers.
      throw undecided(kind);
    });
  }

  async remove(kind: LedgerRecordKind, expectedRevision: number, node?: string): Promise<boolean> {
    return await this.#insist(async (isFirst) => {
      const isDone = await this.#store.remove(kind, expectedRevision, node);
      if (isDone || isFirst) return isDone;
      const now = await this.#store.confirm(kind, node);
      if (now.revision === expectedRevision) throw undecided(kind);
      return now.value === null;
    });
  }

  listen(onHint: () => void): AsyncDisposable {
    return this.#store.listen(onHint);
  }

  async close(): Promise<void> {
    await this.#store.close();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }

  async #insist<T>(attempt: (isFirst: boolean) => Promise<T>): Promise<T> {
    const { withinMs, ...patience } = this.#patience;
    return await outlastSilence(attempt, { ...patience, deadlineMs: patience.clock.monotonicMs() + withinMs });
  }
}
