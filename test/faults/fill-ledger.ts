import type { Pool } from "../../src/lib/postgres/pool.ts";
import { withTransaction } from "../../src/lib/postgres/transaction.ts";
import type { Scenario } from "./scenario.ts";

const HOUR_MS = 3_600_000;

function atHour(firstHourMs: number, hour: number): string {
  return new Date(firstHourMs + hour * HOUR_MS).toISOString();
}

/**
 * Cuts each hour's accounts into so many shards as they are made, where the engine would begin a second one with the
 * ten-thousandth account: masters that race shall have something to share.
 */
const splitShards = (shards: number): string => `
  create function split_shard() returns trigger
  language plpgsql
  as $$
  declare
    width constant bigint := greatest(1, (select count(*) from user_credits) / ${shards});
  begin
    insert into billing_shards (hour, shard, id_from, id_to)
    select new.hour, part, part * width, case when part < ${shards - 1} then (part + 1) * width end
      from generate_series(1, ${shards - 1}) as part;
    update billing_shards set id_to = width where hour = new.hour and shard = 0;
    return null;
  end
  $$;
  create trigger split_shard after insert on billing_shards
    for each row when (pg_trigger_depth() = 0) execute function split_shard()`;

/**
 * Makes a fresh ledger one whose masters have been down since hour 0: accounts with a balance, what they stored in each
 * hour, one pin each that adds up to what they store now, and who brought whom.
 * @returns the start of hour 0, UTC: the scenario's hours before the one that runs by the database's clock
 */
export async function fillLedger(pool: Pool, { seed, shards, hours, accounts }: Scenario): Promise<number> {
  return await withTransaction(pool, async (client) => {
    const { rows } = await client.query<{ now_ms: number }>(
      "select (extract(epoch from date_trunc('hour', now(), 'UTC')) * 1000)::float8 as now_ms",
    );
    const firstHourMs = (rows[0]?.now_ms ?? Number.NaN) - hours * HOUR_MS;
    const userIds = accounts.map(({ userId }) => userId);
    const changes = accounts.flatMap(({ userId, usage }) => usage.map((change) => ({ userId, ...change })));
    await client.query(
      `insert into user_credits (user_id, balance_fula, opening_fula)
       select user_id, units * 1e-18, units * 1e-18 from unnest($1::text[], $2::numeric[]) as t (user_id, units)`,
      [userIds, accounts.map(({ openingUnits }) => openingUnits.toString())],
    );
    const referred = accounts.filter(({ referrer }) => referrer !== null);
    await client.query("insert into webui_users (user_id) select unnest($1::text[])", [userIds]);
    await client.query(
      "insert into referral_codes (code, user_id) select 'code-' || u, u from unnest($1::text[]) as u",
      [userIds],
    );
    await client.query(
      `insert into referrals (referral_code, referrer_id, referred_id)
       select 'code-' || referrer, referrer, referred from unnest($1::text[], $2::text[]) as t (referrer, referred)`,
      [referred.map(({ referrer }) => userIds[referrer ?? 0]), referred.map(({ userId }) => userId)],
    );
    await client.query("insert into user_usage (account_id) select id from user_credits order by id");
    await client.query(
      `insert into usage_history (account_id, hour, bytes)
       select c.id, t.hour, t.bytes
         from unnest($1::text[], $2::timestamptz[], $3::bigint[]) as t (user_id, hour, bytes) join user_credits c using (user_id)`,
      [
        changes.map(({ userId }) => userId),
        changes.map(({ hour }) => atHour(firstHourMs, hour)),
        changes.map(({ bytes }) => bytes),
      ],
    );
    await client.query(
      `update user_usage u set bytes = h.bytes, changed_hour = h.hour
         from (select distinct on (account_id) account_id, hour, bytes from usage_history order by account_id, hour desc) h
        where h.account_id = u.account_id`,
    );
    // As the triggers would have left it, had each change been made in its hour.
    await client.query("alter table pins disable trigger user");
    await client.query(
      `insert into pins (requestid, user_id, cid, status, size)
       select $1::text || '-' || c.id, c.user_id, 'stored', 'pinned', u.bytes
         from user_usage u join user_credits c on c.id = u.account_id where u.bytes > 0`,
      [String(seed)],
    );
    await client.query("alter table pins enable trigger user");
    await client.query(
      "insert into stored_contents (account_id, cid, bytes) select account_id, 'stored', bytes from user_usage where bytes > 0",
    );
    await client.query("update usage_clock set closed_through = $1", [atHour(firstHourMs, -1)]);
    await client.query(
      "insert into billing_mode (mode, first_hour, changed_by) values ('keyed', $1, 'test') on conflict (only_row) do nothing",
      [atHour(firstHourMs, 0)],
    );
    await client.query(splitShards(shards));
    return firstHourMs;
  });
}
