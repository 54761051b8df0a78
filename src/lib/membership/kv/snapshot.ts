import { FulaError } from "../../kernel/errors.ts";
import type { MembershipSnapshot, Pool, SealedKey } from "../records.ts";
import { membershipRaced } from "../refusals.ts";
import { assertUnchanged, checkSnapshot, countRecords, orderSnapshot } from "../snapshot.ts";
import type { ImportOptions } from "../store.ts";
import type { Budget } from "./budget.ts";
import type { Bucket, Entry } from "./bucket.ts";
import { keys } from "./buckets.ts";
import type { PoolBuckets, Pools } from "./pools.ts";
import {
  encodeValue,
  type EpochRecord,
  type IndexRecord,
  type MemberRecord,
  type OperatorsRecord,
  type PoolRecord,
} from "./values.ts";

/** The buckets that a snapshot is made of: what is known of the ledger's servers is true of now alone, and is never brought back. */
export interface AllBuckets extends PoolBuckets {
  readonly operators: Bucket<"operators">;
}

/** So often a reading is begun anew because something was written meanwhile. */
const PASSES = 5;
/** Pools that are written at the same time. */
const POOLS_AT_ONCE = 16;

/** The sealed keys of one epoch, one by one, by member. */
export function sealedKeysOf({ pool, epoch, sealed }: EpochRecord): readonly SealedKey[] {
  return Object.keys(sealed)
    .toSorted()
    .map((member) => ({ pool, epoch, member, sealed: sealed[member] ?? "" }));
}

/**
 * Reads everything as of one moment: again and again, until nothing was written while it was read.
 * @throws FulaError FULA_MEMBERSHIP_RACED where something is written all the time
 */
export async function exportBuckets(
  buckets: AllBuckets,
  pools: Pools,
  patience: () => Budget,
): Promise<MembershipSnapshot> {
  for (let pass = 0; pass < PASSES; pass += 1) {
    const before = await lastSequences(buckets, patience());
    const poolEntries = await buckets.pool.list(patience, keys.all);
    const unfinished = poolEntries.filter(({ value }) => value !== null && value.pending !== null);
    if (unfinished.length > 0) {
      for (const entry of unfinished) await pools.settle(patience(), entry);
      continue;
    }
    const members = await buckets.member.list(patience, keys.all);
    const epochs = await buckets.epoch.list(patience, keys.all);
    const operators = await buckets.operators.get(patience(), keys.operators);
    if ((await lastSequences(buckets, patience())) !== before) continue;
    return snapshotOf(poolEntries, members, epochs, operators);
  }
  throw membershipRaced("The control plane was written to all the time while it was read");
}

function snapshotOf(
  pools: readonly Entry<PoolRecord>[],
  members: readonly Entry<MemberRecord>[],
  epochs: readonly Entry<EpochRecord>[],
  operators: Entry<OperatorsRecord>,
): MembershipSnapshot {
  return orderSnapshot({
    format: 1,
    pools: valuesOf(pools).map(({ pool }) => pool),
    members: valuesOf(members).map(({ member }) => member),
    sealedKeys: valuesOf(epochs).flatMap(sealedKeysOf),
    operators: operators.value?.operators ?? [],
  });
}

function valuesOf<T>(entries: readonly Entry<T>[]): readonly T[] {
  return entries.flatMap(({ value }) => (value === null ? [] : [value]));
}

/** The operators are one record, and the stamp beside it is written all the time: they are left out. */
async function lastSequences({ pool, member, epoch }: AllBuckets, budget: Budget): Promise<string> {
  const sequences = await Promise.all([pool, member, epoch].map(async (bucket) => await bucket.lastSequence(budget)));
  return sequences.join(" ");
}

interface Existing<T> {
  readonly byPool: ReadonlyMap<string, readonly Entry<T>[]>;
}

interface Here {
  /** What all of it comes to. */
  readonly snapshot: MembershipSnapshot;
  readonly operators: Entry<OperatorsRecord>;
  readonly pools: ReadonlyMap<string, Entry<PoolRecord>>;
  readonly members: Existing<MemberRecord>;
  readonly index: Existing<IndexRecord>;
  readonly epochs: Existing<EpochRecord>;
}

/** Gives a record the number of the change that writes it. */
type MakeRecord<T> = (change: number) => T;

/** What a pool shall be, by key. */
interface Wanted {
  readonly pool: Pool;
  /** How many of them the snapshot has. */
  readonly sealedKeys: number;
  readonly members: ReadonlyMap<string, MakeRecord<MemberRecord>>;
  readonly index: ReadonlyMap<string, MakeRecord<IndexRecord>>;
  readonly epochs: ReadonlyMap<string, MakeRecord<EpochRecord>>;
}

/**
 * Writes a snapshot over what is there. A pool that is as it shall be is not touched, so a second run writes nothing; one
 * that was interrupted does the rest.
 * @throws FulaError FULA_MEMBERSHIP_INVALID, FULA_MEMBERSHIP_RACED where somebody else changes the same pool
 */
export async function importBuckets(
  buckets: AllBuckets,
  pools: Pools,
  snapshot: MembershipSnapshot,
  patience: () => Budget,
  { over, onProgress = () => {} }: ImportOptions,
): Promise<void> {
  const checked = checkSnapshot(snapshot);
  const total = countRecords(checked);
  const here = await readHere(buckets, pools, patience);
  if (over !== undefined) assertUnchanged(orderSnapshot(over), here.snapshot);
  const wanted = wantedPools(checked);
  const leaving = [...here.pools.values()].filter(({ key, value }) => value !== null && !wanted.has(key));
  for (const { key, value } of leaving) {
    await pools.change(patience(), key, async ({ pool, change }) => {
      if (change !== value?.change) throw interrupted(`pool ${key}`);
      return { pool, intent: { kind: "delete" } };
    });
  }
  let done = 0;
  const queue = [...wanted.values()];
  const work = async (): Promise<void> => {
    for (let next = queue.pop(); next !== undefined; next = queue.pop()) {
      await importPool(buckets, here, next, patience);
      done += 1 + next.members.size + next.sealedKeys;
      onProgress(done, total);
    }
  };
  const working = Array.from({ length: POOLS_AT_ONCE }, work);
  try {
    await Promise.all(working);
  } finally {
    // Nobody writes on behind the back of who was told that it failed.
    queue.length = 0;
    await Promise.allSettled(working);
  }
  await importOperators(buckets.operators, here.operators, checked, patience);
  onProgress(total, total);
}

async function readHere(buckets: AllBuckets, pools: Pools, patience: () => Budget): Promise<Here> {
  let pool = await buckets.pool.list(patience, keys.all);
  const unfinished = pool.filter(({ value }) => value !== null && value.pending !== null);
  for (const entry of unfinished) await pools.settle(patience(), entry);
  if (unfinished.length > 0) pool = await buckets.pool.list(patience, keys.all);
  const [member, index, epoch] = [
    await buckets.member.list(patience, keys.all),
    await buckets.index.list(patience, keys.all),
    await buckets.epoch.list(patience, keys.all),
  ];
  const operators = await buckets.operators.get(patience(), keys.operators);
  return {
    snapshot: snapshotOf(pool, member, epoch, operators),
    operators,
    pools: new Map(pool.map((entry) => [entry.key, entry])),
    members: { byPool: Map.groupBy(member, ({ key }) => key.split(".")[0] ?? "") },
    index: { byPool: Map.groupBy(index, ({ key }) => key.split(".")[1] ?? "") },
    epochs: { byPool: Map.groupBy(epoch, ({ key }) => key.split(".")[0] ?? "") },
  };
}

function wantedPools(snapshot: MembershipSnapshot): ReadonlyMap<string, Wanted> {
  const members = Map.groupBy(snapshot.members, ({ pool }) => pool);
  const sealedKeys = Map.groupBy(snapshot.sealedKeys, ({ pool }) => pool);
  return new Map(
    snapshot.pools.map((pool) => {
      const { id } = pool;
      const own = members.get(id) ?? [];
      const byEpoch = Map.groupBy(sealedKeys.get(id) ?? [], ({ epoch }) => epoch);
      const wanted: Wanted = {
        pool,
        sealedKeys: sealedKeys.get(id)?.length ?? 0,
        members: new Map(own.map((member) => [keys.member(id, member.endpoint), (change) => ({ change, member })])),
        index: new Map(
          own.map(({ endpoint }) => [keys.index(endpoint, id), (change) => ({ change, endpoint, pool: id })]),
        ),
        epochs: new Map(
          [...byEpoch].map(([epoch, ofEpoch]) => {
            const sealed = Object.fromEntries(ofEpoch.map((key) => [key.member, key.sealed]));
            return [keys.epoch(id, epoch), (change) => ({ change, pool: id, epoch, sealed })];
          }),
        ),
      };
      return [id, wanted];
    }),
  );
}

/** Brings one pool to what it shall be: its own record first, so that whoever changes it at the same time is found out. */
async function importPool(buckets: AllBuckets, here: Here, wanted: Wanted, patience: () => Budget): Promise<void> {
  const { id } = wanted.pool;
  const entry = here.pools.get(id);
  const parts = [
    plan(buckets.member, here.members.byPool.get(id), wanted.members),
    plan(buckets.index, here.index.byPool.get(id), wanted.index),
    plan(buckets.epoch, here.epochs.byPool.get(id), wanted.epochs),
  ];
  const isSame = entry?.value != null && encodeValue(entry.value.pool) === encodeValue(wanted.pool);
  if (isSame && parts.every(({ isEmpty }) => isEmpty)) return;
  const reached = Math.max(entry?.value?.change ?? entry?.deletedBy ?? 0, ...parts.map(({ newest }) => newest));
  const change = reached + 1;
  const record: PoolRecord = { pool: wanted.pool, change, pending: null };
  const revision = await buckets.pool.put(patience(), keys.pool(id), record, entry?.revision ?? 0);
  if (revision === null) throw interrupted(`pool ${id}`);
  await Promise.all(parts.map(async ({ write }) => await write(change, patience, id)));
}

interface Part {
  readonly isEmpty: boolean;
  /** The highest number of a change that any record of it has. */
  readonly newest: number;
  readonly write: (change: number, patience: () => Budget, pool: string) => Promise<void>;
}

interface Target<T> {
  put(budget: Budget, key: string, value: T, revision: number): Promise<number | null>;
  delete(budget: Budget, key: string, change: number, revision: number): Promise<number | null>;
}

/** What has to be written into one bucket. */
function plan<T extends { readonly change: number }>(
  bucket: Target<T>,
  existing: readonly Entry<T>[] = [],
  wanted: ReadonlyMap<string, MakeRecord<T>>,
): Part {
  const known = new Map(existing.map((entry) => [entry.key, entry]));
  const puts = [...wanted].filter(([key, make]) => {
    const now = known.get(key)?.value ?? null;
    return now === null || encodeValue(now) !== encodeValue(make(now.change));
  });
  const deletions = existing.filter(({ key, value }) => value !== null && !wanted.has(key));
  return {
    isEmpty: puts.length === 0 && deletions.length === 0,
    newest: Math.max(0, ...existing.map(({ value, deletedBy }) => value?.change ?? deletedBy)),
    write: async (change, patience, pool) => {
      const outcomes = await Promise.all([
        ...puts.map(async ([key, make]) => {
          return await bucket.put(patience(), key, make(change), known.get(key)?.revision ?? 0);
        }),
        ...deletions.map(async ({ key, revision }) => await bucket.delete(patience(), key, change, revision)),
      ]);
      if (outcomes.includes(null)) throw interrupted(`pool ${pool}`);
    },
  };
}

async function importOperators(
  bucket: Bucket<"operators">,
  { value, revision }: Entry<OperatorsRecord>,
  { operators }: MembershipSnapshot,
  patience: () => Budget,
): Promise<void> {
  const wanted = operators.toSorted((a, b) => (a.id < b.id ? -1 : 1));
  if (encodeValue({ operators: value?.operators ?? [] }) === encodeValue({ operators: wanted })) return;
  if ((await bucket.put(patience(), keys.operators, { operators: wanted }, revision)) === null) {
    throw interrupted("the operators");
  }
}

function interrupted(what: string): FulaError {
  return new FulaError(
    "FULA_MEMBERSHIP_RACED",
    `Somebody else changed ${what} while the snapshot was being written. Part of it is written.`,
    { hint: "run the command again: it writes what is missing." },
  );
}
