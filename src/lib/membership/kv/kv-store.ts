import { checkRecord, normalOperatorId } from "../record-checks.ts";
import { endpointSchema, memberSchema, operatorSchema, poolSchema } from "../records.ts";
import type {
  Authorization,
  Member,
  MembershipSnapshot,
  Operator,
  OperatorRole,
  OperatorStatus,
  Pool,
  SealedKey,
} from "../records.ts";
import { givenAgain, membershipExists, membershipNotFound } from "../refusals.ts";
import { assertApplied, assertMayJoin, assertNewPool, changedOperator, isActiveAdmin, planRekey } from "../rules.ts";
import type { ImportOptions, MembershipStore, Rekey } from "../store.ts";
import { bootstrapBuckets } from "./bootstrap.ts";
import { Bucket } from "./bucket.ts";
import { keys } from "./buckets.ts";
import type { Budget } from "./budget.ts";
import { NatsLink } from "./connect.ts";
import { Operators } from "./operators.ts";
import { Pools } from "./pools.ts";
import { exportBuckets, importBuckets, sealedKeysOf } from "./snapshot.ts";
import type { KvDeps, KvTarget } from "./target.ts";

export type { KvDeps, KvTarget } from "./target.ts";

/**
 * Opens the control plane on NATS JetStream: makes its buckets where they are not there, and writes to the end what
 * somebody who was killed has left.
 * @throws FulaError FULA_CONTROL_PLANE_UNREACHABLE after `bootstrapTimeoutMs`, FULA_CONTROL_PLANE_UNFIT,
 *   FULA_CONTROL_PLANE_UNREADABLE
 */
export async function openKvStore(target: KvTarget, deps: KvDeps): Promise<MembershipStore> {
  const link = new NatsLink(target, deps);
  try {
    const store = new KvStore(link, target, deps);
    await bootstrapBuckets(link, target, deps, async () => await store.repair());
    return store;
  } catch (error) {
    await link.close();
    throw error;
  }
}

interface Buckets {
  readonly pool: Bucket<"pool">;
  readonly member: Bucket<"member">;
  readonly index: Bucket<"index">;
  readonly epoch: Bucket<"epoch">;
  readonly operators: Bucket<"operators">;
}

class KvStore implements MembershipStore {
  readonly kind = "nats";
  readonly #link: NatsLink;
  readonly #timeoutMs: number;
  readonly #buckets: Buckets;
  readonly #pools: Pools;
  readonly #operators: Operators;

  constructor(link: NatsLink, { prefix, timeoutMs, maxAgeMs }: KvTarget, deps: KvDeps) {
    this.#link = link;
    this.#timeoutMs = timeoutMs;
    this.#buckets = {
      pool: new Bucket(link, prefix, "pool"),
      member: new Bucket(link, prefix, "member"),
      index: new Bucket(link, prefix, "index"),
      epoch: new Bucket(link, prefix, "epoch"),
      operators: new Bucket(link, prefix, "operators"),
    };
    this.#pools = new Pools(this.#buckets, deps);
    this.#operators = new Operators(this.#buckets.operators, { ...deps, maxAgeMs });
  }

  /** Writes to the end what others have begun. */
  async repair(): Promise<void> {
    for (const entry of await this.#buckets.pool.list(this.#patience, keys.all)) {
      if (entry.value !== null && entry.value.pending !== null) await this.#pools.settle(this.#patience(), entry);
    }
  }

  async createPool(pool: Pool): Promise<void> {
    const checked = checkRecord(poolSchema, pool, "The pool");
    assertNewPool(checked);
    if (!(await this.#pools.create(this.#patience(), checked))) throw membershipExists("pool", checked.id);
  }

  async getPool(id: string): Promise<Pool> {
    return (await this.#pools.get(this.#patience(), id)).pool;
  }

  async listPools(): Promise<readonly Pool[]> {
    const budget = this.#patience();
    const entries = await this.#buckets.pool.list(() => budget, keys.all);
    const settled = await Promise.all(
      entries
        .filter(({ value }) => value !== null)
        .map(async (entry) =>
          entry.value?.pending === null ? entry.value : await this.#pools.find(budget, entry.key),
        ),
    );
    return settled.flatMap((one) => (one === null ? [] : [one.pool])).toSorted((a, b) => (a.id < b.id ? -1 : 1));
  }

  async deletePool(id: string): Promise<void> {
    await this.#pools.change(this.#patience(), id, async ({ pool }) => ({ pool, intent: { kind: "delete" } }));
  }

  async addMember(member: Member, sealed: readonly SealedKey[]): Promise<void> {
    const checked = checkRecord(memberSchema, member, "The member");
    const { pool: id, endpoint } = checked;
    const budget = this.#patience();
    await this.#pools.change(
      budget,
      id,
      async ({ pool }) => {
        if ((await this.#findMember(budget, id, endpoint)) !== null) {
          throw membershipExists("member", `${endpoint} of pool ${id}`);
        }
        assertMayJoin(pool, checked, sealed);
        return { pool, intent: { kind: "add", member: checked, sealed } };
      },
      async ({ change }) => {
        await this.#pools.announce(budget, id, endpoint, change + 1);
      },
    );
  }

  async getMember(pool: string, endpoint: string): Promise<Member> {
    const budget = this.#patience();
    const found = (await this.#pools.find(budget, pool)) && (await this.#findMember(budget, pool, endpoint));
    if (found === null) throw membershipNotFound("member", `${endpoint} of pool ${pool}`);
    return found;
  }

  async listMembers(pool: string): Promise<readonly Member[]> {
    const budget = this.#patience();
    return await this.#pools.read(budget, pool, async () => await this.#members(budget, pool));
  }

  async removeMember(
    pool: string,
    endpoint: string,
    { withoutKeyFrom }: { readonly withoutKeyFrom?: number } = {},
  ): Promise<void> {
    const budget = this.#patience();
    const missing = membershipNotFound("member", `${endpoint} of pool ${pool}`);
    if ((await this.#pools.find(budget, pool)) === null) throw missing;
    await this.#pools.change(budget, pool, async (now) => {
      if ((await this.#findMember(budget, pool, endpoint)) === null) throw missing;
      if (withoutKeyFrom !== undefined) {
        const newest = await this.#findSealedKey(budget, now.pool, endpoint);
        if (newest !== null && newest.epoch >= withoutKeyFrom) throw givenAgain(pool, endpoint);
      }
      return { pool: now.pool, intent: { kind: "remove", endpoint } };
    });
  }

  async listPoolsFor(endpoint: string): Promise<readonly Pool[]> {
    if (!endpointSchema.safeParse(endpoint).success) return [];
    const budget = this.#patience();
    const entries = await this.#buckets.index.list(() => budget, keys.indexOf(endpoint));
    const pools = await Promise.all(
      entries.map(async ({ value }) => (value === null ? null : await this.#poolWith(budget, value.pool, endpoint))),
    );
    return pools.filter((pool) => pool !== null).toSorted((a, b) => (a.id < b.id ? -1 : 1));
  }

  async noteApplied(pool: string, endpoint: string, epoch: number): Promise<void> {
    const budget = this.#patience();
    const missing = membershipNotFound("member", `${endpoint} of pool ${pool}`);
    const found = await this.#pools.find(budget, pool);
    if (found === null || !endpointSchema.safeParse(endpoint).success) throw missing;
    await this.#pools.repeat(budget, `pool ${pool}`, async () => {
      const key = keys.member(pool, endpoint);
      const { value, revision } = await this.#buckets.member.get(budget, key);
      if (value === null) throw missing;
      assertApplied(found.pool, epoch);
      if (value.member.appliedEpoch >= epoch) return true;
      const noted = { ...value, member: { ...value.member, appliedEpoch: epoch } };
      return (await this.#buckets.member.put(budget, key, noted, revision)) === null ? undefined : true;
    });
  }

  async rekey(change: Rekey): Promise<Pool> {
    const budget = this.#patience();
    return await this.#pools.change(budget, change.pool, async ({ pool }) => {
      const members = await this.#members(budget, change.pool);
      const endpoints = members.map(({ endpoint }) => endpoint);
      const plan = planRekey(pool, endpoints, change);
      return { pool: plan.pool, intent: { kind: "rekey", sealed: plan.sealedKeys } };
    });
  }

  async getSealedKey(pool: string, member: string, epoch?: number): Promise<SealedKey> {
    const budget = this.#patience();
    const found = await this.#pools.find(budget, pool);
    const key = found === null ? null : await this.#findSealedKey(budget, found.pool, member, epoch);
    if (key !== null) return key;
    const which = epoch === undefined ? "of any epoch" : `of epoch ${epoch}`;
    throw membershipNotFound("sealed key", `${which} of pool ${pool} for ${member}`);
  }

  async listSealedKeys(pool: string): Promise<readonly SealedKey[]> {
    const budget = this.#patience();
    return await this.#pools.read(budget, pool, async () => await this.#sealedKeys(budget, pool));
  }

  async addOperator(operator: Operator): Promise<void> {
    const normal = { ...operator, id: normalOperatorId(operator.id) };
    const checked = checkRecord(operatorSchema, normal, "The operator");
    await this.#operators.change(this.#patience(), (now) => {
      if (now.some(({ id }) => id === checked.id)) throw membershipExists("operator", checked.id);
      return [...now, checked];
    });
  }

  async getOperator(id: string): Promise<Operator> {
    const normal = normalOperatorId(id);
    const { operators } = await this.#operators.read(this.#patience());
    const operator = operators.find((one) => one.id === normal);
    if (operator === undefined) throw membershipNotFound("operator", normal);
    return operator;
  }

  async listOperators(): Promise<readonly Operator[]> {
    return (await this.#operators.read(this.#patience())).operators;
  }

  async changeOperator(
    id: string,
    change: { readonly role?: OperatorRole; readonly status?: OperatorStatus },
  ): Promise<Operator> {
    const normal = normalOperatorId(id);
    let changed: Operator | null = null;
    await this.#operators.change(this.#patience(), (now) => {
      const operator = now.find((one) => one.id === normal);
      if (operator === undefined) throw membershipNotFound("operator", normal);
      const others = now.some((one) => one.id !== normal && isActiveAdmin(one));
      const next = checkRecord(operatorSchema, changedOperator(operator, change, others), "The operator");
      changed = next;
      return now.map((one) => (one.id === normal ? next : one));
    });
    if (changed === null) throw membershipNotFound("operator", normal);
    return changed;
  }

  async hasAdmin(): Promise<boolean> {
    return await this.#operators.hasAdmin(this.#patience());
  }

  async isAuthorized(id: string, role: OperatorRole): Promise<Authorization> {
    return await this.#operators.isAuthorized(this.#patience(), id, role);
  }

  async exportSnapshot(): Promise<MembershipSnapshot> {
    return await exportBuckets(this.#buckets, this.#pools, this.#patience);
  }

  async importSnapshot(snapshot: MembershipSnapshot, options: ImportOptions = {}): Promise<void> {
    await importBuckets(this.#buckets, this.#pools, snapshot, this.#patience, options);
  }

  async close(): Promise<void> {
    await this.#link.close();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }

  readonly #patience = (): Budget => this.#link.budget(this.#timeoutMs);

  async #findMember(budget: Budget, pool: string, endpoint: string): Promise<Member | null> {
    if (!endpointSchema.safeParse(endpoint).success) return null;
    const { value } = await this.#buckets.member.get(budget, keys.member(pool, endpoint));
    return value?.member ?? null;
  }

  async #members(budget: Budget, pool: string): Promise<readonly Member[]> {
    const entries = await this.#buckets.member.list(() => budget, keys.membersOf(pool));
    const members = entries.flatMap(({ value }) => (value === null ? [] : [value.member]));
    return members.toSorted((a, b) => (a.endpoint < b.endpoint ? -1 : 1));
  }

  async #sealedKeys(budget: Budget, pool: string): Promise<readonly SealedKey[]> {
    const entries = await this.#buckets.epoch.list(() => budget, keys.epochsOf(pool));
    const epochs = entries.flatMap(({ value }) => (value === null ? [] : [value]));
    return epochs.toSorted((a, b) => a.epoch - b.epoch).flatMap(sealedKeysOf);
  }

  async #findSealedKey(budget: Budget, pool: Pool, member: string, epoch?: number): Promise<SealedKey | null> {
    const { value } = await this.#buckets.epoch.get(budget, keys.epoch(pool.id, epoch ?? pool.epoch));
    const key = value === null ? undefined : sealedKeysOf(value).find((one) => one.member === member);
    if (key !== undefined || epoch !== undefined) return key ?? null;
    const all = await this.#sealedKeys(budget, pool.id);
    return all.findLast((one) => one.member === member) ?? null;
  }

  /** A pool, if it has this member. An entry that leads nowhere is what somebody left who was killed while he added it. */
  async #poolWith(budget: Budget, id: string, endpoint: string): Promise<Pool | null> {
    const found = await this.#pools.find(budget, id);
    if (found === null) return null;
    if ((await this.#findMember(budget, id, endpoint)) !== null) return found.pool;
    await this.#pools.retract(budget, id, endpoint);
    return null;
  }
}
