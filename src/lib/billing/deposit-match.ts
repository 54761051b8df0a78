import type { Transfer } from "./chain-transfers.ts";

/** What becomes of a recorded transfer. */
export const DEPOSIT_STATES = ["waiting", "unclaimed", "credited", "dust", "orphaned", "refused", "reversed"] as const;
export type DepositState = (typeof DEPOSIT_STATES)[number];

/** A transfer that the ledger has on record. */
export interface DepositRow {
  readonly id: bigint;
  readonly txHash: string;
  /** -1 where it was written by software that knows a transaction alone. */
  readonly logIndex: number;
  /** Null where it was written by such software. */
  readonly blockHash: string | null;
  readonly blockNumber: bigint;
  readonly from: string;
  readonly raw: bigint | null;
  /** In units of 10⁻¹⁸ FULA. */
  readonly amountUnits: bigint;
  readonly state: DepositState;
  /** True where it was credited at some time. */
  readonly isClaimed: boolean;
  readonly reference: string;
  readonly lostAtBlock: bigint | null;
}

/** Which records stand for which transfers. */
export interface Matching {
  readonly known: readonly { readonly row: DepositRow; readonly transfer: Transfer }[];
  /** Transfers that nobody has written down yet. */
  readonly fresh: readonly Transfer[];
  /** Records whose transfer was not found. */
  readonly missing: readonly DepositRow[];
}

function isSameMove(row: DepositRow, transfer: Transfer): boolean {
  return row.from === transfer.from && row.raw === transfer.raw;
}

/**
 * Finds the records of transfers of one chain. A transaction that was mined again in another block keeps its records,
 * though the places of its logs have changed: what moved the same amount from the same sender is taken for the same, in the
 * order of the places. A record of a whole transaction (place -1) stands for the transfer that it looks like; one that is
 * credited stands for the first where it looks like none, so that nothing is paid twice.
 * @param rows all records of the transactions that `transfers` are of; others come back as missing
 */
export function matchTransfers(rows: readonly DepositRow[], transfers: readonly Transfer[]): Matching {
  const left = new Map<string, DepositRow[]>();
  for (const row of rows.toSorted((a, b) => a.logIndex - b.logIndex)) {
    const ofTransaction = left.get(row.txHash) ?? [];
    ofTransaction.push(row);
    left.set(row.txHash, ofTransaction);
  }
  const known: { readonly row: DepositRow; readonly transfer: Transfer }[] = [];
  let unmatched: readonly Transfer[] = transfers.toSorted((a, b) => a.logIndex - b.logIndex);
  const passes: readonly ((row: DepositRow, transfer: Transfer) => boolean)[] = [
    (row, transfer) => row.blockHash === transfer.blockHash && row.logIndex === transfer.logIndex,
    (row, transfer) => row.logIndex !== -1 && isSameMove(row, transfer),
    (row, transfer) => row.logIndex === -1 && isSameMove(row, transfer),
    (row) => row.logIndex === -1 && row.state === "credited",
  ];
  for (const isMatch of passes) {
    unmatched = unmatched.filter((transfer) => {
      const candidates = left.get(transfer.txHash) ?? [];
      const index = candidates.findIndex((row) => isMatch(row, transfer));
      const [row] = index === -1 ? [] : candidates.splice(index, 1);
      if (row !== undefined) known.push({ row, transfer });
      return row === undefined;
    });
  }
  return { known, fresh: unmatched, missing: [...left.values()].flat() };
}
