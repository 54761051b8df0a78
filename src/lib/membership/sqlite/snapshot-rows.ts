import type { DatabaseSync } from "node:sqlite";
import type { MembershipSnapshot } from "../records.ts";
import { checkSnapshot, countRecords } from "../snapshot.ts";
import type { RowReader } from "./rows.ts";

/** Progress is told after so many records. */
const RECORDS_PER_NOTICE = 1_000;

/** Everything, in the order of a snapshot. The caller has a transaction open. */
export function readSnapshot(db: DatabaseSync, rows: RowReader): MembershipSnapshot {
  const all = <T>(sql: string, read: (row: Parameters<RowReader["pool"]>[0]) => T): readonly T[] =>
    Array.from(db.prepare(sql).iterate(), read);
  return {
    format: 1,
    pools: all("select * from pools order by id", rows.pool),
    members: all("select * from members order by pool, endpoint", rows.member),
    sealedKeys: all("select * from sealed_keys order by pool, epoch, member", rows.sealedKey),
    operators: all("select * from operators order by id", rows.operator),
  };
}

/** Puts a snapshot in the place of all that is there. The caller has a transaction open, so it is all or nothing. */
export function writeSnapshot(
  db: DatabaseSync,
  snapshot: MembershipSnapshot,
  onProgress: (done: number, total: number) => void,
): void {
  const { pools, members, sealedKeys, operators } = checkSnapshot(snapshot);
  const total = countRecords(snapshot);
  let done = 0;
  const each = <T>(records: readonly T[], write: (record: T) => unknown): void => {
    for (const record of records) {
      write(record);
      done += 1;
      if (done % RECORDS_PER_NOTICE === 0 || done === total) onProgress(done, total);
    }
  };
  // Members and sealed keys go with their pools.
  db.exec("delete from pools; delete from operators");
  const pool = db.prepare(
    "insert into pools (id, name, encrypted, owner, epoch, created_at) values (?, ?, ?, ?, ?, ?)",
  );
  each(pools, ({ id, name, encrypted, owner, epoch, createdAt }) =>
    pool.run(id, name, Number(encrypted), owner, epoch, createdAt),
  );
  const member = db.prepare(
    "insert into members (pool, endpoint, name, role, joined_at, applied_epoch) values (?, ?, ?, ?, ?, ?)",
  );
  each(members, ({ pool: id, endpoint, name, role, joinedAt, appliedEpoch }) =>
    member.run(id, endpoint, name, role, joinedAt, appliedEpoch),
  );
  const key = db.prepare("insert into sealed_keys (pool, epoch, member, sealed) values (?, ?, ?, ?)");
  each(sealedKeys, (record) => key.run(record.pool, record.epoch, record.member, record.sealed));
  const operator = db.prepare("insert into operators (id, role, status, name, created_at) values (?, ?, ?, ?, ?)");
  each(operators, ({ id, role, status, name, createdAt }) => operator.run(id, role, status, name, createdAt));
}
