import type { Pool } from "../postgres/pool.ts";
import { type TransactionClient, withTransaction } from "../postgres/transaction.ts";
import type { UsageDifference } from "./reconcile.ts";
import { CONTENTS_OF_USERS } from "./usage-contents.ts";

async function accountOf(client: TransactionClient, { accountId, userId }: UsageDifference): Promise<string> {
  if (accountId !== null) return accountId.toString();
  await client.query({
    name: "reconcile_new_account",
    text: `
      insert into user_credits (user_id)
      select $1::text where not exists (select from user_credits where user_id = $1::text)
          on conflict (user_id) do nothing`,
    values: [userId],
  });
  const { rows } = await client.query<{ id: string }>({
    name: "reconcile_account",
    text: "select id from user_credits where user_id = $1",
    values: [userId],
  });
  const row = rows[0];
  if (row === undefined) throw new Error(`user_credits has no row for ${userId}`);
  return row.id;
}

/**
 * Takes the lock that every change of the account's pins and buckets takes, and the open hour; puts into history what the account was
 * billed by since its last change, where history does not say so.
 * @returns the hour as PostgreSQL writes it
 */
async function lockAccount(client: TransactionClient, account: string): Promise<string> {
  await client.query({
    name: "reconcile_new_usage",
    text: "insert into user_usage (account_id) values ($1) on conflict (account_id) do nothing",
    values: [account],
  });
  await client.query({
    name: "reconcile_lock",
    text: "select from user_usage where account_id = $1 for update",
    values: [account],
  });
  await client.query({
    name: "reconcile_past",
    text: `
      insert into usage_history as h (account_id, hour, bytes)
      select account_id, changed_hour, bytes from user_usage where account_id = $1 and changed_hour > '-infinity'
          on conflict (account_id, hour) do update set bytes = excluded.bytes where h.bytes <> excluded.bytes`,
    values: [account],
  });
  const { rows } = await client.query<{ hour: string }>({
    name: "reconcile_hour",
    text: "select hold_usage_hour()::text as hour",
  });
  return rows[0]?.hour ?? "";
}

/**
 * Sets right what is kept for one account, from its pins and buckets as they are by then, and writes down who had it done. It belongs
 * to the open hour: what was stored at the end of hours that are over stays as it was billed.
 * @param operator who is written down in `admin_audit_log`
 * @returns the bytes that are kept from now on
 */
export async function repairUsage(
  pool: Pool,
  difference: UsageDifference,
  { operator, signal }: { readonly operator: string; readonly signal?: AbortSignal },
): Promise<bigint> {
  return await withTransaction(
    pool,
    async (client) => {
      const account = await accountOf(client, difference);
      const hour = await lockAccount(client, account);
      const { rows } = await client.query<{ bytes: string }>({
        name: "reconcile_repair",
        text: `
          with found as materialized (
            select s.cid, s.bytes
              from (${CONTENTS_OF_USERS}) s
             where s.user_id = (select user_id from user_credits where id = $1)
          ), dropped as (
            delete from stored_contents c
             where c.account_id = $1 and not exists (select from found f where f.cid = c.cid)
          ), noted as (
            insert into stored_contents as c (account_id, cid, bytes)
            select $1, cid, bytes from found
                on conflict (account_id, cid) do update set bytes = excluded.bytes where c.bytes <> excluded.bytes
          ), kept as (
            update user_usage u
               set bytes = least((select coalesce(sum(bytes), 0) from found), 9223372036854775807),
                   changed_hour = greatest(u.changed_hour, $2::timestamptz,
                                           (select max(hour) from usage_history where account_id = $1))
             where u.account_id = $1
            returning u.bytes, u.changed_hour
          ), history as (
            insert into usage_history (account_id, hour, bytes)
            select $1, changed_hour, bytes from kept
                on conflict (account_id, hour) do update set bytes = excluded.bytes
          ), audited as (
            insert into admin_audit_log (actor, action, target_id, details)
            select $3, 'billing.reconcile', a.user_id,
                   jsonb_build_object('bytesBefore', $4::text, 'bytes', kept.bytes::text, 'contents', $5::bigint)
              from kept, user_credits a where a.id = $1
          )
          select bytes from kept`,
        values: [account, hour, operator, difference.bytesKept.toString(), difference.contents],
      });
      return BigInt(rows[0]?.bytes ?? 0);
    },
    signal === undefined ? {} : { signal },
  );
}
