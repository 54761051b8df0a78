import type { Pool } from "../postgres/pool.ts";
import { type TransactionClient, withTransaction } from "../postgres/transaction.ts";
import { adjustmentReference, creditUserTx, type CreditOutcome, settleOnce } from "./credits.ts";
import { findRepetition } from "./credits-post.ts";
import { formatUnits } from "./money.ts";

/** A correction of a balance by a person. */
export interface Adjustment {
  readonly userId: string;
  /** Above zero gives, below zero takes, in units of 10⁻¹⁸ FULA. */
  readonly amountUnits: bigint;
  readonly reason: string;
  /** Who decided it, as the ledger shall name him. */
  readonly operator: string;
  /** The same key again changes nothing: what was sent twice counts once. */
  readonly key: string;
}

/** What of an operator's act is written down beside its entry. */
export interface OperatorNote {
  readonly action: "billing.adjust" | "billing.reverse";
  readonly entryId: bigint;
  readonly userId: string;
  readonly operator: string;
  readonly reason: string;
  readonly amountUnits: bigint;
  readonly reference: string;
}

/** Writes down why an entry was made and by whom, beside it and in the log of what administrators did. */
export async function noteOperator(client: TransactionClient, note: OperatorNote): Promise<void> {
  await client.query({
    name: "credit_note",
    text: `
      with noted as (insert into credit_notes (entry_id, operator, reason) values ($1, $2, $3))
      insert into admin_audit_log (actor, action, target_id, details)
      values ($2, $4, $5, jsonb_build_object('entryId', $1::text, 'amount', $6::text, 'reason', $3::text, 'reference', $7::text))`,
    values: [
      note.entryId.toString(),
      note.operator,
      note.reason,
      note.action,
      note.userId,
      formatUnits(note.amountUnits),
      note.reference,
    ],
  });
}

/**
 * Says whether `adjustUser` would do anything, and changes nothing.
 * @returns the entry that the key stands for already; null where it is free
 * @throws FulaError FULA_CREDIT_REFERENCE_TAKEN where the key stands for something else
 */
export async function planAdjustment(
  pool: Pool,
  { userId, amountUnits, key }: Pick<Adjustment, "userId" | "amountUnits" | "key">,
): Promise<bigint | null> {
  const claim = { userId, amountUnits, reference: adjustmentReference(key) };
  return await withTransaction(pool, async (client) => await findRepetition(client, claim), { readOnly: true });
}

/**
 * Corrects a balance, once a key. What takes the balance below zero suspends the account, what lifts it above zero ends
 * that. No referral bonus comes of it.
 * @throws FulaError FULA_CREDIT_REFERENCE_TAKEN where the key stands for something else, FULA_AMOUNT_INVALID
 */
export async function adjustUser(pool: Pool, adjustment: Adjustment): Promise<CreditOutcome> {
  const { userId, amountUnits, reason, operator, key } = adjustment;
  const reference = adjustmentReference(key);
  return await settleOnce(pool, async (client) => {
    const outcome = await creditUserTx(client, { type: "adjustment", userId, amountUnits, reference });
    if (!outcome.applied) return outcome;
    const { entryId } = outcome;
    await noteOperator(client, { action: "billing.adjust", entryId, userId, operator, reason, amountUnits, reference });
    return outcome;
  });
}
