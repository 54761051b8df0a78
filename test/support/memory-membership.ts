import { FulaError } from "../../src/lib/kernel/errors.ts";
import type { ErrorCode } from "../../src/lib/kernel/error-codes.ts";
import {
  memberSchema,
  operatorIdSchema,
  operatorSchema,
  poolSchema,
  sealedKeySchema,
  snapshotSchema,
} from "../../src/lib/membership/records.ts";
import type {
  Authorization,
  DenialReason,
  Member,
  MembershipSnapshot,
  Operator,
  OperatorRole,
  Pool,
  SealedKey,
} from "../../src/lib/membership/records.ts";
import type { ImportOptions, MembershipStore, Rekey } from "../../src/lib/membership/store.ts";

function refuse(code: ErrorCode, what: string): never {
  throw new FulaError(code, what);
}

function orRefuse<T>(value: T | undefined, what: string): T {
  return value ?? refuse("FULA_MEMBERSHIP_NOT_FOUND", what);
}

function mustBe(condition: boolean, code: ErrorCode, what: string): void {
  if (!condition) refuse(code, what);
}

function valid(result: { readonly success: boolean }, what: string): void {
  mustBe(result.success, "FULA_MEMBERSHIP_INVALID", what);
}

function by<T>(keyOf: (record: T) => string): (left: T, right: T) => number {
  return (left, right) => (keyOf(left) < keyOf(right) ? -1 : 1);
}

const epochText = (epoch: number): string => String(epoch).padStart(16, "0");

/**
 * A control plane in plain lists that does what the interface says, and shares no rule with the real ones: what they are
 * compared with.
 */
export class MemoryMembership implements MembershipStore {
  readonly kind = "sqlite";
  #pools: Pool[] = [];
  #members: Member[] = [];
  #keys: SealedKey[] = [];
  #operators: Operator[] = [];

  async createPool(pool: Pool): Promise<void> {
    valid(poolSchema.safeParse(pool), "pool");
    mustBe(pool.epoch === 0, "FULA_MEMBERSHIP_INVALID", "epoch");
    mustBe(!this.#pools.some(({ id }) => id === pool.id), "FULA_MEMBERSHIP_EXISTS", "pool");
    this.#pools.push(pool);
  }

  // Nothing waits before a change is done: each is all or nothing, and nobody comes between.
  #pool(id: string): Pool {
    return orRefuse(
      this.#pools.find((pool) => pool.id === id),
      "pool",
    );
  }

  #member(pool: string, endpoint: string): Member {
    return orRefuse(
      this.#members.find((member) => member.pool === pool && member.endpoint === endpoint),
      "member",
    );
  }

  #operator(id: string): Operator {
    const normal = this.#normal(id);
    return orRefuse(
      this.#operators.find((each) => each.id === normal),
      "operator",
    );
  }

  #membersOf(pool: string): readonly Member[] {
    return this.#members.filter((member) => member.pool === pool).toSorted(by(({ endpoint }) => endpoint));
  }

  async getPool(id: string): Promise<Pool> {
    return this.#pool(id);
  }

  async listPools(): Promise<readonly Pool[]> {
    return this.#pools.toSorted(by(({ id }) => id));
  }

  async deletePool(id: string): Promise<void> {
    this.#pool(id);
    this.#pools = this.#pools.filter((pool) => pool.id !== id);
    this.#members = this.#members.filter(({ pool }) => pool !== id);
    this.#keys = this.#keys.filter(({ pool }) => pool !== id);
  }

  async addMember(member: Member, sealed: readonly SealedKey[]): Promise<void> {
    valid(memberSchema.safeParse(member), "member");
    const pool = this.#pool(member.pool);
    const there = this.#members.some(({ pool: id, endpoint }) => id === pool.id && endpoint === member.endpoint);
    mustBe(!there, "FULA_MEMBERSHIP_EXISTS", "member");
    for (const key of sealed) {
      valid(sealedKeySchema.safeParse(key), "key");
      const isOwn = key.pool === member.pool && key.member === member.endpoint && key.epoch <= pool.epoch;
      mustBe(isOwn, "FULA_MEMBERSHIP_INVALID", "key");
    }
    const epochs = sealed.map(({ epoch }) => epoch);
    mustBe(new Set(epochs).size === epochs.length, "FULA_MEMBERSHIP_INVALID", "keys");
    mustBe(pool.epoch === 0 || epochs.includes(pool.epoch), "FULA_MEMBERSHIP_RACED", "present epoch");
    mustBe(member.appliedEpoch <= pool.epoch, "FULA_MEMBERSHIP_INVALID", "applied");
    this.#members.push(member);
    this.#keys.push(...sealed);
  }

  async getMember(pool: string, endpoint: string): Promise<Member> {
    return this.#member(pool, endpoint);
  }

  async listMembers(pool: string): Promise<readonly Member[]> {
    this.#pool(pool);
    return this.#membersOf(pool);
  }

  async removeMember(
    pool: string,
    endpoint: string,
    condition: { readonly withoutKeyFrom?: number } = {},
  ): Promise<void> {
    const gone = this.#member(pool, endpoint);
    const isOwn = (key: SealedKey): boolean => key.pool === pool && key.member === endpoint;
    const from = condition.withoutKeyFrom ?? Number.POSITIVE_INFINITY;
    mustBe(!this.#keys.some((key) => isOwn(key) && key.epoch >= from), "FULA_MEMBERSHIP_RACED", "newer key");
    this.#members = this.#members.filter((member) => member !== gone);
    this.#keys = this.#keys.filter((key) => !isOwn(key));
  }

  async listPoolsFor(endpoint: string): Promise<readonly Pool[]> {
    const isIn = (id: string): boolean =>
      this.#members.some((member) => member.endpoint === endpoint && member.pool === id);
    return (await this.listPools()).filter(({ id }) => isIn(id));
  }

  async noteApplied(pool: string, endpoint: string, epoch: number): Promise<void> {
    const member = this.#member(pool, endpoint);
    mustBe(epoch <= this.#pool(pool).epoch, "FULA_MEMBERSHIP_INVALID", "epoch");
    const noted = { ...member, appliedEpoch: Math.max(epoch, member.appliedEpoch) };
    this.#members = this.#members.map((each) => (each === member ? noted : each));
  }

  async rekey({ pool: id, expectedEpoch, sealed, without = [] }: Rekey): Promise<Pool> {
    const pool = this.#pool(id);
    const given = sealed.map(({ member }) => member);
    const isFit =
      pool.encrypted &&
      given.length > 0 &&
      new Set([...given, ...without]).size === given.length + new Set(without).size;
    mustBe(isFit, "FULA_MEMBERSHIP_INVALID", "rekey");
    const epoch = pool.epoch + 1;
    const keys = sealed.map(({ member, sealed: text }) => ({ pool: id, epoch, member, sealed: text }));
    for (const key of keys) valid(sealedKeySchema.safeParse(key), "key");
    mustBe(expectedEpoch === pool.epoch, "FULA_MEMBERSHIP_RACED", "epoch");
    const expected = this.#membersOf(id)
      .map(({ endpoint }) => endpoint)
      .filter((each) => !without.includes(each));
    mustBe(expected.join(" ") === given.toSorted().join(" "), "FULA_MEMBERSHIP_RACED", "members");
    const changed = { ...pool, epoch };
    this.#pools = this.#pools.map((each) => (each === pool ? changed : each));
    this.#keys.push(...keys);
    return changed;
  }

  async getSealedKey(pool: string, member: string, epoch?: number): Promise<SealedKey> {
    const own = this.#keys.filter((key) => key.pool === pool && key.member === member);
    const wanted = epoch ?? Math.max(...own.map((key) => key.epoch));
    return orRefuse(
      own.find((key) => key.epoch === wanted),
      "key",
    );
  }

  async listSealedKeys(pool: string): Promise<readonly SealedKey[]> {
    this.#pool(pool);
    const order = by<SealedKey>(({ epoch, member }) => `${epochText(epoch)} ${member}`);
    return this.#keys.filter((key) => key.pool === pool).toSorted(order);
  }

  #normal(id: string): string {
    const normal = id.trim().toLowerCase();
    valid(operatorIdSchema.safeParse(normal), "id");
    return normal;
  }

  async addOperator(operator: Operator): Promise<void> {
    const id = this.#normal(operator.id);
    valid(operatorSchema.safeParse({ ...operator, id }), "operator");
    mustBe(!this.#operators.some((each) => each.id === id), "FULA_MEMBERSHIP_EXISTS", "operator");
    this.#operators.push({ ...operator, id });
  }

  async getOperator(id: string): Promise<Operator> {
    return this.#operator(id);
  }

  async listOperators(): Promise<readonly Operator[]> {
    return this.#operators.toSorted(by(({ id }) => id));
  }

  async changeOperator(id: string, change: Partial<Pick<Operator, "role" | "status">>): Promise<Operator> {
    const operator = this.#operator(id);
    const changed = { ...operator, ...change };
    const after = this.#operators.map((each) => (each === operator ? changed : each));
    mustBe(this.#adminsOf(after) > 0 || this.#adminsOf(this.#operators) === 0, "FULA_MEMBERSHIP_LAST_ADMIN", "admin");
    this.#operators = after;
    return changed;
  }

  #adminsOf(operators: readonly Operator[]): number {
    return operators.filter(({ role, status }) => role === "admin" && status === "active").length;
  }

  async hasAdmin(): Promise<boolean> {
    return this.#adminsOf(this.#operators) > 0;
  }

  async isAuthorized(id: string, role: OperatorRole): Promise<Authorization> {
    const operator = this.#operators.find((each) => each.id === id.trim().toLowerCase());
    let reason: DenialReason | null = null;
    if (operatorIdSchema.safeParse(id.trim().toLowerCase()).success && !(await this.hasAdmin()))
      reason = "no-operators";
    else if (operator === undefined) reason = "unknown";
    else if (operator.status === "revoked") reason = "revoked";
    else if (operator.role !== "admin" && role === "admin") reason = "role";
    if (reason === null && operator !== undefined) return { allowed: true, operator, ageMs: 0 };
    return { allowed: false, reason: reason ?? "unknown", why: `The control plane says ${reason}.` };
  }

  async exportSnapshot(): Promise<MembershipSnapshot> {
    const order = by<SealedKey>(({ pool, epoch, member }) => `${pool} ${epochText(epoch)} ${member}`);
    return {
      format: 1,
      pools: await this.listPools(),
      members: this.#members.toSorted(by(({ pool, endpoint }) => `${pool} ${endpoint}`)),
      sealedKeys: this.#keys.toSorted(order),
      operators: await this.listOperators(),
    };
  }

  async importSnapshot(
    snapshot: MembershipSnapshot,
    { over, onProgress = () => {} }: ImportOptions = {},
  ): Promise<void> {
    const isSeen = over === undefined || JSON.stringify(over) === JSON.stringify(await this.exportSnapshot());
    mustBe(isSeen, "FULA_MEMBERSHIP_RACED", "changed");
    const { pools, members, sealedKeys, operators } = snapshot;
    valid(snapshotSchema.safeParse(snapshot), "snapshot");
    const names = [
      ...pools.map(({ id }) => `pool ${id}`),
      ...members.map(({ pool, endpoint }) => `member ${pool} ${endpoint}`),
      ...sealedKeys.map(({ pool, epoch, member }) => `key ${pool} ${epoch} ${member}`),
      ...operators.map(({ id }) => `operator ${id}`),
    ];
    mustBe(new Set(names).size === names.length, "FULA_MEMBERSHIP_INVALID", "twice");
    const reached = (id: string, epoch: number): boolean => pools.some((pool) => pool.id === id && pool.epoch >= epoch);
    const isSound =
      members.every(({ pool, appliedEpoch }) => reached(pool, appliedEpoch)) &&
      sealedKeys.every(({ pool, epoch, member }) => reached(pool, epoch) && names.includes(`member ${pool} ${member}`));
    mustBe(isSound, "FULA_MEMBERSHIP_INVALID", "sound");
    onProgress(names.length, names.length);
    this.#pools = [...pools];
    this.#members = [...members];
    this.#keys = [...sealedKeys];
    this.#operators = [...operators];
  }

  async close(): Promise<void> {}

  async [Symbol.asyncDispose](): Promise<void> {}
}
