import type { Clock } from "../kernel/clock.ts";
import { FulaError, isFulaError } from "../kernel/errors.ts";
import type { Random } from "../kernel/random.ts";
import { retry } from "../kernel/retry.ts";
import type { Secret } from "../kernel/secret.ts";
import type { Member, MemberRole, Pool } from "./records.ts";
import { membershipExists } from "./refusals.ts";
import type { BoxKey } from "./sealed/box-key.ts";
import { openSealed, sealSecret } from "./sealed/sealed-box.ts";
import type { MembershipStore } from "./store.ts";

/** What the functions below act on. */
export interface PoolSecretsDeps {
  readonly store: MembershipStore;
  readonly clock: Clock;
  readonly random: Random;
  readonly signal?: AbortSignal;
}

/** A box as it is admitted to a pool. */
export interface Candidate {
  readonly endpoint: string;
  /** Its `node.name`. */
  readonly name: string;
}

/** A pool's secret of one epoch. */
export interface PoolSecret {
  readonly epoch: number;
  readonly secret: Secret;
}

/** Makes the secret of the pool's next epoch. It may be asked again where somebody else changed the pool meanwhile. */
export type NextSecret = (pool: Pool) => Promise<Secret>;

/**
 * A change that somebody else was quicker with is tried again, each pause up to half as long again by chance, about 2 s
 * in all: eight who rekey the same pool at once all come through.
 */
const RACE_DELAYS_MS: readonly number[] = [5, 10, 20, 40, 80, 160, 320, 320, 320];

async function whileRaced<T>(deps: PoolSecretsDeps, operation: () => Promise<T>): Promise<T> {
  const { clock, random, signal } = deps;
  return await retry(operation, {
    delaysMs: RACE_DELAYS_MS.map((delayMs) => delayMs + random.int(Math.ceil(delayMs / 2))),
    clock,
    shouldRetry: (error) => isFulaError(error, "FULA_MEMBERSHIP_RACED"),
    ...(signal === undefined ? {} : { signal }),
  });
}

/** The record, or null where there is none. */
async function found<T>(looking: Promise<T>): Promise<T | null> {
  try {
    return await looking;
  } catch (error) {
    if (isFulaError(error, "FULA_MEMBERSHIP_NOT_FOUND")) return null;
    throw error;
  }
}

function recordTime(clock: Clock): string {
  return new Date(clock.nowMs()).toISOString();
}

/**
 * Makes a pool with a secret, and its owner the first member. Killed anywhere, it can be run again by the same owner: a
 * secret that the pool has by then stays, so that what counts is what `openSecret` gives.
 * @returns the pool, at epoch 1 or later
 * @throws FulaError FULA_MEMBERSHIP_EXISTS where another owner has made it
 */
export async function createEncryptedPool(
  deps: PoolSecretsDeps,
  request: { readonly id: string; readonly name: string; readonly owner: Candidate; readonly secret: Secret },
): Promise<Pool> {
  const { store, clock } = deps;
  const { id, name, owner, secret } = request;
  return await whileRaced(deps, async () => {
    const existing = await found(store.getPool(id));
    if (existing === null) {
      const pool = { id, name, encrypted: true, owner: owner.endpoint, epoch: 0, createdAt: recordTime(clock) };
      await unlessThere(store.createPool(pool));
    }
    const pool = existing ?? (await store.getPool(id));
    if (pool.owner !== owner.endpoint || !pool.encrypted) throw membershipExists("pool", id);
    if (pool.epoch > 0) return pool;
    if ((await found(store.getMember(id, owner.endpoint))) === null) {
      await unlessThere(store.addMember(memberOf(deps, id, owner, "owner"), []));
    }
    return await store.rekey({ pool: id, expectedEpoch: 0, sealed: await sealToAll(deps, id, 1, secret, []) });
  });
}

/** What two runs do at once counts as done by whoever was first. */
async function unlessThere(making: Promise<void>): Promise<void> {
  try {
    await making;
  } catch (error) {
    if (!isFulaError(error, "FULA_MEMBERSHIP_EXISTS")) throw error;
  }
}

function memberOf({ clock }: PoolSecretsDeps, pool: string, { endpoint, name }: Candidate, role: MemberRole): Member {
  return { pool, endpoint, name, role, joinedAt: recordTime(clock), appliedEpoch: 0 };
}

async function sealToAll(
  { store }: PoolSecretsDeps,
  pool: string,
  epoch: number,
  secret: Secret,
  without: readonly string[],
): Promise<readonly { readonly member: string; readonly sealed: string }[]> {
  const staying = (await store.listMembers(pool)).filter(({ endpoint }) => !without.includes(endpoint));
  return await Promise.all(staying.map(({ endpoint }) => sealSecret({ pool, epoch, member: endpoint }, secret)));
}

/**
 * Admits a box to a pool and seals the secrets to it. One that belongs already stays; one that a rekey has left out since
 * is admitted anew. Killed anywhere, it can be run again.
 * @param secretsFor the secrets of the pool that the admitter has, by epoch; the present one must be among them. It is
 *   asked again where the pool was rekeyed meanwhile. `openSecrets` gives a member's own
 * @throws FulaError FULA_MEMBERSHIP_RACED where the present secret was not among them to the end
 */
export async function admitMember(
  deps: PoolSecretsDeps,
  request: {
    readonly pool: string;
    readonly candidate: Candidate;
    readonly secretsFor: (pool: Pool) => Promise<readonly PoolSecret[]>;
  },
): Promise<Member> {
  const { store } = deps;
  const { pool: id, candidate, secretsFor } = request;
  const { endpoint } = candidate;
  return await whileRaced(deps, async () => {
    const pool = await store.getPool(id);
    const present = await found(store.getMember(id, endpoint));
    if (present !== null) {
      if (pool.epoch === 0 || (await found(store.getSealedKey(id, endpoint, pool.epoch))) !== null) return present;
      await found(store.removeMember(id, endpoint, { withoutKeyFrom: pool.epoch }));
    }
    const secrets = (await secretsFor(pool)).filter(({ epoch }) => epoch <= pool.epoch);
    const sealed = await Promise.all(
      secrets.map(({ epoch, secret }) => sealSecret({ pool: id, epoch, member: endpoint }, secret)),
    );
    const role = pool.owner === endpoint ? "owner" : "member";
    await unlessThere(store.addMember(memberOf(deps, id, candidate, role), sealed));
    return await store.getMember(id, endpoint);
  });
}

/**
 * A pool's secret, opened with this box's key. @param epoch the newest that was sealed to this box where it is left out
 * @throws FulaError FULA_MEMBERSHIP_NOT_FOUND where it was sealed no such secret, FULA_SEALED_BOX
 */
export async function openSecret(
  store: MembershipStore,
  key: BoxKey,
  pool: string,
  epoch?: number,
): Promise<PoolSecret> {
  const record = await store.getSealedKey(pool, key.endpoint, epoch);
  return { epoch: record.epoch, secret: await openSealed(key, record) };
}

/** Every secret of a pool that was sealed to this box, newest first. @throws FulaError FULA_SEALED_BOX */
export async function openSecrets(store: MembershipStore, key: BoxKey, pool: string): Promise<readonly PoolSecret[]> {
  const own = (await store.listSealedKeys(pool)).filter(({ member }) => member === key.endpoint);
  const opened = own.map(async (record) => ({ epoch: record.epoch, secret: await openSealed(key, record) }));
  return (await Promise.all(opened)).toSorted((left, right) => right.epoch - left.epoch);
}

/**
 * Gives a pool a new secret, sealed to all members but those who are about to leave. Run again, it gives it one more.
 * @param without endpoints
 * @returns the pool as it is then
 * @throws FulaError FULA_MEMBERSHIP_LAST_MEMBER where nobody would stay
 */
export async function rekeyPool(
  deps: PoolSecretsDeps,
  request: { readonly pool: string; readonly nextSecret: NextSecret; readonly without?: readonly string[] },
): Promise<Pool> {
  return await whileRaced(deps, async () => await rekeyOnce(deps, request));
}

async function rekeyOnce(
  deps: PoolSecretsDeps,
  request: { readonly pool: string; readonly nextSecret: NextSecret; readonly without?: readonly string[] },
): Promise<Pool> {
  const { pool: id, nextSecret, without = [] } = request;
  const pool = await deps.store.getPool(id);
  const sealed = await sealToAll(deps, id, pool.epoch + 1, await nextSecret(pool), without);
  if (sealed.length === 0) throw lastMember(id);
  return await deps.store.rekey({ pool: id, expectedEpoch: pool.epoch, sealed, without });
}

function lastMember(pool: string): FulaError {
  return new FulaError("FULA_MEMBERSHIP_LAST_MEMBER", `Nobody would be left in pool ${pool} to seal its secret to.`, {
    hint: `admit another box first; or, if nobody needs the secret: fula-master membership pool delete ${pool}`,
    details: { pool },
  });
}

/**
 * Takes a member out so that it gets to know no secret from then on: rekeys without it first, then takes it out. Killed
 * anywhere, it can be run again, and does not rekey twice for one that a rekey has left out already.
 * @returns the pool as it is then, and false where there was no such member
 * @throws FulaError FULA_MEMBERSHIP_LAST_MEMBER
 */
export async function removeMemberAndRekey(
  deps: PoolSecretsDeps,
  request: { readonly pool: string; readonly endpoint: string; readonly nextSecret: NextSecret },
): Promise<{ readonly pool: Pool; readonly removed: boolean }> {
  const { store } = deps;
  const { pool: id, endpoint, nextSecret } = request;
  return await whileRaced(deps, async () => {
    const before = await store.getPool(id);
    if ((await found(store.getMember(id, endpoint))) === null) return { pool: before, removed: false };
    const knowsNewest = before.epoch > 0 && (await found(store.getSealedKey(id, endpoint, before.epoch))) !== null;
    const pool = knowsNewest ? await rekeyOnce(deps, { pool: id, nextSecret, without: [endpoint] }) : before;
    const leaving =
      pool.epoch === 0
        ? store.removeMember(id, endpoint)
        : store.removeMember(id, endpoint, { withoutKeyFrom: pool.epoch });
    const removed = (await found(leaving.then(() => true))) ?? false;
    return { pool, removed };
  });
}
