import type { DatabaseSync, SQLInputValue, SQLOutputValue, StatementSync } from "node:sqlite";
import type { Clock } from "../../kernel/clock.ts";
import { FulaError, messageOf } from "../../kernel/errors.ts";
import { isSqliteBusy } from "../../kernel/sqlite.ts";
import { checkRecord, normalOperatorId } from "../record-checks.ts";
import { memberSchema, operatorSchema, poolSchema } from "../records.ts";
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
import { assertApplied, assertMayJoin, assertNewPool, changedOperator, denied, judge, planRekey } from "../rules.ts";
import { assertUnchanged, orderSnapshot } from "../snapshot.ts";
import type { ImportOptions, MembershipStore, Rekey } from "../store.ts";
import {
  createDatabase,
  explainSqliteError,
  fileIdentity,
  inReadTransaction,
  inWriteTransaction,
  openDatabase,
  openDatabaseToLook,
  retiredFile,
  unreadableFile,
} from "./database.ts";
import { type RowReader, rowReader } from "./rows.ts";
import { readSnapshot, writeSnapshot } from "./snapshot-rows.ts";

/** What a control plane in a file needs besides its path. */
export interface SqliteStoreOptions {
  readonly clock: Clock;
  /** Time that one operation may take while another process has the file locked. */
  readonly timeoutMs: number;
  /**
   * True makes an empty control plane where there is none. Default false: who expects one must not turn a lost file into
   * an empty one in which nobody belongs and nobody may act.
   */
  readonly create?: boolean;
  /** True looks only: every change fails, and nothing is written beside the file. */
  readonly readOnly?: boolean;
}

type Row = Record<string, SQLOutputValue>;

const POOL = "id, name, encrypted, owner, epoch, created_at";
const MEMBER = "pool, endpoint, name, role, joined_at, applied_epoch";
const SEALED_KEY = "pool, epoch, member, sealed";
const OPERATOR = "id, role, status, name, created_at";
const ACTIVE_ADMIN = "role = 'admin' and status = 'active'";

/** A file that is locked is asked again after so long. */
const BUSY_PAUSE_MS = 10;

/**
 * Opens the control plane of one box. Several processes may have it open at the same time.
 * @throws FulaError FULA_CONTROL_PLANE_UNREADABLE for a file that is not there, damaged or another program's,
 *   FULA_STATE_NEWER, FULA_CONTROL_PLANE_UNREACHABLE
 */
export async function openSqliteStore(path: string, options: SqliteStoreOptions): Promise<MembershipStore> {
  if (fileIdentity(path) === null) {
    if (options.create !== true) throw unreadableFile(path, "there is no such file");
    await createDatabase(path);
  }
  const open = options.readOnly === true ? openDatabaseToLook : openDatabase;
  return new SqliteStore(path, await whileBusy(path, options, () => open(path)), options);
}

/** Runs something again while another process has the file locked. The operation must be all or nothing. */
export async function whileBusy<T>(
  path: string,
  { clock, timeoutMs }: SqliteStoreOptions,
  operation: () => T,
): Promise<T> {
  const deadlineMs = clock.monotonicMs() + timeoutMs;
  for (;;) {
    try {
      return operation();
    } catch (error) {
      if (!isSqliteBusy(error) || clock.monotonicMs() + BUSY_PAUSE_MS > deadlineMs)
        throw explainSqliteError(error, path);
      await clock.sleep(BUSY_PAUSE_MS);
    }
  }
}

function closed(path: string): FulaError {
  return new FulaError("FULA_CONTROL_PLANE_UNREACHABLE", `The control plane ${path} is closed.`, {
    hint: "run the command again; serve opens it anew when it starts.",
    details: { path },
  });
}

class SqliteStore implements MembershipStore {
  readonly kind = "sqlite";
  readonly #path: string;
  readonly #db: DatabaseSync;
  readonly #file: string | null;
  readonly #options: SqliteStoreOptions;
  readonly #rows: RowReader;
  readonly #statements = new Map<string, StatementSync>();

  constructor(path: string, db: DatabaseSync, options: SqliteStoreOptions) {
    this.#path = path;
    this.#db = db;
    this.#file = fileIdentity(path);
    this.#options = options;
    this.#rows = rowReader(path);
  }

  async createPool(pool: Pool): Promise<void> {
    const { id, name, encrypted, owner, epoch, createdAt } = checkRecord(poolSchema, pool, "The pool");
    assertNewPool(pool);
    await this.#write(() => {
      if (this.#one(`select 1 from pools where id = ?`, id) !== undefined) throw membershipExists("pool", id);
      this.#change(
        `insert into pools (${POOL}) values (?, ?, ?, ?, ?, ?)`,
        id,
        name,
        Number(encrypted),
        owner,
        epoch,
        createdAt,
      );
    });
  }

  async getPool(id: string): Promise<Pool> {
    return await this.#read(() => this.#pool(id));
  }

  async listPools(): Promise<readonly Pool[]> {
    return await this.#read(() => this.#all(`select ${POOL} from pools order by id`).map(this.#rows.pool));
  }

  async deletePool(id: string): Promise<void> {
    await this.#write(() => {
      if (this.#change("delete from pools where id = ?", id) === 0) throw membershipNotFound("pool", id);
    });
  }

  async addMember(member: Member, sealed: readonly SealedKey[]): Promise<void> {
    const { pool: id, endpoint, name, role, joinedAt, appliedEpoch } = checkRecord(memberSchema, member, "The member");
    await this.#write(() => {
      const pool = this.#pool(id);
      if (this.#one("select 1 from members where pool = ? and endpoint = ?", id, endpoint) !== undefined) {
        throw membershipExists("member", `${endpoint} of pool ${id}`);
      }
      assertMayJoin(pool, member, sealed);
      this.#change(
        `insert into members (${MEMBER}) values (?, ?, ?, ?, ?, ?)`,
        id,
        endpoint,
        name,
        role,
        joinedAt,
        appliedEpoch,
      );
      this.#insertKeys(sealed);
    });
  }

  async getMember(pool: string, endpoint: string): Promise<Member> {
    return await this.#read(() => this.#member(pool, endpoint));
  }

  async listMembers(pool: string): Promise<readonly Member[]> {
    return await this.#read(() => {
      this.#pool(pool);
      return this.#all(`select ${MEMBER} from members where pool = ? order by endpoint`, pool).map(this.#rows.member);
    });
  }

  async removeMember(
    pool: string,
    endpoint: string,
    { withoutKeyFrom }: { readonly withoutKeyFrom?: number } = {},
  ): Promise<void> {
    await this.#write(() => {
      if (withoutKeyFrom !== undefined) {
        const newer = "select 1 from sealed_keys where pool = ? and member = ? and epoch >= ? limit 1";
        if (this.#one(newer, pool, endpoint, withoutKeyFrom) !== undefined) throw givenAgain(pool, endpoint);
      }
      const removed = this.#change("delete from members where pool = ? and endpoint = ?", pool, endpoint);
      if (removed === 0) throw membershipNotFound("member", `${endpoint} of pool ${pool}`);
    });
  }

  async listPoolsFor(endpoint: string): Promise<readonly Pool[]> {
    const sql = `select ${POOL} from pools where id in (select pool from members where endpoint = ?) order by id`;
    return await this.#read(() => this.#all(sql, endpoint).map(this.#rows.pool));
  }

  async noteApplied(pool: string, endpoint: string, epoch: number): Promise<void> {
    await this.#write(() => {
      this.#member(pool, endpoint);
      assertApplied(this.#pool(pool), epoch);
      this.#change(
        "update members set applied_epoch = max(applied_epoch, ?) where pool = ? and endpoint = ?",
        epoch,
        pool,
        endpoint,
      );
    });
  }

  async rekey(change: Rekey): Promise<Pool> {
    return await this.#write(() => {
      const endpoints = this.#all("select endpoint from members where pool = ?", change.pool);
      const plan = planRekey(
        this.#pool(change.pool),
        endpoints.map(({ endpoint }) => String(endpoint)),
        change,
      );
      this.#change("update pools set epoch = ? where id = ?", plan.pool.epoch, change.pool);
      this.#insertKeys(plan.sealedKeys);
      return plan.pool;
    });
  }

  async getSealedKey(pool: string, member: string, epoch?: number): Promise<SealedKey> {
    const select = `select ${SEALED_KEY} from sealed_keys where pool = ? and member = ?`;
    const row = await this.#read(() =>
      epoch === undefined
        ? this.#one(`${select} order by epoch desc limit 1`, pool, member)
        : this.#one(`${select} and epoch = ?`, pool, member, epoch),
    );
    if (row !== undefined) return this.#rows.sealedKey(row);
    const which = epoch === undefined ? "of any epoch" : `of epoch ${epoch}`;
    throw membershipNotFound("sealed key", `${which} of pool ${pool} for ${member}`);
  }

  async listSealedKeys(pool: string): Promise<readonly SealedKey[]> {
    return await this.#read(() => {
      this.#pool(pool);
      const sql = `select ${SEALED_KEY} from sealed_keys where pool = ? order by epoch, member`;
      return this.#all(sql, pool).map(this.#rows.sealedKey);
    });
  }

  async addOperator(operator: Operator): Promise<void> {
    const normal = { ...operator, id: normalOperatorId(operator.id) };
    const { id, role, status, name, createdAt } = checkRecord(operatorSchema, normal, "The operator");
    await this.#write(() => {
      if (this.#findOperator(id) !== null) throw membershipExists("operator", id);
      this.#change(`insert into operators (${OPERATOR}) values (?, ?, ?, ?, ?)`, id, role, status, name, createdAt);
    });
  }

  async getOperator(id: string): Promise<Operator> {
    const normal = normalOperatorId(id);
    const operator = await this.#read(() => this.#findOperator(normal));
    if (operator === null) throw membershipNotFound("operator", normal);
    return operator;
  }

  async listOperators(): Promise<readonly Operator[]> {
    return await this.#read(() => this.#all(`select ${OPERATOR} from operators order by id`).map(this.#rows.operator));
  }

  async changeOperator(
    id: string,
    change: { readonly role?: OperatorRole; readonly status?: OperatorStatus },
  ): Promise<Operator> {
    const normal = normalOperatorId(id);
    return await this.#write(() => {
      const operator = this.#findOperator(normal);
      if (operator === null) throw membershipNotFound("operator", normal);
      const others = this.#one(`select 1 from operators where ${ACTIVE_ADMIN} and id <> ?`, normal) !== undefined;
      const changed = checkRecord(operatorSchema, changedOperator(operator, change, others), "The operator");
      this.#change("update operators set role = ?, status = ? where id = ?", changed.role, changed.status, normal);
      return changed;
    });
  }

  async hasAdmin(): Promise<boolean> {
    return await this.#read(() => this.#hasAdmin());
  }

  async isAuthorized(id: string, role: OperatorRole): Promise<Authorization> {
    let normal: string;
    try {
      normal = normalOperatorId(id);
    } catch {
      return denied("unknown", "What asks has no operator's id.");
    }
    try {
      const facts = await this.#read(() => ({ operator: this.#findOperator(normal), hasAdmin: this.#hasAdmin() }));
      return judge({ ...facts, id: normal, role, ageMs: 0 });
    } catch (error) {
      return denied("unreachable", `The control plane did not say whether ${normal} may act: ${messageOf(error)}`);
    }
  }

  async exportSnapshot(): Promise<MembershipSnapshot> {
    return await this.#whole(() => inReadTransaction(this.#db, () => readSnapshot(this.#db, this.#rows)));
  }

  async importSnapshot(
    snapshot: MembershipSnapshot,
    { over, onProgress = () => {} }: ImportOptions = {},
  ): Promise<void> {
    await this.#whole(() => {
      inWriteTransaction(this.#db, () => {
        if (over !== undefined) assertUnchanged(orderSnapshot(over), readSnapshot(this.#db, this.#rows));
        writeSnapshot(this.#db, snapshot, onProgress);
        // The state was brought back: from here on it counts again.
        this.#db.exec("delete from retired");
      });
    });
  }

  async close(): Promise<void> {
    this.#statements.clear();
    if (this.#db.isOpen) this.#db.close();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }

  #pool(id: string): Pool {
    const row = this.#one(`select ${POOL} from pools where id = ?`, id);
    if (row === undefined) throw membershipNotFound("pool", id);
    return this.#rows.pool(row);
  }

  #member(pool: string, endpoint: string): Member {
    const row = this.#one(`select ${MEMBER} from members where pool = ? and endpoint = ?`, pool, endpoint);
    if (row === undefined) throw membershipNotFound("member", `${endpoint} of pool ${pool}`);
    return this.#rows.member(row);
  }

  #findOperator(id: string): Operator | null {
    const row = this.#one(`select ${OPERATOR} from operators where id = ?`, id);
    return row === undefined ? null : this.#rows.operator(row);
  }

  #hasAdmin(): boolean {
    return this.#one(`select 1 from operators where ${ACTIVE_ADMIN} limit 1`) !== undefined;
  }

  #insertKeys(keys: readonly SealedKey[]): void {
    for (const { pool, epoch, member, sealed } of keys) {
      this.#change(`insert into sealed_keys (${SEALED_KEY}) values (?, ?, ?, ?)`, pool, epoch, member, sealed);
    }
  }

  async #read<T>(use: () => T): Promise<T> {
    return await this.#whole(() => inReadTransaction(this.#db, () => this.#unlessRetired(use)));
  }

  async #write<T>(use: () => T): Promise<T> {
    return await this.#whole(() => inWriteTransaction(this.#db, () => this.#unlessRetired(use)));
  }

  /** Who was revoked since, or admitted, is not in this file: whoever still has it open must not go by it. */
  #unlessRetired<T>(use: () => T): T {
    const row = this.#one("select address, retired_at from retired");
    if (row !== undefined) throw retiredFile(this.#path, String(row["address"]), String(row["retired_at"]));
    return use();
  }

  async #whole<T>(operation: () => T): Promise<T> {
    return await whileBusy(this.#path, this.#options, () => {
      if (!this.#db.isOpen) throw closed(this.#path);
      // Who puts another file in its place, a backup say, must not be answered from the one that is gone.
      if (fileIdentity(this.#path) !== this.#file) {
        throw unreadableFile(this.#path, "the file was replaced or removed while it was open");
      }
      return operation();
    });
  }

  #statement(sql: string): StatementSync {
    const known = this.#statements.get(sql);
    if (known !== undefined) return known;
    const made = this.#db.prepare(sql);
    this.#statements.set(sql, made);
    return made;
  }

  #one(sql: string, ...values: readonly SQLInputValue[]): Row | undefined {
    return this.#statement(sql).get(...values);
  }

  #all(sql: string, ...values: readonly SQLInputValue[]): readonly Row[] {
    return this.#statement(sql).all(...values);
  }

  #change(sql: string, ...values: readonly SQLInputValue[]): number {
    return Number(this.#statement(sql).run(...values).changes);
  }
}
