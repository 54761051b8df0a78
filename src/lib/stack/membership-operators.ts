import { resolveUserId } from "../identity/user-id.ts";
import type { Authorization, Operator, OperatorRole, OperatorStatus } from "../membership/records.ts";
import { normalOperatorId } from "../membership/record-checks.ts";
import { membershipExists } from "../membership/refusals.ts";
import { type MembershipContext, withMembership } from "./membership-run.ts";
import { userOperatorId } from "./operators.ts";

const USER_ID = /^[0-9a-f]{64}$/i;

/**
 * The id of an operator in its normal form, from what people type: a wallet, an `ed25519:` key, `user:` and a user id,
 * `system`, or an e-mail address or bare user id of the ledger.
 * @throws FulaError FULA_MEMBERSHIP_INVALID
 */
function operatorIdFrom(text: string): string {
  const typed = text.trim();
  if (USER_ID.test(typed) || typed.includes("@")) return userOperatorId(resolveUserId(typed));
  return normalOperatorId(typed);
}

/** Every operator, by id. */
export async function listAllOperators(context: MembershipContext): Promise<readonly Operator[]> {
  return await withMembership(context, async (store) => await store.listOperators());
}

/** What the commands that change operators print; `--json` keeps these fields. */
export interface OperatorReport {
  readonly dryRun: boolean;
  /** False in a dry run, and where it was so already. */
  readonly changed: boolean;
  /** As it stands afterwards, or with `dryRun` would stand. */
  readonly operator: Operator;
}

/**
 * Adds an operator.
 * @throws FulaError FULA_MEMBERSHIP_INVALID, FULA_MEMBERSHIP_EXISTS, and what `withMembership` throws
 */
export async function addOperator(
  context: MembershipContext,
  who: string,
  options: { readonly name: string; readonly role: OperatorRole; readonly dryRun: boolean },
): Promise<OperatorReport> {
  const { name, role, dryRun } = options;
  const createdAt = new Date(context.clock.nowMs()).toISOString();
  const operator: Operator = { id: operatorIdFrom(who), role, status: "active", name, createdAt };
  return await withMembership(context, async (store) => {
    if (!dryRun) {
      await store.addOperator(operator);
      return { dryRun, changed: true, operator };
    }
    if ((await store.listOperators()).some(({ id }) => id === operator.id))
      throw membershipExists("operator", operator.id);
    return { dryRun, changed: false, operator };
  });
}

/** What is to be changed of an operator. */
export interface OperatorChange {
  readonly role?: OperatorRole;
  readonly status?: OperatorStatus;
}

/**
 * Changes an operator's role or status.
 * @param confirm asked before it is done; throws where it is not meant
 * @throws FulaError FULA_MEMBERSHIP_INVALID, FULA_MEMBERSHIP_NOT_FOUND, FULA_MEMBERSHIP_LAST_ADMIN,
 *   FULA_MEMBERSHIP_RACED, and what `confirm` and `withMembership` throw
 */
export async function changeOperatorOf(
  context: MembershipContext,
  who: string,
  options: {
    readonly change: OperatorChange;
    readonly dryRun: boolean;
    readonly confirm: (operator: Operator) => Promise<void>;
  },
): Promise<OperatorReport> {
  const { change, dryRun, confirm } = options;
  const id = operatorIdFrom(who);
  return await withMembership(context, async (store) => {
    const present = await store.getOperator(id);
    const next: Operator = { ...present, ...change };
    if (next.role === present.role && next.status === present.status) {
      return { dryRun, changed: false, operator: present };
    }
    if (dryRun) return { dryRun, changed: false, operator: next };
    await confirm(present);
    return { dryRun, changed: true, operator: await store.changeOperator(id, change) };
  });
}

/** What `membership operator check --json` prints. */
export type CheckReport = { readonly id: string; readonly role: OperatorRole } & Authorization;

/** Asks whether somebody may act. @throws FulaError FULA_MEMBERSHIP_INVALID, and what `withMembership` throws */
export async function checkOperator(context: MembershipContext, who: string, role: OperatorRole): Promise<CheckReport> {
  const id = operatorIdFrom(who);
  return await withMembership(context, async (store) => {
    const authorization = await store.isAuthorized(id, role);
    return { id, role, ...authorization };
  });
}
