import type { Pool } from "../postgres/pool.ts";
import { runQuery } from "../postgres/run-query.ts";
import { PAYEE } from "./deposit-credit.ts";
import type { DepositState } from "./deposit-match.ts";
import { formatUnits, parseUnits } from "./money.ts";

/** Which deposits are wanted; null = any. */
export interface DepositQuestion {
  readonly state: DepositState | null;
  /** 64 hex digits: credited to this user, or sent from one of his wallets. */
  readonly userId: string | null;
  readonly chainId: number | null;
  readonly limit: number;
}

/** One deposit, as `billing deposits --json` prints it. */
export interface DepositLine {
  readonly chainId: number;
  readonly txHash: string;
  /** -1 where it was written by software that knows a transaction alone. */
  readonly logIndex: number;
  readonly block: string;
  readonly from: string;
  /** Decimal FULA. */
  readonly amount: string;
  readonly state: string;
  readonly userId: string | null;
  readonly reference: string;
  readonly note: string | null;
}

/** The newest deposits first, and how many there are in all. */
export async function listDeposits(
  pool: Pool,
  { state, userId, chainId, limit }: DepositQuestion,
): Promise<{ readonly deposits: readonly DepositLine[]; readonly total: number }> {
  const { rows } = await runQuery<{
    chain_id: number;
    tx_hash: string;
    log_index: number;
    block_number: string;
    from_address: string;
    amount_fula: string;
    state: string;
    user_id: string | null;
    reference: string;
    note: string | null;
    total: string;
  }>(pool, {
    name: "deposits_list",
    text: `
      select t.chain_id, t.tx_hash, t.log_index, t.block_number, t.from_address, t.amount_fula, t.state, t.reference, t.note,
             coalesce(t.user_id, p.user_id) as user_id, count(*) over () as total
        from token_transactions t ${PAYEE}
       where ($1::text is null or t.state = $1) and ($2::text is null or coalesce(t.user_id, p.user_id) = $2)
         and ($3::integer is null or t.chain_id = $3)
       order by t.id desc limit $4`,
    values: [state, userId, chainId, limit],
  });
  const deposits = rows.map((row) => ({
    chainId: row.chain_id,
    txHash: row.tx_hash,
    logIndex: row.log_index,
    block: row.block_number,
    from: row.from_address,
    amount: formatUnits(parseUnits(row.amount_fula)),
    state: row.state,
    userId: row.user_id,
    reference: row.reference,
    note: row.note,
  }));
  return { deposits, total: Number(rows[0]?.total ?? 0) };
}
