/**
 * What both stores hold, in one place: which change fits what is there, and who may act. Pure; a store reads the facts
 * and writes the outcome in one step that nobody can come between.
 */
import { sealedKeySchema } from "./records.ts";
import type { Authorization, DenialReason, Member, Operator, OperatorRole, Pool, SealedKey } from "./records.ts";
import { checkRecord } from "./record-checks.ts";
import { lastAdmin, membershipInvalid, membershipRaced } from "./refusals.ts";
import type { Rekey } from "./store.ts";

/** @throws FulaError FULA_MEMBERSHIP_INVALID for a new pool that is said to have a secret already */
export function assertNewPool(pool: Pool): void {
  if (pool.epoch !== 0) {
    throw membershipInvalid(`The new pool ${pool.id} is said to be of epoch ${pool.epoch}; a new one is of epoch 0`);
  }
}

/**
 * Checks a new member against its pool.
 * @throws FulaError FULA_MEMBERSHIP_INVALID for keys of somebody else or of an epoch that is not there,
 *   FULA_MEMBERSHIP_RACED where the key of the present epoch is missing
 */
export function assertMayJoin(pool: Pool, member: Member, sealed: readonly SealedKey[]): void {
  const epochs = new Set<number>();
  for (const key of sealed) {
    checkRecord(sealedKeySchema, key, `A sealed key for ${member.name}`);
    if (key.pool !== pool.id || key.member !== member.endpoint) {
      throw membershipInvalid(`A sealed key for ${member.name} in pool ${pool.id} is of another pool or member`);
    }
    if (key.epoch > pool.epoch || epochs.has(key.epoch)) {
      throw membershipInvalid(
        `The sealed keys for ${member.name} name epoch ${key.epoch} twice, or beyond ${pool.epoch} of pool ${pool.id}`,
      );
    }
    epochs.add(key.epoch);
  }
  if (pool.epoch > 0 && !epochs.has(pool.epoch)) {
    throw membershipRaced(
      `Pool ${pool.id} is at epoch ${pool.epoch} now, and ${member.name} was to get an older secret`,
    );
  }
  assertApplied(pool, member.appliedEpoch);
}

/** @throws FulaError FULA_MEMBERSHIP_INVALID for an epoch that the pool has not reached */
export function assertApplied(pool: Pool, epoch: number): void {
  if (Number.isSafeInteger(epoch) && epoch >= 0 && epoch <= pool.epoch) return;
  throw membershipInvalid(`Nobody can have applied epoch ${epoch} of pool ${pool.id}, which is at ${pool.epoch}`);
}

/**
 * Checks a rekey against the pool and its members as they are now. @param endpoints of all members
 * @returns the pool as it will be, and its new sealed keys
 * @throws FulaError FULA_MEMBERSHIP_INVALID, FULA_MEMBERSHIP_RACED
 */
export function planRekey(
  pool: Pool,
  endpoints: readonly string[],
  change: Rekey,
): { readonly pool: Pool; readonly sealedKeys: readonly SealedKey[] } {
  if (!pool.encrypted) throw membershipInvalid(`Pool ${pool.id} has no secret`);
  const sealedTo = new Set(change.sealed.map(({ member }) => member));
  const leaving = new Set(change.without);
  if (
    sealedTo.size === 0 ||
    sealedTo.size !== change.sealed.length ||
    [...leaving].some((member) => sealedTo.has(member))
  ) {
    throw membershipInvalid(
      `A rekey of pool ${pool.id} must give its secret to at least one member, to each once, and to none that leaves`,
    );
  }
  const epoch = pool.epoch + 1;
  const sealedKeys = change.sealed.map(({ member, sealed }) =>
    checkRecord(sealedKeySchema, { pool: pool.id, epoch, member, sealed }, `A sealed key of pool ${pool.id}`),
  );
  if (change.expectedEpoch !== pool.epoch) {
    throw membershipRaced(`Pool ${pool.id} is at epoch ${pool.epoch} now, not ${change.expectedEpoch}`);
  }
  const staying = endpoints.filter((endpoint) => !leaving.has(endpoint));
  if (staying.length !== sealedTo.size || staying.some((endpoint) => !sealedTo.has(endpoint))) {
    throw membershipRaced(`Pool ${pool.id} has other members now than the secret was sealed to`);
  }
  return { pool: { ...pool, epoch }, sealedKeys };
}

/** True for whoever can undo what others do. */
export function isActiveAdmin(operator: Operator): boolean {
  return operator.role === "admin" && operator.status === "active";
}

/**
 * The operator as a change leaves him. @param others whether there is an active admin besides
 * @throws FulaError FULA_MEMBERSHIP_LAST_ADMIN
 */
export function changedOperator(
  operator: Operator,
  change: Partial<Pick<Operator, "role" | "status">>,
  others: boolean,
): Operator {
  const changed: Operator = {
    ...operator,
    ...(change.role === undefined ? {} : { role: change.role }),
    ...(change.status === undefined ? {} : { status: change.status }),
  };
  if (isActiveAdmin(operator) && !isActiveAdmin(changed) && !others) throw lastAdmin(operator.id);
  return changed;
}

/** A denial with its reason. @param why a sentence */
export function denied(reason: DenialReason, why: string): Authorization {
  return { allowed: false, reason, why };
}

/** Whether somebody may act as `role`, from what a store has read. @param ageMs how old that may be */
export function judge(facts: {
  readonly id: string;
  readonly operator: Operator | null;
  readonly hasAdmin: boolean;
  readonly role: OperatorRole;
  readonly ageMs: number;
}): Authorization {
  const { id, operator, hasAdmin, role, ageMs } = facts;
  if (!hasAdmin) return denied("no-operators", "The control plane has no active admin, so nobody may act.");
  if (operator === null) return denied("unknown", `The control plane has no operator ${id}.`);
  if (operator.status === "revoked") return denied("revoked", `Operator ${id} is revoked.`);
  if (role === "admin" && operator.role !== "admin") {
    return denied("role", `Operator ${id} is an ${operator.role}, and this takes an ${role}.`);
  }
  return { allowed: true, operator, ageMs };
}
