import type { Chain } from "../config/chain-settings.ts";
import { type Fence, fenceCte, fenceValues, leaseLost } from "../postgres/fence.ts";
import type { Pool } from "../postgres/pool.ts";
import { runQuery } from "../postgres/run-query.ts";
import type { TransactionClient } from "../postgres/transaction.ts";

/** A block by number and hash. */
export interface BlockRef {
  readonly number: bigint;
  readonly hash: string;
}

/** How far a chain was looked through. */
export interface ChainState {
  /** The head at the last look. */
  readonly scanned: BlockRef | null;
  /** Up to here everything is settled. */
  readonly settled: BlockRef | null;
  readonly haltedBecause: string | null;
}

interface StateRow {
  readonly scanned_block: string | null;
  readonly scanned_hash: string | null;
  readonly settled_block: string | null;
  readonly settled_hash: string | null;
  readonly halted_because: string | null;
}

const COLUMNS = "scanned_block, scanned_hash, settled_block, settled_hash, halted_because";

function refOf(number: string | null, hash: string | null): BlockRef | null {
  return number === null || hash === null ? null : { number: BigInt(number), hash };
}

function stateOf(row: StateRow): ChainState {
  return {
    scanned: refOf(row.scanned_block, row.scanned_hash),
    settled: refOf(row.settled_block, row.settled_hash),
    haltedBecause: row.halted_because,
  };
}

function fenced(row: StateRow | undefined, fence: Fence | null): StateRow {
  if (row !== undefined) return row;
  throw fence === null ? new Error("The chain's row, or the row of the cron lease, is missing") : leaseLost(fence);
}

/** Whether what was looked through is what the settings ask for now. */
const GOES_ON = `lower(s.token_address) = excluded.token_address and lower(s.vault_address) = excluded.vault_address
  and coalesce(s.start_block <= excluded.start_block, true)`;

/**
 * Makes the chain's row, or reads it. Where token or vault are others than when it was looked through, or the start block
 * is a lower one, everything is looked through again, from the start block on.
 * @throws FulaError FULA_LEASE_LOST
 */
export async function openChainState(pool: Pool, chain: Chain, fence: Fence | null): Promise<ChainState> {
  const { rows } = await runQuery<StateRow>(pool, {
    name: "chain_state_open",
    text: `
      with ${fenceCte(1)}
      insert into chain_sync_state as s (chain_id, chain_name, token_address, vault_address, start_block)
      select $3, $4, $5, $6, $7::bigint from fence
          on conflict (chain_id) do update
         set chain_name = excluded.chain_name, token_address = excluded.token_address,
             vault_address = excluded.vault_address,
             start_block = least(s.start_block, excluded.start_block),
             scanned_block = case when ${GOES_ON} then s.scanned_block end,
             scanned_hash = case when ${GOES_ON} then s.scanned_hash end,
             settled_block = case when ${GOES_ON} then s.settled_block end,
             settled_hash = case when ${GOES_ON} then s.settled_hash end
      returning ${COLUMNS}`,
    values: [...fenceValues(fence), chain.chainId, chain.name, chain.token, chain.vault, chain.startBlock],
  });
  return stateOf(fenced(rows[0], fence));
}

/** Locks the chain's row until the transaction ends, and the lease with it. @throws FulaError FULA_LEASE_LOST */
export async function holdChain(client: TransactionClient, chainId: number, fence: Fence | null): Promise<ChainState> {
  const { rows } = await client.query<StateRow>({
    name: "chain_state_hold",
    text: `
      with ${fenceCte(1)}
      select ${COLUMNS} from chain_sync_state s cross join fence where s.chain_id = $3 for update of s`,
    values: [...fenceValues(fence), chainId],
  });
  return stateOf(fenced(rows[0], fence));
}

/** Moves the marks of a chain. @throws FulaError FULA_LEASE_LOST */
export async function moveMarks(
  client: TransactionClient,
  chainId: number,
  fence: Fence | null,
  marks: Pick<ChainState, "scanned" | "settled">,
): Promise<void> {
  const { scanned, settled } = marks;
  const { rows } = await client.query<StateRow>({
    name: "chain_marks_move",
    text: `
      with ${fenceCte(1)}
      update chain_sync_state
         set scanned_block = $4, scanned_hash = $5, settled_block = $6, settled_hash = $7,
             last_scanned_block = coalesce($4::bigint, last_scanned_block)
        from fence where chain_id = $3
      returning ${COLUMNS}`,
    values: [
      ...fenceValues(fence),
      chainId,
      scanned?.number.toString() ?? null,
      scanned?.hash ?? null,
      settled?.number.toString() ?? null,
      settled?.hash ?? null,
    ],
  });
  fenced(rows[0], fence);
}

/** Blocks whose hashes are remembered, the newest first. */
export async function readRememberedBlocks(pool: Pool, chainId: number): Promise<readonly BlockRef[]> {
  const { rows } = await runQuery<{ block_number: string; block_hash: string }>(pool, {
    name: "chain_blocks_read",
    text: "select block_number, block_hash from chain_blocks where chain_id = $1 order by block_number desc",
    values: [chainId],
  });
  return rows.map((row) => ({ number: BigInt(row.block_number), hash: row.block_hash }));
}

/** Remembers the hashes of blocks, and forgets those below `from`. */
export async function rememberBlocks(
  client: TransactionClient,
  chainId: number,
  blocks: readonly BlockRef[],
  from: bigint,
): Promise<void> {
  await client.query({
    name: "chain_blocks_remember",
    text: `
      with forgotten as (
        delete from chain_blocks where chain_id = $1 and block_number < $4::bigint
      )
      insert into chain_blocks (chain_id, block_number, block_hash)
      select $1, number, hash from unnest($2::bigint[], $3::text[]) as b (number, hash)
          on conflict (chain_id, block_number) do update set block_hash = excluded.block_hash`,
    values: [chainId, blocks.map(({ number }) => number.toString()), blocks.map(({ hash }) => hash), from.toString()],
  });
}

/** Forgets the blocks above this one. */
export async function forgetBlocksAbove(client: TransactionClient, chainId: number, number: bigint): Promise<void> {
  await client.query({
    name: "chain_blocks_forget",
    text: "delete from chain_blocks where chain_id = $1 and block_number > $2",
    values: [chainId, number.toString()],
  });
}

/** Notes how a look ended; `problem` null = well. @throws FulaError FULA_LEASE_LOST */
export async function noteLook(
  pool: Pool,
  chainId: number,
  fence: Fence | null,
  problem: string | null,
): Promise<void> {
  const { rows } = await runQuery<StateRow>(pool, {
    name: "chain_look_note",
    text: `
      with ${fenceCte(1)}
      update chain_sync_state set last_scan_at = now(), last_error = $4 from fence where chain_id = $3
      returning ${COLUMNS}`,
    values: [...fenceValues(fence), chainId, problem],
  });
  fenced(rows[0], fence);
}

/** Stops the looks at a chain until an operator resumes them. @throws FulaError FULA_LEASE_LOST */
export async function haltChain(pool: Pool, chainId: number, fence: Fence | null, because: string): Promise<void> {
  const { rows } = await runQuery<StateRow>(pool, {
    name: "chain_halt",
    text: `
      with ${fenceCte(1)}
      update chain_sync_state set halted_because = $4, halted_at = now() from fence where chain_id = $3
      returning ${COLUMNS}`,
    values: [...fenceValues(fence), chainId, because],
  });
  fenced(rows[0], fence);
}
