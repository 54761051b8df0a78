import { Client } from "pg";
import { hourlyFee } from "../../src/lib/billing/fee.ts";
import { formatUnits, parseUnits } from "../../src/lib/billing/money.ts";
import { usageAtSql } from "../../src/lib/billing/usage-sql.ts";
import { type Clock, systemClock } from "../../src/lib/kernel/clock.ts";
import { applicationName } from "../../src/lib/postgres/pool.ts";
import type { MasterOrders } from "./cron-worker.ts";

const POLL_MS = 100;

async function openClient(as: MasterOrders, part: string): Promise<Client> {
  const { host, port, database, user, password, node } = as;
  const name = applicationName(part, node);
  const client = new Client({ host, port, database, user, password, application_name: name });
  client.on("error", () => {});
  await client.connect();
  return client;
}

/** Charges one hour in five statements, each committed by itself: whoever stops between two of them leaves books that are wrong. */
async function chargeHour(client: Client, as: MasterOrders, hour: Date): Promise<void> {
  const start = hour.toISOString();
  const key = `hour:${start.slice(0, 13)}`;
  await client.query(
    `insert into billing_hours (hour, state, free_tier_bytes, fula_per_gib_month, began_by)
     values ($1, 'open', $2, $3, $4) on conflict do nothing`,
    [start, as.freeTierBytes, as.fulaPerGibMonth, as.node],
  );
  const { rows } = await client.query<{ user_id: string; balance: string; bytes: string }>(
    `select c.user_id, c.balance_fula as balance, s.bytes
       from user_credits c
       join (select u.account_id, ${usageAtSql("u", "$1::timestamptz")} as bytes from user_usage u) s on s.account_id = c.id
      where s.bytes > $2
        and not exists (select from credit_history e where e.user_id = c.user_id and e.reference_id = $3)
      order by c.id`,
    [start, as.freeTierBytes, key],
  );
  const policy = { freeTierBytes: BigInt(as.freeTierBytes), fulaPerGibMonth: parseUnits(as.fulaPerGibMonth) };
  const userIds = rows.map((row) => row.user_id);
  const fees = rows.map((row) => hourlyFee(BigInt(row.bytes), policy));
  await client.query(
    `insert into credit_history (user_id, tx_type, amount_fula, balance_after, reference_id, usage_bytes)
     select user_id, 'hourly_deduction', -fee, after, $1, bytes
       from unnest($2::text[], $3::numeric[], $4::numeric[], $5::bigint[]) as t (user_id, fee, after, bytes)`,
    [
      key,
      userIds,
      fees.map(formatUnits),
      rows.map((row, index) => formatUnits(parseUnits(row.balance) - (fees[index] ?? 0n))),
      rows.map((row) => row.bytes),
    ],
  );
  await client.query(
    `update user_credits c
        set balance_fula = balance_fula - t.amount, total_deducted_fula = coalesce(total_deducted_fula, 0) + t.amount,
            billed_hour = $3,
            is_suspended = case when balance_fula < t.amount then 1 else is_suspended end,
            suspended_at = case when balance_fula < t.amount then coalesce(suspended_at, now()) else suspended_at end
       from unnest($1::text[], $2::numeric[]) as t (user_id, amount) where c.user_id = t.user_id`,
    [userIds, fees.map(formatUnits), start],
  );
  await client.query(
    `update billing_hours h
        set state = 'done', ended_at = clock_timestamp(), ended_by = $2, users = l.users, sum_fula = l.sum_fula, conflicts = 0
       from (select count(*) as users, coalesce(-sum(amount_fula), 0) as sum_fula from credit_history where reference_id = $3) l
      where h.hour = $1`,
    [start, as.node, key],
  );
}

async function billEverything(as: MasterOrders, client: Client, signal: AbortSignal): Promise<void> {
  while (!signal.aborted) {
    const { rows } = await client.query<{ hour: Date }>(
      `select hour from billing_mode, generate_series(first_hour, date_trunc('hour', now(), 'UTC') - interval '1 hour', interval '1 hour') as hour
        where not exists (select from billing_hours b where b.hour = hour.hour and b.state = 'done') order by hour limit 1`,
    );
    const hour = rows[0]?.hour;
    if (hour === undefined) break;
    await chargeHour(client, as, hour);
  }
  await client.query(
    `update user_credits c set is_suspended = 0, suspended_at = null
       from user_usage u where u.account_id = c.id and c.is_suspended = 1 and u.bytes <= $1`,
    [as.freeTierBytes],
  );
}

/** One turn of being a master: stands by, and bills once it has the advisory lock; looked at no more after that. */
async function takeTurn(as: MasterOrders, clock: Clock, signal: AbortSignal): Promise<void> {
  await using clients = new AsyncDisposableStack();
  const open = async (part: string): Promise<Client> => {
    const client = await openClient(as, part);
    clients.defer(async () => {
      // A connection that swallows everything does not end by itself.
      await Promise.race([client.end().catch(() => {}), clock.sleep(POLL_MS)]);
    });
    return client;
  };
  const lease = await open("lease");
  while (!signal.aborted) {
    const { rows } = await lease.query<{ free: boolean }>("select pg_try_advisory_lock(815551001) as free");
    if (rows[0]?.free === true) {
      await billEverything(as, await open("cron"), signal);
      await lease.query("select pg_advisory_unlock(815551001)");
    }
    await clock.sleep(POLL_MS, signal).catch(() => {});
  }
}

/**
 * Bills as a master would that trusts in things going well: a lease that is looked at once, no fence, and statements that
 * only together are right. Where nothing fails, its books are.
 */
export async function serveFragile(as: MasterOrders, signal: AbortSignal): Promise<void> {
  const ended = Promise.withResolvers<void>();
  signal.addEventListener("abort", () => {
    ended.resolve();
  });
  while (!signal.aborted) {
    // What hangs when the end is told is left behind.
    await Promise.race([takeTurn(as, systemClock, signal).catch(() => {}), ended.promise]);
    await systemClock.sleep(POLL_MS, signal).catch(() => {});
  }
}
