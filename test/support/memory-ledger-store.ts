import { FulaError } from "../../src/lib/kernel/errors.ts";
import {
  LEDGER_RECORD_SCHEMAS,
  type LedgerRecordKind,
  type LedgerRecords,
  type LedgerStore,
  type Versioned,
} from "../../src/lib/membership/ledger-records.ts";

interface Slot {
  readonly revision: number;
  readonly text: string | null;
}

/** What a test does to a control plane in memory. */
export interface MemoryLedgerOptions {
  /** Called before each operation with its name; what it throws, the operation throws, and nothing is done. */
  readonly before?: (operation: "get" | "confirm" | "put" | "remove" | "list") => void;
  /** True loses the answer of a write that was done. */
  readonly losesAnswer?: () => boolean;
}

/** Records of the ledger's servers in a plain map, shared by all stores that are opened on it. */
export class MemoryLedger {
  readonly slots = new Map<string, Slot>();
  readonly listeners = new Set<() => void>();
  revision = 0;

  /** What `text` gave, in another process. */
  static parse(text: string): MemoryLedger {
    const ledger = new MemoryLedger();
    ledger.take(text);
    return ledger;
  }

  /** All records, for another process. */
  text(): string {
    return JSON.stringify({ revision: this.revision, slots: [...this.slots] });
  }

  /** Takes over what another process made of the records. */
  take(text: string): void {
    const { revision, slots }: { revision: number; slots: [string, Slot][] } = JSON.parse(text);
    this.revision = revision;
    for (const [key, slot] of slots) this.slots.set(key, slot);
  }

  /** Opens a store, as one more process would. */
  open(options: MemoryLedgerOptions = {}): LedgerStore {
    return new MemoryLedgerStore(this, options);
  }
}

class MemoryLedgerStore implements LedgerStore {
  readonly #ledger: MemoryLedger;
  readonly #options: MemoryLedgerOptions;
  readonly #own = new Set<() => void>();

  constructor(ledger: MemoryLedger, options: MemoryLedgerOptions) {
    this.#ledger = ledger;
    this.#options = options;
  }

  async get<K extends LedgerRecordKind>(kind: K, node?: string): Promise<Versioned<LedgerRecords[K]>> {
    this.#options.before?.("get");
    return this.#read(kind, node);
  }

  async confirm<K extends LedgerRecordKind>(kind: K, node?: string): Promise<Versioned<LedgerRecords[K]>> {
    this.#options.before?.("confirm");
    return this.#read(kind, node);
  }

  async put<K extends LedgerRecordKind>(
    kind: K,
    value: LedgerRecords[K],
    expectedRevision: number,
    node?: string,
  ): Promise<number | null> {
    this.#options.before?.("put");
    return this.#write(keyOf(kind, node), JSON.stringify(value), expectedRevision);
  }

  async remove(kind: LedgerRecordKind, expectedRevision: number, node?: string): Promise<boolean> {
    this.#options.before?.("remove");
    return this.#write(keyOf(kind, node), null, expectedRevision) !== null;
  }

  async list<K extends LedgerRecordKind>(
    kind: K,
  ): Promise<readonly { readonly node: string; readonly revision: number; readonly value: LedgerRecords[K] }[]> {
    this.#options.before?.("list");
    return [...this.#ledger.slots.keys()]
      .filter((key) => key.startsWith(`${kind}/`))
      .toSorted()
      .flatMap((key) => {
        const node = key.slice(kind.length + 1);
        const { revision, value } = this.#read(kind, node);
        return value === null ? [] : [{ node, revision, value }];
      });
  }

  listen(onHint: () => void): AsyncDisposable {
    this.#ledger.listeners.add(onHint);
    this.#own.add(onHint);
    return {
      [Symbol.asyncDispose]: async () => {
        this.#ledger.listeners.delete(onHint);
      },
    };
  }

  async close(): Promise<void> {
    for (const listener of this.#own) this.#ledger.listeners.delete(listener);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }

  #read<K extends LedgerRecordKind>(kind: K, node: string | undefined): Versioned<LedgerRecords[K]> {
    const slot = this.#ledger.slots.get(keyOf(kind, node)) ?? { revision: 0, text: null };
    if (slot.text === null) return { revision: slot.revision, value: null };
    return { revision: slot.revision, value: LEDGER_RECORD_SCHEMAS[kind].parse(JSON.parse(slot.text)) };
  }

  #write(key: string, text: string | null, expectedRevision: number): number | null {
    const ledger = this.#ledger;
    if ((ledger.slots.get(key)?.revision ?? 0) !== expectedRevision) return null;
    ledger.revision += 1;
    const { revision } = ledger;
    ledger.slots.set(key, { revision, text });
    for (const listener of ledger.listeners) listener();
    if (this.#options.losesAnswer?.() === true) {
      throw new FulaError("FULA_CONTROL_PLANE_UNREACHABLE", "The answer was lost.");
    }
    return revision;
  }
}

function keyOf(kind: LedgerRecordKind, node: string | undefined): string {
  return node === undefined ? kind : `${kind}/${node}`;
}
