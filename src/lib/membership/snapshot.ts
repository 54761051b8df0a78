import type { Member, MembershipSnapshot, SealedKey } from "./records.ts";
import { snapshotSchema } from "./records.ts";
import { checkRecord } from "./record-checks.ts";
import { membershipInvalid, membershipRaced } from "./refusals.ts";

type Key = readonly (string | number)[];

function compareKeys(left: Key, right: Key): number {
  for (const [index, part] of left.entries()) {
    const other = right[index];
    if (other === undefined) return 1;
    if (part !== other) return part < other ? -1 : 1;
  }
  return left.length - right.length;
}

const byId = ({ id }: { readonly id: string }): Key => [id];
const byPoolAndEndpoint = ({ pool, endpoint }: Member): Key => [pool, endpoint];
const byPoolEpochAndMember = ({ pool, epoch, member }: SealedKey): Key => [pool, epoch, member];

function inOrder<T>(records: readonly T[], keyOf: (record: T) => Key): readonly T[] {
  return records.toSorted((left, right) => compareKeys(keyOf(left), keyOf(right)));
}

/** The same records, each list in the order of its keys. */
export function orderSnapshot(snapshot: MembershipSnapshot): MembershipSnapshot {
  return {
    format: 1,
    pools: inOrder(snapshot.pools, byId),
    members: inOrder(snapshot.members, byPoolAndEndpoint),
    sealedKeys: inOrder(snapshot.sealedKeys, byPoolEpochAndMember),
    operators: inOrder(snapshot.operators, byId),
  };
}

/** True for records with the same fields, in whatever order they stand. */
export function isSameRecord(left: object, right: object): boolean {
  return textOf(left) === textOf(right);
}

function textOf(record: object): string {
  return JSON.stringify(Object.entries(record).toSorted(([left], [right]) => (left < right ? -1 : 1)));
}

function areSame(left: readonly object[], right: readonly object[]): boolean {
  return left.length === right.length && left.every((record, at) => isSameRecord(record, right[at] ?? {}));
}

/**
 * Checks that a state is still the one that somebody has seen. Both are in order.
 * @throws FulaError FULA_MEMBERSHIP_RACED
 */
export function assertUnchanged(seen: MembershipSnapshot, present: MembershipSnapshot): void {
  const isUnchanged =
    areSame(seen.pools, present.pools) &&
    areSame(seen.members, present.members) &&
    areSame(seen.sealedKeys, present.sealedKeys) &&
    areSame(seen.operators, present.operators);
  if (!isUnchanged) throw membershipRaced("Somebody else has changed the control plane since it was looked at");
}

/** How many records a snapshot has. */
export function countRecords({ pools, members, sealedKeys, operators }: MembershipSnapshot): number {
  return pools.length + members.length + sealedKeys.length + operators.length;
}

function assertUnique<T>(records: readonly T[], keyOf: (record: T) => Key, what: string): void {
  const seen = new Set<string>();
  for (const record of records) {
    const key = keyOf(record).join(" ");
    if (seen.has(key)) throw membershipInvalid(`The snapshot has the ${what} ${key} twice`);
    seen.add(key);
  }
}

/**
 * Checks that a value is a whole snapshot: every record well-formed and there once, members of pools that are there,
 * keys of members that are there and of epochs that their pool has had.
 * @throws FulaError FULA_MEMBERSHIP_INVALID
 */
export function checkSnapshot(value: unknown): MembershipSnapshot {
  const snapshot = checkRecord(snapshotSchema, value, "The snapshot");
  assertUnique(snapshot.pools, byId, "pool");
  assertUnique(snapshot.members, byPoolAndEndpoint, "member");
  assertUnique(snapshot.sealedKeys, byPoolEpochAndMember, "sealed key");
  assertUnique(snapshot.operators, byId, "operator");
  const epochs = new Map(snapshot.pools.map(({ id, epoch }) => [id, epoch]));
  const members = new Set<string>();
  for (const { pool, endpoint, appliedEpoch } of snapshot.members) {
    const epoch = epochs.get(pool);
    if (epoch === undefined) throw membershipInvalid(`The snapshot has a member of pool ${pool}, but not the pool`);
    if (appliedEpoch > epoch) {
      throw membershipInvalid(`The snapshot has ${endpoint} apply epoch ${appliedEpoch} of pool ${pool} at ${epoch}`);
    }
    members.add(`${pool} ${endpoint}`);
  }
  for (const { pool, member, epoch } of snapshot.sealedKeys) {
    if (!members.has(`${pool} ${member}`) || epoch > (epochs.get(pool) ?? 0)) {
      throw membershipInvalid(
        `The snapshot has a key of epoch ${epoch} for ${member}, whom pool ${pool} does not have`,
      );
    }
  }
  return snapshot;
}
