import type { Chain } from "../config/chain-settings.ts";
import type { TransactionClient } from "../postgres/transaction.ts";
import type { Transfer } from "./chain-transfers.ts";
import { DEPOSIT_STATES, type DepositRow, type DepositState } from "./deposit-match.ts";
import { formatUnits, parseUnits } from "./money.ts";

interface RawRow {
  readonly id: string;
  readonly tx_hash: string;
  readonly log_index: number;
  readonly block_hash: string | null;
  readonly block_number: string;
  readonly from_address: string;
  readonly raw: string | null;
  readonly amount_fula: string;
  readonly state: string;
  readonly claimed: boolean;
  readonly reference: string;
  readonly lost_at_block: string | null;
}

function stateOf(text: string): DepositState {
  const state = DEPOSIT_STATES.find((each) => each === text);
  if (state === undefined) throw new Error(`A deposit's state is ${text}`);
  return state;
}

function rowOf(row: RawRow): DepositRow {
  return {
    id: BigInt(row.id),
    txHash: row.tx_hash,
    logIndex: row.log_index,
    blockHash: row.block_hash,
    blockNumber: BigInt(row.block_number),
    from: row.from_address,
    raw: row.raw === null ? null : BigInt(row.raw),
    amountUnits: parseUnits(row.amount_fula),
    state: stateOf(row.state),
    isClaimed: row.claimed,
    reference: row.reference,
    lostAtBlock: row.lost_at_block === null ? null : BigInt(row.lost_at_block),
  };
}

const COLUMNS = `id, tx_hash, log_index, block_hash, block_number, lower(from_address) as from_address, raw, amount_fula, state,
  claimed_at is not null as claimed, reference, lost_at_block`;

/**
 * Records of these transactions, and those that were seen in these blocks; what came to an earlier vault, or in another
 * token, is none of this chain's settings. The caller holds the chain's row.
 */
export async function readDeposits(
  client: TransactionClient,
  { chainId, token, vault }: Pick<Chain, "chainId" | "token" | "vault">,
  txHashes: readonly string[],
  blocks: { readonly from: bigint; readonly to: bigint } | null,
): Promise<readonly DepositRow[]> {
  const { rows } = await client.query<RawRow>({
    name: "deposits_read",
    text: `
      select ${COLUMNS} from token_transactions
       where chain_id = $1 and tx_hash = any ($2::text[])
         and (block_hash is null or token_address = $5 and to_address = $6)
      union
      select ${COLUMNS} from token_transactions
       where chain_id = $1 and block_number between $3::bigint and $4::bigint and block_hash is not null
         and token_address = $5 and to_address = $6`,
    values: [chainId, txHashes, blocks?.from.toString() ?? null, blocks?.to.toString() ?? null, token, vault],
  });
  return rows.map(rowOf);
}

/** A transfer as it is written down. */
export interface NewDeposit {
  readonly transfer: Transfer;
  readonly state: DepositState;
  readonly reference: string;
  /** In units of 10⁻¹⁸ FULA. */
  readonly amountUnits: bigint;
  readonly note: string | null;
  /** The entry that has credited it already; null where none has. */
  readonly entry: LoneEntry | null;
}

/** A deposit in the ledger that stands for a transaction of which there is no record. */
export interface LoneEntry {
  readonly entryId: bigint;
  readonly userId: string | null;
  readonly amountUnits: bigint;
  readonly reference: string;
}

/** Entries of these transactions whose record is gone; the existing fleet names a transaction alone in them. */
export async function readLoneEntries(
  client: TransactionClient,
  chainId: number,
  txHashes: readonly string[],
): Promise<readonly LoneEntry[]> {
  const { rows } = await client.query<{ id: string; user_id: string | null; amount_fula: string; reference: string }>({
    name: "deposits_lone_entries",
    text: `
      select e.id, e.user_id, e.amount_fula, lower(e.reference_id) as reference from credit_history e
       where e.tx_type = 'deposit' and lower(e.reference_id) = any ($1::text[])
         and not exists (select from token_transactions t where t.reference = lower(e.reference_id))`,
    values: [txHashes.map((txHash) => `${chainId}:${txHash}`)],
  });
  return rows.map((row) => ({
    entryId: BigInt(row.id),
    userId: row.user_id,
    amountUnits: parseUnits(row.amount_fula),
    reference: row.reference,
  }));
}

/** Writes transfers down that have no record. */
export async function insertDeposits(
  client: TransactionClient,
  { chainId, token }: Pick<Chain, "chainId" | "token">,
  source: "cron" | "manual",
  deposits: readonly NewDeposit[],
): Promise<void> {
  if (deposits.length === 0) return;
  await client.query({
    name: "deposits_insert",
    text: `
      insert into token_transactions (
        tx_hash, chain_id, log_index, from_address, to_address, amount_raw, raw, amount_fula, block_number, block_hash,
        block_timestamp, ingestion_source, state, reference, note, token_address, entry_id, user_id, claimed_at)
      select tx_hash, $1, log_index, from_address, to_address, raw::text, raw, amount, block_number, block_hash,
             coalesce(block_timestamp, 0), $2, state, reference, note, $15, entry_id, user_id,
             case when entry_id is not null then clock_timestamp() end
        from unnest($3::text[], $4::integer[], $5::text[], $6::text[], $7::numeric[], $8::numeric[], $9::bigint[],
                    $10::text[], $11::bigint[], $12::text[], $13::text[], $14::text[],
                    $16::bigint[], $17::text[])
             as d (tx_hash, log_index, from_address, to_address, raw, amount, block_number, block_hash, block_timestamp,
                   state, reference, note, entry_id, user_id)`,
    values: [
      chainId,
      source,
      deposits.map(({ transfer }) => transfer.txHash),
      deposits.map(({ transfer }) => transfer.logIndex),
      deposits.map(({ transfer }) => transfer.from),
      deposits.map(({ transfer }) => transfer.to),
      deposits.map(({ transfer }) => transfer.raw.toString()),
      deposits.map(({ amountUnits }) => formatUnits(amountUnits)),
      deposits.map(({ transfer }) => transfer.blockNumber.toString()),
      deposits.map(({ transfer }) => transfer.blockHash),
      deposits.map(({ transfer }) => transfer.timestamp?.toString() ?? null),
      deposits.map(({ state }) => state),
      deposits.map(({ reference }) => reference),
      deposits.map(({ note }) => note),
      token,
      deposits.map(({ entry }) => entry?.entryId.toString() ?? null),
      deposits.map(({ entry }) => entry?.userId ?? null),
    ],
  });
}

/** A record whose transfer was seen, where and in which state. */
export interface SeenDeposit {
  readonly row: DepositRow;
  readonly transfer: Transfer;
  readonly state: DepositState;
  readonly amountUnits: bigint;
}

// No log has such a place in its block: for records that stand where another one belongs, and for those that are moving.
const SET_ASIDE = 1_000_000_000;
const MOVING = 2_000_000_000;

/** Takes records off their places, which others have now: a transaction that was mined again may do something else. */
export async function setAside(client: TransactionClient, ids: readonly bigint[]): Promise<void> {
  if (ids.length === 0) return;
  await client.query({
    name: "deposits_set_aside",
    text: `update token_transactions set log_index = ${SET_ASIDE} + id % ${SET_ASIDE} where id = any ($1::bigint[])`,
    values: [ids.map(String)],
  });
}

/**
 * Notes where transfers were seen. What was credited keeps the amount that it was credited with, and its state, though it
 * was credited since the record was read.
 */
export async function updateDeposits(
  client: TransactionClient,
  { token }: Pick<Chain, "token">,
  seen: readonly SeenDeposit[],
): Promise<void> {
  if (seen.length === 0) return;
  const moved = seen.filter(({ row, transfer }) => row.logIndex !== transfer.logIndex);
  if (moved.length > 0) {
    // The places within a transaction are unique at any moment, so those that change leave theirs first.
    await client.query({
      name: "deposits_move",
      text: `
        update token_transactions t set log_index = ${MOVING} + d.place
          from unnest($1::bigint[]) with ordinality as d (id, place)
         where t.id = d.id`,
      values: [moved.map(({ row }) => row.id.toString())],
    });
  }
  await client.query({
    name: "deposits_update",
    text: `
      update token_transactions t
         set log_index = d.log_index, block_number = d.block_number, block_hash = d.block_hash,
             block_timestamp = coalesce(d.block_timestamp, t.block_timestamp), lost_at_block = null,
             state = case when t.state in ('credited', 'refused', 'reversed') then t.state else d.state end,
             token_address = $9, to_address = d.to_address, raw = d.raw, amount_raw = d.raw::text,
             amount_fula = case when t.state in ('credited', 'refused', 'reversed') or t.claimed_at is not null
                                then t.amount_fula else d.amount end
        from unnest($1::bigint[], $2::integer[], $3::bigint[], $4::text[], $5::bigint[], $6::text[], $7::numeric[],
                    $8::numeric[], $10::text[])
             as d (id, log_index, block_number, block_hash, block_timestamp, state, raw, amount, to_address)
       where t.id = d.id`,
    values: [
      seen.map(({ row }) => row.id.toString()),
      seen.map(({ transfer }) => transfer.logIndex),
      seen.map(({ transfer }) => transfer.blockNumber.toString()),
      seen.map(({ transfer }) => transfer.blockHash),
      seen.map(({ transfer }) => transfer.timestamp?.toString() ?? null),
      seen.map(({ state }) => state),
      seen.map(({ transfer }) => transfer.raw.toString()),
      seen.map(({ amountUnits }) => formatUnits(amountUnits)),
      token,
      seen.map(({ transfer }) => transfer.to),
    ],
  });
}

/** Marks records whose transfer is gone: credited ones as lost at that head, the others as orphaned. */
export async function markGone(client: TransactionClient, ids: readonly bigint[], head: bigint): Promise<void> {
  if (ids.length === 0) return;
  await client.query({
    name: "deposits_gone",
    text: `
      update token_transactions
         set state = case when state in ('waiting', 'unclaimed', 'dust') then 'orphaned' else state end,
             lost_at_block = case when state = 'credited' then coalesce(lost_at_block, $2::bigint) end
       where id = any ($1::bigint[])`,
    values: [ids.map(String), head.toString()],
  });
}
