import { isDeepStrictEqual } from "node:util";
import type { Clock } from "../kernel/clock.ts";
import { isFulaError } from "../kernel/errors.ts";
import { isWorthAnotherAttempt } from "./kv/budget.ts";
import type { LedgerRecordKind, LedgerRecords, LedgerStore, Versioned } from "./ledger-records.ts";
import { undecided } from "./ledger-swap.ts";

/** How long a silence of the control plane is borne. */
export interface LedgerPatience {
  readonly clock: Clock;
  readonly signal: AbortSignal;
  /** Of one operation, in milliseconds. */
  readonly withinMs: number;
  /** Told what is waited for, a sentence without its stop; once for each silence. */
  readonly onWait?: (sentence: string) => void;
}

const AGAIN_MS = 250;

function sentenceOf(error: unknown): string {
  return isFulaError(error) && error.details?.["silence"] === "unreachable"
    ? "waiting for a NATS server to answer"
    : "waiting for the NATS servers to elect a leader";
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
    const { clock, signal, withinMs, onWait } = this.#patience;
    const deadlineMs = clock.monotonicMs() + withinMs;
    let said: string | null = null;
    for (;;) {
      try {
        return await attempt(said === null);
      } catch (error) {
        if (!isWorthAnotherAttempt(error) || signal.aborted || clock.monotonicMs() >= deadlineMs) throw error;
        const sentence = sentenceOf(error);
        if (sentence !== said) onWait?.(sentence);
        said = sentence;
      }
      await clock.sleep(AGAIN_MS, signal);
    }
  }
}
