import type { TransactionClient } from "./transaction.ts";

/** A row of which a part is sealed under a key of the masters. */
export interface SealedRow {
  /** What the table knows it by. */
  readonly id: string;
  /** What the sealed part is bound to. */
  readonly context: string;
  readonly sealed: Uint8Array;
}

/** A table of such rows, as sealing all of it anew needs it. */
export interface SealedTable {
  /** Every row with a sealed part, locked until the transaction ends. */
  readonly read: (client: TransactionClient) => Promise<readonly SealedRow[]>;
  readonly write: (client: TransactionClient, rows: readonly Pick<SealedRow, "id" | "sealed">[]) => Promise<void>;
}
