import { type AccountView, readAccount } from "../billing/account-view.ts";
import { adjustUser, planAdjustment } from "../billing/adjustments.ts";
import { adjustmentReference } from "../billing/credits.ts";
import { formatUnits, parseUnits } from "../billing/money.ts";
import { policyOf } from "../billing/policy.ts";
import {
  type DepositName,
  planReversal,
  reverseDeposit,
  type ReversalOutcome,
  type ReversalPlan,
} from "../billing/reversals.ts";
import type { LoadedConfig } from "../config/load.ts";
import { FulaError } from "../kernel/errors.ts";
import { type BillingContext, withBillingLedger } from "./billing-ledger.ts";
import { requireKnownUser } from "./credit-user.ts";
import { type Actor, actorOf, isOwnKey } from "./operators.ts";

// One line of text: what is stored is shown in terminals.
// oxlint-disable-next-line no-control-regex -- they are what is refused
const ONE_LINE = /^[^\u0000-\u001f\u007f]{1,500}$/;

/** Why something is done by hand, and by whom. */
export interface OperatorWords {
  readonly reason: string | undefined;
  readonly operator: string | undefined;
}

/**
 * What is written down of an operator's act. Without `--operator` it is who runs the command, on which box.
 * @throws FulaError FULA_USAGE where there is no reason
 */
export function operatorOf(
  command: string,
  words: OperatorWords,
  context: Actor,
  loaded: Pick<LoadedConfig, "config">,
): { readonly reason: string; readonly operator: string } {
  const reason = words.reason?.trim() ?? "";
  const actor = actorOf(context, loaded);
  const decider = words.operator?.trim();
  // Whoever has a key of his own and names somebody else is still the one who acted.
  const operator = decider === undefined ? actor : `${decider}${isOwnKey(context) ? ` (by ${actor})` : ""}`;
  if (ONE_LINE.test(reason) && ONE_LINE.test(operator)) return { reason, operator };
  throw new FulaError(
    "FULA_USAGE",
    reason === ""
      ? `${command} needs --reason: it is written into the ledger for whoever wonders later.`
      : "--reason and --operator take one line of at most 500 characters each.",
    { hint: `fula-master ${command} … --reason "ticket 118: who asked, and why"` },
  );
}

/** What `billing adjust` is given. */
export interface AdjustOptions extends OperatorWords {
  readonly user: string;
  readonly amount: string;
  /** One is drawn where none is given. */
  readonly key: string | undefined;
  readonly dryRun: boolean;
  /** Asked before anything is taken; throws to refuse. */
  readonly confirm: (userId: string, amount: string) => Promise<void>;
  /** Told the key before anything is written, so that a run that was cut off can be repeated with it. */
  readonly onKey: (key: string) => void;
}

/** What `billing adjust --json` prints; amounts are decimal strings. */
export interface AdjustReport {
  readonly dryRun: boolean;
  readonly userId: string;
  readonly amount: string;
  readonly reason: string;
  readonly operator: string;
  readonly key: string;
  readonly reference: string;
  /** False in a dry run, and where the key had been used for the same already. */
  readonly applied: boolean;
  /** The ledger's entry; null in a dry run, unless the key had been used for the same already. */
  readonly entryId: string | null;
  /** The account's balance before it and after it; of a repetition, as it is now. */
  readonly balanceBefore: string;
  readonly balance: string;
  readonly isSuspended: boolean;
}

type BalanceState = Pick<AccountView, "balanceUnits" | "isSuspended">;

/** What a balance and its suspension come to by an amount (docs/decisions/0125-suspension-follows-the-balance.md). */
function projected({ balanceUnits: before, isSuspended }: BalanceState, amountUnits: bigint): BalanceState {
  const balanceUnits = before + amountUnits;
  return {
    balanceUnits,
    isSuspended: amountUnits > 0n ? isSuspended && balanceUnits <= 0n : isSuspended || balanceUnits < 0n,
  };
}

/**
 * Corrects a balance by hand.
 * @throws FulaError FULA_USAGE, FULA_AMOUNT_INVALID, FULA_ACCOUNT_UNKNOWN, FULA_CREDIT_REFERENCE_TAKEN, and what
 *   `withBillingLedger` throws
 */
export async function runAdjust(context: BillingContext, options: AdjustOptions): Promise<AdjustReport> {
  const amountUnits = parseUnits(options.amount);
  const amount = formatUnits(amountUnits);
  if (amountUnits === 0n) {
    throw new FulaError("FULA_AMOUNT_INVALID", "An adjustment of 0 FULA would change nothing.");
  }
  return await withBillingLedger(context, async (pool, loaded) => {
    const { config } = loaded;
    const { reason, operator } = operatorOf("billing adjust", options, context, loaded);
    const userId = await requireKnownUser(pool, options.user);
    const policy = policyOf(config.billing);
    const before = await readAccount(pool, userId, policy);
    const key = options.key ?? context.random.uuid();
    const shared = { userId, amount, reason, operator, key, reference: adjustmentReference(key) };
    const balanceBefore = formatUnits(before.balanceUnits);
    if (options.dryRun) {
      const entryId = await planAdjustment(pool, { userId, amountUnits, key });
      const planned = entryId === null ? projected(before, amountUnits) : before;
      return {
        dryRun: true,
        ...shared,
        applied: false,
        entryId: entryId?.toString() ?? null,
        balanceBefore,
        balance: formatUnits(planned.balanceUnits),
        isSuspended: planned.isSuspended,
      };
    }
    if (amountUnits < 0n) await options.confirm(userId, amount);
    options.onKey(key);
    const { entryId, applied } = await adjustUser(pool, { userId, amountUnits, reason, operator, key });
    const after = await readAccount(pool, userId, policy);
    return {
      dryRun: false,
      ...shared,
      applied,
      entryId: entryId.toString(),
      balanceBefore,
      balance: formatUnits(after.balanceUnits),
      isSuspended: after.isSuspended,
    };
  });
}

/** What `billing reverse` is given. */
export interface ReverseOptions extends OperatorWords {
  /** The id of an entry, or the reference of a deposit. */
  readonly deposit: string;
  readonly dryRun: boolean;
  /** Asked before anything is taken; throws to refuse. */
  readonly confirm: (plan: ReversalPlan) => Promise<void>;
}

/** What `billing reverse --json` prints; amounts are decimal strings, and what is taken is above zero. */
export interface ReverseReport {
  readonly dryRun: boolean;
  readonly entryId: string;
  readonly userId: string;
  readonly reference: string | null;
  readonly amount: string;
  readonly bonuses: readonly { readonly userId: string; readonly level: number; readonly amount: string }[];
  /** False in a dry run, and where it had been taken back already. */
  readonly applied: boolean;
  /** The entry that takes it back; null where there is none yet. */
  readonly reversalEntryId: string | null;
  /** The depositor's balance right after it; null where there is none yet. */
  readonly balance: string | null;
}

const ENTRY_ID = /^\d{1,18}$/;
const REFERENCE = /^\d+:0x[0-9a-f]+(?::\d+)?$/i;

function depositName(text: string): DepositName {
  if (ENTRY_ID.test(text)) return { entryId: BigInt(text) };
  if (REFERENCE.test(text)) return { reference: text };
  throw new FulaError("FULA_USAGE", `"${text}" is neither the id of an entry nor the reference of a deposit.`, {
    hint: "fula-master billing history <user> lists both; a reference is <chain id>:<transaction hash>:<log index>.",
  });
}

function reverseReport(plan: ReversalPlan, dryRun: boolean, outcome: ReversalOutcome | null): ReverseReport {
  const reversal = outcome?.reversalEntryId ?? plan.reversedBy;
  return {
    dryRun,
    entryId: plan.entryId.toString(),
    userId: plan.userId,
    reference: plan.reference,
    amount: formatUnits(plan.amountUnits),
    bonuses: plan.bonuses.map(({ userId, level, amountUnits }) => ({
      userId,
      level,
      amount: formatUnits(amountUnits),
    })),
    applied: outcome?.applied ?? false,
    reversalEntryId: reversal?.toString() ?? null,
    balance: outcome === null ? null : formatUnits(outcome.balanceUnits),
  };
}

/**
 * Takes a deposit back, with the bonuses that came of it.
 * @throws FulaError FULA_USAGE, FULA_ENTRY_NOT_FOUND, FULA_REVERSAL_REFUSED, and what `withBillingLedger` throws
 */
export async function runReverse(context: BillingContext, options: ReverseOptions): Promise<ReverseReport> {
  const deposit = depositName(options.deposit);
  return await withBillingLedger(context, async (pool, loaded) => {
    const words = operatorOf("billing reverse", options, context, loaded);
    const plan = await planReversal(pool, deposit);
    if (options.dryRun) return reverseReport(plan, true, null);
    if (plan.reversedBy === null) await options.confirm(plan);
    return reverseReport(plan, false, await reverseDeposit(pool, { deposit, ...words }));
  });
}
