import { isFulaError, messageOf } from "../kernel/errors.ts";
import { type Fence, fenceCte, fenceValues, leaseLost } from "../postgres/fence.ts";
import type { Pool } from "../postgres/pool.ts";
import { type TransactionClient, withTransaction } from "../postgres/transaction.ts";
import type { CreditOutcome, DepositCredit } from "./credits.ts";
import { parseUnits } from "./money.ts";

/** `creditUsersTx` (credits.ts): several credits in the caller's transaction, their accounts locked in one order. */
export type CreditUsers = (
  client: TransactionClient,
  credits: readonly DepositCredit[],
) => Promise<readonly CreditOutcome[]>;

/** How deposits are credited. */
export interface CreditRules {
  readonly credit: CreditUsers;
  /** `billing.referralBonuses`. */
  readonly referralBonuses: boolean;
}

/** What was credited. */
export interface Credited {
  readonly count: number;
  /** In units of 10⁻¹⁸ FULA. */
  readonly units: bigint;
}

/** Deposits of one transaction: enough that its cost does not matter, few enough that nobody waits long for an account. */
const BATCH = 100;

/**
 * A record `t` that may be credited: settled, and never credited. One of other software counts when our scanner has seen its
 * transfer, which also tells its exact amount; one of a chain that stands still when the chain goes on.
 */
const IS_DUE = `t.state = 'unclaimed' and t.claimed_at is null and t.block_hash is not null
  and not exists (select from chain_sync_state s where s.chain_id = t.chain_id and s.halted_because is not null)`;

/**
 * Whose the transfer `t` is, as `p.user_id`: the account that its sender's wallet is linked to, else the wallet's own where
 * there is one, which is named by the same hash. Null where nobody knows the sender: it waits for whoever links the wallet.
 */
export const PAYEE = `left join lateral (
            select coalesce((select o.user_id from wallet_owners o where o.wallet_address_hash = t.sender_hash),
                            (select a.user_id from user_credits a where a.user_id = t.sender_hash)) as user_id) p on true`;

interface DueRow {
  readonly id: string;
  readonly user_id: string;
  readonly reference: string;
  readonly amount_fula: string;
}

async function creditRows(
  client: TransactionClient,
  rows: readonly DueRow[],
  source: "cron" | "manual",
  { credit, referralBonuses }: CreditRules,
): Promise<Credited> {
  if (rows.length === 0) return { count: 0, units: 0n };
  const credits = rows.map((row) => ({
    type: "deposit" as const,
    userId: row.user_id,
    amountUnits: parseUnits(row.amount_fula),
    reference: row.reference,
    referralBonuses,
  }));
  const outcomes = await credit(client, credits);
  await client.query({
    name: "deposits_credited",
    text: `
      update token_transactions t
         set state = 'credited', user_id = d.user_id, claimed_at = clock_timestamp(), entry_id = d.entry_id,
             ingestion_source = coalesce(t.ingestion_source, $4)
        from unnest($1::bigint[], $2::text[], $3::bigint[]) as d (id, user_id, entry_id)
       where t.id = d.id`,
    values: [
      rows.map(({ id }) => id),
      rows.map((row) => row.user_id),
      outcomes.map(({ entryId }) => entryId.toString()),
      source,
    ],
  });
  return { count: rows.length, units: credits.reduce((sum, { amountUnits }) => sum + amountUnits, 0n) };
}

/**
 * Credits what came from a wallet before it had an owner, in the transaction that gives it one. A deposit that somebody
 * credits at the same time is waited for, and left out.
 * @param owner the user, and the hex SHA-256 of the wallet's address in lower case
 * @throws FulaError what crediting throws
 */
export async function creditWaitingDeposits(
  client: TransactionClient,
  owner: { readonly userId: string; readonly walletHash: string },
  rules: CreditRules,
): Promise<Credited> {
  const { rows } = await client.query<DueRow>({
    name: "deposits_of_wallet",
    text: `
      select t.id, $2::text as user_id, t.reference, t.amount_fula from token_transactions t
       where t.sender_hash = $1 and ${IS_DUE}
       order by t.id for update of t`,
    values: [owner.walletHash, owner.userId],
  });
  return await creditRows(client, rows, "cron", rules);
}

/** Credits the settled deposits of one transaction that came from the user's wallets. @throws FulaError what crediting throws */
export async function creditClaimed(
  client: TransactionClient,
  claim: { readonly userId: string; readonly chainId: number; readonly txHash: string },
  rules: CreditRules,
): Promise<Credited> {
  const { rows } = await client.query<DueRow>({
    name: "deposits_of_claim",
    text: `
      select t.id, p.user_id, t.reference, t.amount_fula
        from token_transactions t ${PAYEE}
       where t.chain_id = $1 and t.tx_hash = $2 and p.user_id = $3 and ${IS_DUE}
       order by t.id for update of t`,
    values: [claim.chainId, claim.txHash, claim.userId],
  });
  return await creditRows(client, rows, "manual", rules);
}

async function assertFence(client: TransactionClient, fence: Fence | null): Promise<void> {
  const { rows } = await client.query<{ ok: boolean }>({
    name: "deposits_fence",
    text: `with ${fenceCte(1)} select ok from fence`,
    values: [...fenceValues(fence)],
  });
  if (rows.length === 0 && fence !== null) throw leaseLost(fence);
}

/** What a run over one chain's settled deposits needs. */
export interface CreditRun extends CreditRules {
  readonly pool: Pool;
  readonly chainId: number;
  readonly fence: Fence | null;
  readonly signal: AbortSignal;
}

async function creditBatch(
  run: CreditRun,
  after: bigint,
  limit: number,
): Promise<Credited & { readonly last: bigint | null }> {
  return await withTransaction(run.pool, async (client) => {
    // Holds the lease until the commit: nobody else begins an epoch while these credits are being written.
    await assertFence(client, run.fence);
    const { rows } = await client.query<DueRow>({
      name: "deposits_due",
      text: `
        select t.id, p.user_id, t.reference, t.amount_fula
          from token_transactions t ${PAYEE}
         where t.chain_id = $1 and p.user_id is not null and ${IS_DUE} and t.id > $2
         order by t.id limit $3 for update of t skip locked`,
      values: [run.chainId, after.toString(), limit],
    });
    const last = rows.at(-1);
    return { ...(await creditRows(client, rows, "cron", run)), last: last === undefined ? null : BigInt(last.id) };
  });
}

/** Takes a deposit out that the ledger does not take, so that the others go on. */
async function refuse(run: CreditRun, after: bigint, because: string): Promise<void> {
  await withTransaction(run.pool, async (client) => {
    await assertFence(client, run.fence);
    await client.query({
      name: "deposit_refuse",
      text: `
        update token_transactions set state = 'refused', note = $3
         where id = (select min(t.id) from token_transactions t ${PAYEE}
                      where t.chain_id = $1 and p.user_id is not null and ${IS_DUE} and t.id > $2)`,
      values: [run.chainId, after.toString(), because],
    });
  });
}

/**
 * Credits every settled deposit of a chain whose sender's wallet has an owner or an account of its own, also those that were
 * settled before it had one. One that the ledger refuses, because its reference stands for something else there, is marked and left.
 * @throws FulaError FULA_LEASE_LOST, what crediting throws else; the signal's reason
 */
export async function creditSettled(run: CreditRun): Promise<Credited & { readonly refused: number }> {
  let count = 0;
  let units = 0n;
  let refused = 0;
  let after = 0n;
  let limit = BATCH;
  for (;;) {
    run.signal.throwIfAborted();
    try {
      const batch = await creditBatch(run, after, limit);
      if (batch.last === null) return { count, units, refused };
      count += batch.count;
      units += batch.units;
      after = batch.last;
    } catch (error) {
      if (!isFulaError(error, "FULA_CREDIT_REFERENCE_TAKEN") && !isFulaError(error, "FULA_AMOUNT_INVALID")) throw error;
      if (limit === 1) {
        await refuse(run, after, messageOf(error));
        refused += 1;
      }
      // The one that is refused is found by going on one by one.
      limit = limit === 1 ? BATCH : 1;
    }
  }
}
