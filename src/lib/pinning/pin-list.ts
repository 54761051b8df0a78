import type { Pool } from "../postgres/pool.ts";
import { runQuery } from "../postgres/run-query.ts";
import type { NameMatch, PinFilter } from "./pin-filter.ts";
import { PIN_COLUMNS, type PinRecord, pinRecordOf, type PinRow } from "./pin-record.ts";

/** A page of a user's requests, newest first. */
export interface PinPage {
  /** All that the filter lets through, not only those on the page. */
  readonly count: number;
  readonly records: readonly PinRecord[];
}

interface Condition {
  /** Becomes part of the statement's name: each combination is a text of its own, planned for what is asked. */
  readonly key: string;
  readonly sql: (parameter: () => string) => string;
  readonly values: readonly unknown[];
}

// Lower case is made here on both sides: what PostgreSQL makes of letters beyond ASCII depends on its locale.
const LOWER_NAME = "coalesce(nullif(name_lowercase, ''), lower(name))";
const NAME_SQL: Readonly<Record<NameMatch, (value: string) => string>> = {
  exact: (value) => `name = ${value}`,
  iexact: (value) => `${LOWER_NAME} = ${value}`,
  partial: (value) => `position(${value} in name) > 0`,
  ipartial: (value) => `position(${value} in ${LOWER_NAME}) > 0`,
};

function conditionsOf(userId: string, filter: PinFilter): readonly Condition[] {
  const { contents, name, statuses, before, after, meta } = filter;
  const conditions: (Condition | null)[] = [
    { key: "user", sql: (next) => `user_id = ${next()}`, values: [userId] },
    // The index has no others, and is taken only where that is said.
    { key: "", sql: () => "status <> 'deleted'", values: [] },
    { key: "status", sql: (next) => `status = any(${next()}::text[])`, values: [statuses] },
    contents && {
      key: "cid",
      // Rows that other software wrote have no key until a worker has looked at them.
      sql: (next) => `(cid_key = any(${next()}::text[]) or (cid_key is null and cid = any(${next()}::text[])))`,
      values: [contents.keys, contents.spellings],
    },
    name && {
      key: name.match,
      sql: (next) => NAME_SQL[name.match](`${next()}::text`),
      values: [name.match.startsWith("i") ? name.text.toLowerCase() : name.text],
    },
    before === null ? null : { key: "before", sql: (next) => `created_at < ${next()}::timestamptz`, values: [before] },
    after === null ? null : { key: "after", sql: (next) => `created_at > ${next()}::timestamptz`, values: [after] },
    meta && { key: "meta", sql: (next) => `pin_meta(meta) @> ${next()}::jsonb`, values: [JSON.stringify(meta)] },
  ];
  return conditions.filter((condition) => condition !== null);
}

/**
 * A page of an account's requests and how many there are, as they stand at one moment. A page ends between two times of
 * creation and never among requests of the same one, or the rest of those would be on no page: rows that other software
 * wrote in one transaction have one time, and then a page may be longer than was asked for.
 * @param userId the account, 64 hex digits
 */
export async function listPins(pool: Pool, userId: string, filter: PinFilter): Promise<PinPage> {
  const values: unknown[] = [];
  const where = conditionsOf(userId, filter)
    .map((condition) => {
      let taken = 0;
      const next = (): string => `$${values.length + ++taken}`;
      const sql = condition.sql(next);
      values.push(...condition.values);
      return sql;
    })
    .join(" and ");
  const keys = conditionsOf(userId, filter).map(({ key }) => key);
  const { rows } = await runQuery<{ readonly total: string } & (PinRow | { readonly requestid: null })>(pool, {
    name: `pin_list_${keys.filter((key) => key !== "").join("_")}`,
    text: `
      with page as (
        select ${PIN_COLUMNS}, created_at from pins where ${where}
         order by created_at desc fetch first $${values.length + 1} rows with ties
      )
      select t.total, p.*
        from (select count(*) as total from pins where ${where}) t
        left join page p on true
       order by p.created_at desc, p.requestid`,
    values: [...values, filter.limit],
  });
  return {
    count: Number(rows[0]?.total ?? 0),
    records: rows.filter((row) => row.requestid !== null).map(pinRecordOf),
  };
}

/** A user's request; null where there is none of that id, or another user's. @param userId the account */
export async function findPin(pool: Pool, userId: string, requestId: string): Promise<PinRecord | null> {
  const { rows } = await runQuery<PinRow>(pool, {
    name: "pin_find",
    text: `select ${PIN_COLUMNS} from pins where requestid = $1 and user_id = $2 and status <> 'deleted'`,
    values: [requestId, userId],
  });
  const [row] = rows;
  return row === undefined ? null : pinRecordOf(row);
}
