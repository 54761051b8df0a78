import type { Random } from "../../kernel/random.ts";
import type { Clock } from "../../kernel/clock.ts";
import { isFulaError } from "../../kernel/errors.ts";
import { poolIdSchema } from "../records.ts";
import type { Pool } from "../records.ts";
import { membershipNotFound, membershipRaced } from "../refusals.ts";
import type { Budget } from "./budget.ts";
import type { Bucket, Entry } from "./bucket.ts";
import { keys } from "./buckets.ts";
import type { EpochRecord, Intent, MemberRecord, PoolRecord } from "./values.ts";

/** The buckets in which a pool lies. */
export interface PoolBuckets {
  readonly pool: Bucket<"pool">;
  readonly member: Bucket<"member">;
  readonly index: Bucket<"index">;
  readonly epoch: Bucket<"epoch">;
}

/** A pool that is there, with nothing left to be written of its last change. */
export interface Settled {
  readonly pool: Pool;
  readonly change: number;
  readonly revision: number;
}

/** What a change makes of a pool, and what has to be written elsewhere because of it. */
export interface Decision {
  readonly pool: Pool;
  readonly intent: Intent;
}

/** So often somebody else may be first before we give up; each attempt starts from what is there then. */
const ATTEMPTS = 50;
const PAUSE_MS_MAX = 20;

/**
 * Pools, their members and keys lie in four buckets, and no write spans two. So a change is decided in one place, the
 * pool's own record: it is swapped, by revision, for one that says what has to be written elsewhere. From then on it has
 * happened: whoever meets such a record, its maker or the next reader, writes the rest and then crosses it off. Each
 * record carries the number of the change that wrote it, so that somebody who wakes up late undoes nothing newer.
 */
export class Pools {
  readonly #buckets: PoolBuckets;
  readonly #clock: Clock;
  readonly #random: Random;

  constructor(buckets: PoolBuckets, deps: { readonly clock: Clock; readonly random: Random }) {
    this.#buckets = buckets;
    this.#clock = deps.clock;
    this.#random = deps.random;
  }

  /** A pool with its last change written to the end; null where there is none. */
  async find(budget: Budget, id: string): Promise<Settled | null> {
    if (!poolIdSchema.safeParse(id).success) return null;
    return await this.repeat(budget, id, async () => {
      const entry = await this.#buckets.pool.get(budget, keys.pool(id));
      return await this.settle(budget, entry);
    });
  }

  /** @throws FulaError FULA_MEMBERSHIP_NOT_FOUND */
  async get(budget: Budget, id: string): Promise<Settled> {
    const found = await this.find(budget, id);
    if (found === null) throw membershipNotFound("pool", id);
    return found;
  }

  /**
   * Writes what is left to be written of a pool's last change.
   * @returns the pool, null where it is not there (any more); undefined where somebody else changed it meanwhile
   */
  async settle(budget: Budget, entry: Entry<PoolRecord>): Promise<Settled | null | undefined> {
    if (entry.value === null) return null;
    const { pool, change, pending } = entry.value;
    if (pending === null) return { pool, change, revision: entry.revision };
    await this.#apply(budget, pool, change, pending);
    if (pending.kind === "delete") {
      const deleted = await this.#buckets.pool.delete(budget, entry.key, change, entry.revision);
      return deleted === null ? undefined : null;
    }
    const settled: PoolRecord = { pool, change, pending: null };
    const revision = await this.#buckets.pool.put(budget, entry.key, settled, entry.revision);
    return revision === null ? undefined : { pool, change, revision };
  }

  /**
   * Makes a pool that is not there. @returns false where it is there
   */
  async create(budget: Budget, pool: Pool): Promise<boolean> {
    return await this.repeat(budget, pool.id, async () => {
      const entry = await this.#buckets.pool.get(budget, keys.pool(pool.id));
      const settled = await this.settle(budget, entry);
      if (settled === undefined) return undefined;
      if (settled !== null) return false;
      // A pool that was here before may have somebody who is still busy with its end.
      const gone = entry.value === null ? entry : await this.#buckets.pool.get(budget, keys.pool(pool.id));
      if (gone.value !== null) return undefined;
      const record: PoolRecord = { pool, change: gone.deletedBy + 1, pending: null };
      const revision = await this.#buckets.pool.put(budget, entry.key, record, gone.revision);
      return revision === null ? undefined : true;
    });
  }

  /**
   * Changes a pool. @param decide what to do about the pool as it is; asked again where somebody else was first
   * @param prepare what has to be there before it is decided; what it leaves behind without a decision must be harmless
   * @returns the pool as it is then
   */
  async change(
    budget: Budget,
    id: string,
    decide: (now: Settled) => Promise<Decision>,
    prepare: (now: Settled) => Promise<void> = async () => {},
  ): Promise<Pool> {
    return await this.repeat(budget, id, async () => {
      const now = await this.get(budget, id);
      const { pool, intent } = await decide(now);
      await prepare(now);
      const record: PoolRecord = { pool, change: now.change + 1, pending: intent };
      const revision = await this.#buckets.pool.put(budget, keys.pool(id), record, now.revision);
      if (revision === null) return undefined;
      await this.settle(budget, { key: keys.pool(id), revision, value: record, deletedBy: 0 });
      return pool;
    });
  }

  /** Reads something of a pool that nobody changes meanwhile. */
  async read<T>(budget: Budget, id: string, use: (pool: Pool) => Promise<T>): Promise<T> {
    return await this.repeat(budget, id, async () => {
      const before = await this.get(budget, id);
      const answer = await use(before.pool);
      const after = await this.#buckets.pool.get(budget, keys.pool(id));
      return after.value?.change === before.change ? { answer } : undefined;
    }).then(({ answer }) => answer);
  }

  /** Announces a membership, before it is decided: an entry that leads nowhere can be told, a missing one cannot. */
  async announce(budget: Budget, pool: string, endpoint: string, change: number): Promise<void> {
    await this.#write(this.#buckets.index, budget, keys.index(endpoint, pool), change, () => ({
      change,
      endpoint,
      pool,
    }));
  }

  /** Takes back what announces a membership that never came to be; whoever deletes the pool does so, too. */
  async retract(budget: Budget, pool: string, endpoint: string): Promise<void> {
    const retracting = this.change(budget, pool, async (now) => {
      const { value } = await this.#buckets.member.get(budget, keys.member(pool, endpoint));
      // Who became a member meanwhile stays one; the change then says so once more.
      const intent: Intent =
        value === null ? { kind: "remove", endpoint } : { kind: "add", member: value.member, sealed: [] };
      return { pool: now.pool, intent };
    });
    await retracting.catch((error: unknown) => {
      if (!isFulaError(error, "FULA_MEMBERSHIP_NOT_FOUND")) throw error;
    });
  }

  async #apply(budget: Budget, pool: Pool, change: number, intent: Intent): Promise<void> {
    const { member, index, epoch } = this.#buckets;
    const patience = (): Budget => budget;
    if (intent.kind === "add") {
      const { endpoint } = intent.member;
      await this.announce(budget, pool.id, endpoint, change);
      await this.#seal(budget, pool.id, change, intent.sealed);
      await this.#write(member, budget, keys.member(pool.id, endpoint), change, (now) =>
        memberAfter(now, change, intent),
      );
    } else if (intent.kind === "rekey") {
      await this.#seal(budget, pool.id, change, intent.sealed);
    } else if (intent.kind === "remove") {
      const { endpoint } = intent;
      for (const entry of await epoch.list(patience, keys.epochsOf(pool.id))) {
        if (entry.value?.sealed[endpoint] === undefined) continue;
        await this.#write(epoch, budget, entry.key, change, (now) => without(now, endpoint, change));
      }
      await this.#write(member, budget, keys.member(pool.id, endpoint), change, () => null);
      await this.#write(index, budget, keys.index(endpoint, pool.id), change, () => null);
    } else {
      await this.#deleteAll(epoch, budget, keys.epochsOf(pool.id), change);
      await this.#deleteAll(member, budget, keys.membersOf(pool.id), change);
      await this.#deleteAll(index, budget, keys.indexOfPool(pool.id), change);
    }
  }

  async #seal(
    budget: Budget,
    pool: string,
    change: number,
    sealed: readonly { readonly epoch: number; readonly member: string; readonly sealed: string }[],
  ): Promise<void> {
    const byEpoch = Map.groupBy(sealed, ({ epoch }) => epoch);
    for (const [epoch, ofEpoch] of byEpoch) {
      const added = Object.fromEntries(ofEpoch.map((key) => [key.member, key.sealed]));
      await this.#write(this.#buckets.epoch, budget, keys.epoch(pool, epoch), change, (now) => ({
        change,
        pool,
        epoch,
        sealed: { ...now?.sealed, ...added },
      }));
    }
  }

  async #deleteAll<T extends { readonly change: number }>(
    bucket: WritableBucket<T>,
    budget: Budget,
    pattern: string,
    change: number,
  ): Promise<void> {
    const entries = await bucket.list(() => budget, pattern);
    const there = entries.filter(({ value }) => value !== null);
    await Promise.all(there.map(async ({ key }) => await this.#write(bucket, budget, key, change, () => null)));
  }

  /** Brings one record to a change, unless that or a later one has been there already. */
  async #write<T extends { readonly change: number }>(
    bucket: WritableBucket<T>,
    budget: Budget,
    key: string,
    change: number,
    next: (now: T | null) => T | null,
  ): Promise<void> {
    await this.repeat(budget, key, async () => {
      const { value, revision, deletedBy } = await bucket.get(budget, key);
      const reached = value === null ? deletedBy : value.change;
      const record = next(value);
      // What carries the number of a deletion was announced for the same change by somebody who lost the race for it.
      if (record === null ? value === null || reached > change : reached >= change) return true;
      const written =
        record === null
          ? await bucket.delete(budget, key, change, revision)
          : await bucket.put(budget, key, record, revision);
      return written === null ? undefined : true;
    });
  }

  /** Tries again while somebody else is first. @param attempt gives undefined for that @throws FulaError FULA_MEMBERSHIP_RACED */
  async repeat<T>(budget: Budget, what: string, attempt: () => Promise<T | undefined>): Promise<T> {
    for (let tried = 0; tried < ATTEMPTS; tried += 1) {
      const outcome = await attempt();
      if (outcome !== undefined) return outcome;
      await budget.wait("come to rest", async () => {
        await this.#clock.sleep(this.#random.int(PAUSE_MS_MAX * Math.min(tried + 1, 5)));
      });
    }
    throw membershipRaced(`Others change ${what} all the time`);
  }
}

interface WritableBucket<T> {
  get(budget: Budget, key: string): Promise<Entry<T>>;
  put(budget: Budget, key: string, value: T, revision: number): Promise<number | null>;
  delete(budget: Budget, key: string, change: number, revision: number): Promise<number | null>;
  list(patience: () => Budget, pattern: string): Promise<readonly Entry<T>[]>;
}

/** A member as a change adds it; who is one already may have put a newer epoch to use since the change was decided. */
function memberAfter(now: MemberRecord | null, change: number, { member }: Intent & { kind: "add" }): MemberRecord {
  const appliedEpoch = Math.max(member.appliedEpoch, now?.member.appliedEpoch ?? 0);
  return { change, member: { ...member, appliedEpoch } };
}

function without(now: EpochRecord | null, endpoint: string, change: number): EpochRecord | null {
  if (now === null) return null;
  const { [endpoint]: _gone, ...sealed } = now.sealed;
  return Object.keys(sealed).length === 0 ? null : { ...now, change, sealed };
}
