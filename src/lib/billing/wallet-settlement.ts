import { isFulaError } from "../kernel/errors.ts";
import { FulaError } from "../kernel/errors.ts";
import type { Pool } from "../postgres/pool.ts";
import { runQuery } from "../postgres/run-query.ts";
import { type TransactionClient, withTransaction } from "../postgres/transaction.ts";
import { holdAccounts } from "./credits-accounts.ts";
import { type AdjustmentCredit, creditUsersTx } from "./credits.ts";
import { formatUnits } from "./money.ts";

/** A wallet and the account that it is linked to. */
export interface WalletLink {
  /** Hex SHA-256 of the address in lower case, which is also the id of the wallet's own account. */
  readonly walletHash: string;
  readonly userId: string;
}

/** What went over from one account to another. */
export interface Settlement {
  readonly buckets: number;
  readonly pins: number;
  /** In units of 10⁻¹⁸ FULA; below zero where a debt went over. */
  readonly units: bigint;
}

/** Hands buckets to another account. @param ownerId those of this owner alone; null for all that the account pays for */
async function moveBuckets(
  client: TransactionClient,
  { from, to, ownerId }: { readonly from: string; readonly to: string; readonly ownerId: string | null },
): Promise<number> {
  const { rowCount } = await client.query({
    name: "wallet_buckets_move",
    text: "update bucket_roots set user_id = $2 where user_id = $1 and ($3::text is null or owner_id = $3)",
    values: [from, to, ownerId],
  });
  return rowCount ?? 0;
}

async function movePins(client: TransactionClient, from: string, to: string): Promise<number> {
  const { rowCount } = await client.query({
    name: "wallet_pins_move",
    text: "update pins set user_id = $2 where user_id = $1",
    values: [from, to],
  });
  // Bytes that wait on a storage node for their object; of a block that both have sent, one lease is enough.
  await client.query({
    name: "wallet_leases_move",
    text: `
      with taken as (delete from ingest_leases where user_id = $1 returning *)
      insert into ingest_leases as l (user_id, cid, bytes, node, leased_at, expires_at, mapped_at)
      select $2, cid, bytes, node, leased_at, expires_at, mapped_at from taken
          on conflict (user_id, cid) do update set expires_at = greatest(l.expires_at, excluded.expires_at)`,
    values: [from, to],
  });
  return rowCount ?? 0;
}

/** Names the balance that goes over by the entry that it came of, so that it goes over once. */
async function referenceOf(client: TransactionClient, walletHash: string): Promise<string> {
  const { rows } = await client.query<{ newest: string }>({
    name: "wallet_entry_newest",
    text: "select coalesce(max(id), 0) as newest from credit_history where user_id = $1",
    values: [walletHash],
  });
  return `adjustment:wallet:${walletHash}:${rows[0]?.newest ?? "0"}`;
}

async function moveBalance(client: TransactionClient, link: WalletLink, units: bigint): Promise<void> {
  const reference = await referenceOf(client, link.walletHash);
  const credits: readonly AdjustmentCredit[] = [
    { type: "adjustment", userId: link.walletHash, amountUnits: -units, reference: `${reference}:out` },
    { type: "adjustment", userId: link.userId, amountUnits: units, reference: `${reference}:in` },
  ];
  const outcomes = await creditUsersTx(client, credits);
  await client.query({
    name: "wallet_balance_note",
    text: `
      insert into credit_notes (entry_id, operator, reason)
      select id, 'system', 'balance of a wallet that was linked to an account' from unnest($1::bigint[]) as id
          on conflict do nothing`,
    values: [outcomes.map(({ entryId }) => entryId.toString())],
  });
  // It owes nothing and stores nothing any more.
  await client.query({
    name: "wallet_account_unsuspend",
    text: "update user_credits set is_suspended = 0, suspended_at = null where user_id = $1 and is_suspended = 1",
    values: [link.walletHash],
  });
}

/** Units in the wallet's own account, null where it has none, and in the other one; both accounts are held. */
interface HeldBalances {
  readonly ownUnits: bigint | null;
  readonly payerUnits: bigint;
}

async function holdBalances(client: TransactionClient, { walletHash, userId }: WalletLink): Promise<HeldBalances> {
  const { rows } = await client.query({
    name: "wallet_account_there",
    text: "select from user_credits where user_id = $1",
    values: [walletHash],
  });
  const held = await holdAccounts(client, rows.length === 0 ? [userId] : [walletHash, userId]);
  return {
    ownUnits: held.get(walletHash)?.balanceUnits ?? null,
    payerUnits: held.get(userId)?.balanceUnits ?? 0n,
  };
}

/**
 * Hands everything that a linked wallet's own account pays for or holds to the account that it is linked to, in the
 * caller's transaction. What is there already changes nothing, so it may be done again at any time.
 * @throws FulaError FULA_AMOUNT_INVALID where a balance would be more than the ledger can hold
 */
export async function settleWallet(client: TransactionClient, link: WalletLink): Promise<Settlement> {
  const { walletHash: from, userId: to } = link;
  // First, so that whoever links and unlinks at the same time takes his turn before either touches a usage.
  const { ownUnits: units } = await holdBalances(client, link);
  const buckets = await moveBuckets(client, { from, to, ownerId: null });
  const pins = await movePins(client, from, to);
  if (units !== null && units !== 0n) await moveBalance(client, link, units);
  return { buckets, pins, units: units ?? 0n };
}

/** Has buckets of an owner that nobody pays for, such as imported ones of an unknown user, paid for by an account. */
export async function claimBuckets(client: TransactionClient, ownerId: string, userId: string): Promise<number> {
  const { rowCount } = await client.query({
    name: "wallet_buckets_claim",
    text: "update bucket_roots set user_id = $2 where owner_id = $1 and user_id is null",
    values: [ownerId, userId],
  });
  return rowCount ?? 0;
}

/**
 * Hands the buckets of a wallet that was unlinked back to its own account, in the caller's transaction. Pins and balance
 * stay with the account: nobody can tell any more which of them were the wallet's.
 * @param ownerId owner of the wallet's buckets
 * @throws FulaError FULA_WALLET_DEBT where the account owes: whoever left a debt behind by linking to an account that he
 *   throws away, and took the buckets back, would store for nothing
 */
export async function unsettleWallet(client: TransactionClient, link: WalletLink, ownerId: string): Promise<number> {
  const { payerUnits } = await holdBalances(client, link);
  if (payerUnits < 0n) {
    throw new FulaError(
      "FULA_WALLET_DEBT",
      `The account owes ${formatUnits(-payerUnits)} FULA, so no wallet is taken off it. Nothing was changed.`,
      { hint: "pay first, by a deposit from any of the account's wallets." },
    );
  }
  return await moveBuckets(client, { from: link.userId, to: link.walletHash, ownerId });
}

const LEFT_OVER = `
  select o.wallet_address_hash as wallet_hash, o.user_id
    from wallet_owners o
   where exists (select from bucket_roots b where b.user_id = o.wallet_address_hash)
      or exists (select from pins p where p.user_id = o.wallet_address_hash)
      or exists (select from user_credits a where a.user_id = o.wallet_address_hash and a.balance_fula <> 0)
   order by 1`;

/**
 * Hands over what came to the own accounts of linked wallets after they were linked: a master that did not know of it yet,
 * other software that links them, a deposit that was credited at that moment.
 * @returns how many wallets had anything
 * @throws FulaError FULA_AMOUNT_INVALID after the others, where a balance would be more than the ledger can hold
 */
export async function settleLinkedWallets(pool: Pool, signal: AbortSignal): Promise<number> {
  const { rows } = await runQuery<{ wallet_hash: string; user_id: string }>(pool, {
    name: "wallets_left_over",
    text: LEFT_OVER,
    values: [],
  });
  // What is wrong with one wallet is not to keep the others' bytes unpaid for.
  const failures: unknown[] = [];
  for (const { wallet_hash: walletHash } of rows) {
    signal.throwIfAborted();
    try {
      await settleLinked(pool, walletHash);
    } catch (error) {
      if (!isFulaError(error, "FULA_AMOUNT_INVALID")) throw error;
      failures.push(error);
    }
  }
  if (failures.length > 0) throw failures[0];
  return rows.length;
}

async function settleLinked(pool: Pool, walletHash: string): Promise<void> {
  await withTransaction(pool, async (client) => {
    // Held to the end: whoever unlinks it waits.
    const { rows: owners } = await client.query<{ user_id: string }>({
      name: "wallet_owner_hold",
      text: "select user_id from wallet_owners where wallet_address_hash = $1 for share",
      values: [walletHash],
    });
    const [owner] = owners;
    if (owner !== undefined) await settleWallet(client, { walletHash, userId: owner.user_id });
  });
}
