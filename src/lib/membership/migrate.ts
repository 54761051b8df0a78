import { FulaError } from "../kernel/errors.ts";
import type { Member, MembershipSnapshot, Operator, Pool, SealedKey } from "./records.ts";
import { lastAdmin } from "./refusals.ts";
import { isActiveAdmin } from "./rules.ts";
import { isSameRecord } from "./snapshot.ts";
import type { ImportOptions, MembershipStore } from "./store.ts";

/** How many records there are of each kind. */
export interface RecordCounts {
  readonly pools: number;
  readonly members: number;
  readonly sealedKeys: number;
  readonly operators: number;
}

/** What two snapshots differ in, as sentences for people, and how many there are in all. */
export interface Differences {
  readonly count: number;
  /** The first ones, in the order of kinds and keys. */
  readonly first: readonly string[];
}

/** So many differences are told one by one. */
const TOLD_MAX = 20;

/** Counts the records of a snapshot. */
export function countRecords({ pools, members, sealedKeys, operators }: MembershipSnapshot): RecordCounts {
  return {
    pools: pools.length,
    members: members.length,
    sealedKeys: sealedKeys.length,
    operators: operators.length,
  };
}

/** One kind of records: where they are, what tells one from another, and what people call it. */
interface Kind<T> {
  readonly list: (snapshot: MembershipSnapshot) => readonly T[];
  readonly name: (record: T) => string;
  /** True where writing the one over the other takes nothing back that was decided meanwhile. */
  readonly isSuccessor: (present: T, next: T) => boolean;
}

const POOLS: Kind<Pool> = {
  list: ({ pools }) => pools,
  name: ({ id }) => `pool ${id}`,
  isSuccessor: (present, next) =>
    isSameRecord({ ...present, epoch: 0 }, { ...next, epoch: 0 }) && present.epoch <= next.epoch,
};
const MEMBERS: Kind<Member> = {
  list: ({ members }) => members,
  name: ({ pool, endpoint }) => `member ${endpoint} of ${pool}`,
  isSuccessor: (present, next) =>
    isSameRecord({ ...present, appliedEpoch: 0 }, { ...next, appliedEpoch: 0 }) &&
    present.appliedEpoch <= next.appliedEpoch,
};
const SEALED_KEYS: Kind<SealedKey> = {
  list: ({ sealedKeys }) => sealedKeys,
  name: ({ pool, epoch, member }) => `sealed key of ${pool}, epoch ${epoch}, for ${member}`,
  isSuccessor: isSameRecord,
};
const OPERATORS: Kind<Operator> = {
  list: ({ operators }) => operators,
  name: ({ id }) => `operator ${id}`,
  isSuccessor: (present, next) =>
    isSameRecord({ ...present, status: next.status }, next) &&
    (present.status === next.status || next.status === "revoked"),
};

function changesBetween(wanted: object, found: object): string {
  const other: Readonly<Record<string, unknown>> = { ...found };
  return Object.entries(wanted)
    .filter(([field, value]) => other[field] !== value)
    .map(([field, value]) => `${field} is ${JSON.stringify(other[field])}, not ${JSON.stringify(value)}`)
    .join(", ");
}

function byName<T>(kind: Kind<T>, snapshot: MembershipSnapshot): ReadonlyMap<string, T> {
  return new Map(kind.list(snapshot).map((record) => [kind.name(record), record]));
}

function differencesOf<T extends object>(
  kind: Kind<T>,
  wanted: MembershipSnapshot,
  found: MembershipSnapshot,
): readonly string[] {
  const there = byName(kind, found);
  const here = byName(kind, wanted);
  const missing = [...here].flatMap(([name, record]) => {
    const other = there.get(name);
    if (other === undefined) return [`${name} is missing`];
    return isSameRecord(record, other) ? [] : [`${name} differs: ${changesBetween(record, other)}`];
  });
  const surplus = [...there].filter(([name]) => !here.has(name)).map(([name]) => `${name} is there beside`);
  return [...missing, ...surplus];
}

function lossesOf<T extends object>(
  kind: Kind<T>,
  present: MembershipSnapshot,
  next: MembershipSnapshot,
): readonly string[] {
  const coming = byName(kind, next);
  return [...byName(kind, present)].flatMap(([name, record]) => {
    const successor = coming.get(name);
    if (successor === undefined) return [`${name} would be taken away`];
    return kind.isSuccessor(record, successor)
      ? []
      : [`${name} would be set back: ${changesBetween(successor, record)}`];
  });
}

function summary(sentences: readonly string[]): Differences {
  return { count: sentences.length, first: sentences.slice(0, TOLD_MAX) };
}

/** What the one snapshot has that the other has not, in both directions; equal ones differ in nothing. */
export function compareSnapshots(wanted: MembershipSnapshot, found: MembershipSnapshot): Differences {
  return summary([
    ...differencesOf(POOLS, wanted, found),
    ...differencesOf(MEMBERS, wanted, found),
    ...differencesOf(SEALED_KEYS, wanted, found),
    ...differencesOf(OPERATORS, wanted, found),
  ]);
}

/**
 * What writing `next` over `present` would take away or set back: nothing where `present` is empty, an earlier state of
 * the same control plane, or what an interrupted run has left of it.
 */
export function lossesByImport(present: MembershipSnapshot, next: MembershipSnapshot): Differences {
  return summary([
    ...lossesOf(POOLS, present, next),
    ...lossesOf(MEMBERS, present, next),
    ...lossesOf(SEALED_KEYS, present, next),
    ...lossesOf(OPERATORS, present, next),
  ]);
}

/** What there is to say where many sentences are left out. */
export function toldDifferences({ count, first }: Differences): string {
  const rest = count - first.length;
  return [...first, ...(rest > 0 ? [`and ${rest} more`] : [])].join("; ");
}

/**
 * Writes a whole state over what a store has, then reads it back and compares. Killed at any record, it can be run again.
 * @param options `overwrite` false refuses where something would be taken away or set back; `over` is the state that
 *   whoever decided so has seen, the present one where it is left out
 * @returns what was taken away or set back: nothing without `overwrite`
 * @throws FulaError FULA_MEMBERSHIP_OTHER_STATE where it would overwrite and may not, FULA_MEMBERSHIP_LAST_ADMIN where nobody
 *   could act afterwards, FULA_MEMBERSHIP_RACED where the store was changed meanwhile, FULA_MEMBERSHIP_DIFFERS where what
 *   was written is not what is read, and what the store throws
 */
export async function writeWholeState(
  snapshot: MembershipSnapshot,
  store: MembershipStore,
  { overwrite, onProgress, over }: ImportOptions & { readonly overwrite: boolean },
): Promise<Differences> {
  const present = over ?? (await store.exportSnapshot());
  const losses = lossesByImport(present, snapshot);
  if (losses.count > 0 && !overwrite) throw otherState(losses);
  const admin = present.operators.find(isActiveAdmin);
  if (admin !== undefined && !snapshot.operators.some(isActiveAdmin)) throw lastAdmin(admin.id);
  await store.importSnapshot(snapshot, { over: present, ...(onProgress && { onProgress }) });
  const differences = compareSnapshots(snapshot, await store.exportSnapshot());
  if (differences.count > 0) throw differs(differences);
  return losses;
}

/** The refusal to write over a state that is not an earlier one of what comes. */
export function otherState(losses: Differences): FulaError {
  return new FulaError(
    "FULA_MEMBERSHIP_OTHER_STATE",
    `The store has a state that is no earlier one of what would be written: ${toldDifferences(losses)}.`,
    {
      hint: "look whether it belongs to another federation, or has been changed since; --overwrite writes over it all the same.",
      details: { losses: losses.count, first: losses.first },
    },
  );
}

function differs(differences: Differences): FulaError {
  return new FulaError(
    "FULA_MEMBERSHIP_DIFFERS",
    `What was written is not what is read: ${toldDifferences(differences)}.`,
    {
      hint: "see that nobody else writes to the store, then run the command again.",
      details: { differences: differences.count, first: differences.first },
    },
  );
}
