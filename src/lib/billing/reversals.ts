import { assert } from "../kernel/assert.ts";
import { FulaError } from "../kernel/errors.ts";
import type { Pool } from "../postgres/pool.ts";
import { type TransactionClient, withTransaction } from "../postgres/transaction.ts";
import { noteOperator } from "./adjustments.ts";
import { settleOnce } from "./credits.ts";
import { type HeldAccount, holdAccounts } from "./credits-accounts.ts";
import { type Posting, postEntries } from "./credits-post.ts";
import { parseUnits } from "./money.ts";

/** Which deposit is meant: its entry in the ledger, or its reference, in any case. */
export type DepositName = { readonly entryId: bigint } | { readonly reference: string };

/** A deposit that an operator takes back. */
export interface ReversalOrder {
  readonly deposit: DepositName;
  readonly reason: string;
  readonly operator: string;
}

/** A bonus that was paid for a deposit, and goes with it. */
interface ClawBack {
  /** The entry that paid it. */
  readonly entryId: bigint;
  readonly userId: string;
  readonly level: number;
  readonly amountUnits: bigint;
}

/** What taking a deposit back takes from whom, in units of 10⁻¹⁸ FULA. */
export interface ReversalPlan {
  readonly entryId: bigint;
  readonly userId: string;
  readonly reference: string | null;
  readonly amountUnits: bigint;
  readonly bonuses: readonly ClawBack[];
  /** The entry that took it back already; null where none did. */
  readonly reversedBy: bigint | null;
}

/** What became of it. */
export interface ReversalOutcome extends ReversalPlan {
  readonly reversalEntryId: bigint;
  /** The depositor's balance right after. */
  readonly balanceUnits: bigint;
  /** False where the deposit had been taken back before; nothing was changed then. */
  readonly applied: boolean;
}

interface DepositRow {
  readonly id: string;
  readonly user_id: string | null;
  readonly tx_type: string | null;
  readonly amount: string;
  readonly reference_id: string | null;
  readonly reversed_by: string | null;
}

function describeName(name: DepositName): string {
  return "entryId" in name ? `entry ${name.entryId}` : `deposit ${name.reference}`;
}

async function findDeposit(client: TransactionClient, name: DepositName): Promise<DepositRow> {
  const columns = `
    e.id, e.user_id, e.tx_type, e.amount_fula as amount, e.reference_id,
    (select r.id from credit_history r
      where r.tx_type = 'adjustment' and r.reference_id ~ '^(adjustment|bonus|reversal):'
        and lower(r.reference_id) = 'reversal:' || e.id) as reversed_by`;
  const { rows } = await client.query<DepositRow>(
    "entryId" in name
      ? {
          name: "deposit_of_entry",
          text: `select ${columns} from credit_history e where e.id = $1`,
          values: [name.entryId.toString()],
        }
      : {
          name: "deposit_of_reference",
          text: `select ${columns} from credit_history e where e.tx_type = 'deposit' and lower(e.reference_id) = lower($1)`,
          values: [name.reference],
        },
  );
  const row = rows[0];
  if (row !== undefined) return row;
  throw new FulaError("FULA_ENTRY_NOT_FOUND", `The ledger has no ${describeName(name)}. Nothing was changed.`, {
    hint: "fula-master billing history <user> lists a user's entries with their ids and references.",
  });
}

async function readBonuses(client: TransactionClient, depositId: bigint): Promise<readonly ClawBack[]> {
  // The amount of the entry and not the bonus's own record of it, which old writers rounded to 8 places.
  const { rows } = await client.query<{ id: string; user_id: string; level: number; amount: string }>({
    name: "bonuses_of_deposit",
    text: `
      select e.id, e.user_id, b.level, e.amount_fula as amount
        from referral_bonuses b join credit_history e on e.id = b.credit_history_id
       where b.source_credit_history_id = $1 and e.user_id is not null
       order by b.level`,
    values: [depositId.toString()],
  });
  return rows.map(({ id, user_id: userId, level, amount }) => ({
    entryId: BigInt(id),
    userId,
    level,
    amountUnits: parseUnits(amount),
  }));
}

async function readPlan(client: TransactionClient, name: DepositName): Promise<ReversalPlan> {
  const row = await findDeposit(client, name);
  const entryId = BigInt(row.id);
  if (row.tx_type !== "deposit" || row.user_id === null) {
    const what = row.tx_type === "deposit" ? "a deposit of nobody" : `of type ${row.tx_type ?? "none"}`;
    throw new FulaError("FULA_REVERSAL_REFUSED", `Entry ${entryId} is ${what}; only a user's deposit is reversed.`, {
      hint: "set anything else right with fula-master billing adjust <user> <amount> --reason …",
    });
  }
  return {
    entryId,
    userId: row.user_id,
    reference: row.reference_id,
    amountUnits: parseUnits(row.amount),
    bonuses: await readBonuses(client, entryId),
    reversedBy: row.reversed_by === null ? null : BigInt(row.reversed_by),
  };
}

/**
 * Says what `reverseDeposit` would do, and changes nothing.
 * @throws FulaError FULA_ENTRY_NOT_FOUND, FULA_REVERSAL_REFUSED where the entry is no user's deposit
 */
export async function planReversal(pool: Pool, name: DepositName): Promise<ReversalPlan> {
  return await withTransaction(pool, async (client) => await readPlan(client, name), {
    isolation: "repeatable read",
    readOnly: true,
  });
}

/** The entries that take a deposit and its bonuses back. */
function postingsOf(
  plan: ReversalPlan,
  held: ReadonlyMap<string, HeldAccount>,
): { readonly gate: Posting; readonly clawBacks: readonly Posting[] } {
  const posting = (type: Posting["type"], { entryId, userId, amountUnits }: Omit<ClawBack, "level">): Posting => {
    const account = held.get(userId);
    assert(account !== undefined, "every account of a reversal is held");
    return { account, type, amountUnits: -amountUnits, reference: `reversal:${entryId}` };
  };
  return {
    gate: posting("adjustment", plan),
    clawBacks: plan.bonuses.map((bonus) => posting("referral_bonus", bonus)),
  };
}

/** Marks the transfer that was credited, so that nobody takes it for money that is there. Before accounts are held, as all do. */
async function markReversed(client: TransactionClient, { entryId, reference }: ReversalPlan): Promise<void> {
  await client.query({
    name: "deposit_reversed",
    text: `
      update token_transactions set state = 'reversed', lost_at_block = null, entry_id = $1
       where reference = lower($2::text) and (entry_id is null or entry_id = $1)`,
    values: [entryId.toString(), reference],
  });
}

/**
 * Takes a deposit back, with every bonus that it brought, once. Balances may fall below zero; those accounts are
 * suspended. An operator's act: nothing reverses a deposit by itself.
 * @throws FulaError FULA_ENTRY_NOT_FOUND, FULA_REVERSAL_REFUSED where the entry is no user's deposit
 */
export async function reverseDeposit(pool: Pool, order: ReversalOrder): Promise<ReversalOutcome> {
  const { reason, operator } = order;
  return await settleOnce(pool, async (client) => {
    const plan = await readPlan(client, order.deposit);
    const { userId, bonuses } = plan;
    await markReversed(client, plan);
    const held = await holdAccounts(client, [...new Set([userId, ...bonuses.map((bonus) => bonus.userId)])]);
    const { gate, clawBacks } = postingsOf(plan, held);
    const [outcome] = await postEntries(client, [gate], () => clawBacks);
    assert(outcome !== undefined, "one posting has one outcome");
    const { entryId: reversalEntryId, balanceUnits, applied } = outcome;
    if (!applied) return { ...plan, reversalEntryId, balanceUnits, applied };
    await noteOperator(client, {
      action: "billing.reverse",
      entryId: reversalEntryId,
      userId,
      operator,
      reason,
      amountUnits: gate.amountUnits,
      reference: gate.reference,
    });
    return { ...plan, reversalEntryId, balanceUnits, applied };
  });
}
