import { runDeduction } from "../../src/lib/billing/deduction.ts";
import { hourlyFee } from "../../src/lib/billing/fee.ts";
import { formatHour, type Hour, hourKey } from "../../src/lib/billing/hour.ts";
import { formatUnits, parseUnits } from "../../src/lib/billing/money.ts";
import { createPool, type Pool } from "../../src/lib/postgres/pool.ts";
import { startTestPostgres } from "../support/postgres-server.ts";
import { deductionDeps } from "../support/unbilled-ledger.ts";
import { median } from "./measure.ts";

/** `BILLING_USERS=50000 npm run bench billing-hour` for a quick look. */
const USERS = Number(process.env["BILLING_USERS"] ?? 1_000_000);
const FLEET_USERS = Math.min(USERS, Number(process.env["BILLING_FLEET_USERS"] ?? 20_000));
const ROUNDS = Number(process.env["BILLING_ROUNDS"] ?? 5);
const MASTERS = [1, 2, 4] as const;
const FLOOR_RATIO_MAX = 1.5;
const RACE_RATIO_MAX = 1.15;
const FLEET_RATIO_MIN = 50;
const FREE_TIER_BYTES = 524_288_000n;
const POLICY = { freeTierBytes: FREE_TIER_BYTES, fulaPerGibMonth: parseUnits("3") };

/**
 * A server as an operator runs one: every commit is on the disk before it counts. Checkpoints are kept out of the
 * rounds, because whose round they fall into is chance.
 */
const SETTINGS = `
shared_buffers = 2GB
max_wal_size = 16GB
checkpoint_timeout = 1h
fsync = on
synchronous_commit = on
full_page_writes = on
autovacuum = off
`;

/** Accounts with random ids, as hashes of e-mail addresses are, and a ledger whose indexes are not empty. */
async function fill(pool: Pool, first: Hour): Promise<void> {
  await pool.query("insert into billing_mode (mode, first_hour, changed_by) values ('keyed', $1, 'bench')", [
    formatHour(first),
  ]);
  await pool.query("update usage_clock set closed_through = $1", [formatHour(first - 1)]);
  await pool.query(
    `insert into user_credits (user_id, balance_fula, opening_fula)
     select encode(sha256(n::text::bytea), 'hex'), 1000, 1000 from generate_series(1, $1::integer) as n`,
    [USERS],
  );
  await pool.query(
    `insert into user_usage (account_id, bytes, changed_hour)
     select id, $1::bigint + 1 + (hashint8(id)::bigint & 1073741823) * 10, $2 from user_credits`,
    [FREE_TIER_BYTES.toString(), formatHour(first - 1)],
  );
  await pool.query("vacuum analyze");
}

/** What comes before each round, and does not count: dead rows go, and what was written so far is on the disk. */
async function settle(pool: Pool): Promise<void> {
  await pool.query("vacuum analyze user_credits");
  await pool.query("checkpoint");
}

/** Lets the federation's first hour be `hour`, and everything after it be waived: one look then bills one hour. */
async function onlyHour(pool: Pool, hour: Hour): Promise<void> {
  await pool.query("update billing_mode set first_hour = $1", [formatHour(hour)]);
  await pool.query(
    `insert into billing_hours (hour, state, free_tier_bytes, fula_per_gib_month, began_by)
     select h, 'waived', 0, 0, 'bench'
       from generate_series($1::timestamptz + interval '1 hour', now() - interval '1 hour', interval '1 hour') as h
         on conflict do nothing`,
    [formatHour(hour)],
  );
  await pool.query("delete from billing_hours where hour = $1", [formatHour(hour)]);
}

async function timed(work: () => Promise<unknown>): Promise<number> {
  const startedMs = performance.now();
  await work();
  return performance.now() - startedMs;
}

/** The masters race without a lease, each with connections of its own: with one they would stand in line. */
async function billHour(pools: readonly Pool[], masters: number, hour: Hour): Promise<number> {
  const [pool] = pools;
  if (pool === undefined) throw new Error("no pool");
  await onlyHour(pool, hour);
  await settle(pool);
  const ms = await timed(
    async () =>
      await Promise.all(
        pools
          .slice(0, masters)
          .map(async (own, index) => await runDeduction(deductionDeps(own, { node: `fula-${index}` }))),
      ),
  );
  const { rows } = await pool.query<{ users: string | null }>("select users from billing_hours where hour = $1", [
    formatHour(hour),
  ]);
  if (Number(rows[0]?.users) !== USERS) throw new Error(`${rows[0]?.users} of ${USERS} users were charged`);
  return ms;
}

/** The least that anyone could do: the same rows into the ledger, and onto the balances, with nothing looked at. */
async function bareHour(pool: Pool, hour: Hour): Promise<number> {
  await pool.query("drop table if exists same_rows");
  await pool.query(
    `create table same_rows as
     select a.id, a.user_id, f.fee, a.balance_fula - f.fee as balance_after, u.bytes
       from user_credits a join user_usage u on u.account_id = a.id
      cross join lateral (select hourly_fee(u.bytes, $1, 3)::numeric(38, 18) as fee) as f order by a.id`,
    [FREE_TIER_BYTES.toString()],
  );
  await pool.query("analyze same_rows");
  await settle(pool);
  return await timed(async () => {
    await pool.query(
      `insert into credit_history (user_id, tx_type, amount_fula, balance_after, reference_id, usage_bytes)
       select user_id, 'hourly_deduction', -fee, balance_after, $1, bytes from same_rows`,
      [hourKey(hour)],
    );
    await pool.query(
      `update user_credits a
          set balance_fula = s.balance_after, total_deducted_fula = a.total_deducted_fula + s.fee,
              last_deduction_at = now(), billed_hour = $1
         from same_rows s where s.id = a.id`,
      [formatHour(hour)],
    );
  });
}

/** One user as the older fleet charges: a transaction of four statements beside begin and commit. */
async function fleetUser(pool: Pool, userId: string, bytes: bigint, key: string): Promise<void> {
  const fee = formatUnits(hourlyFee(bytes, POLICY));
  const client = await pool.connect();
  try {
    await client.query("begin");
    const { rows } = await client.query<{ balance_fula: string }>(
      "select balance_fula, is_suspended from user_credits where user_id = $1 for update",
      [userId],
    );
    const after = formatUnits(parseUnits(rows[0]?.balance_fula ?? "0") - parseUnits(fee));
    const entered = await client.query(
      `insert into credit_history (user_id, tx_type, amount_fula, balance_after, reference_id)
       values ($1, 'hourly_deduction', -$2::numeric, $3, $4)
       on conflict (user_id, reference_id) where tx_type = 'hourly_deduction' do nothing returning id`,
      [userId, fee, after, key],
    );
    if (entered.rowCount === 1) {
      await client.query(
        `update user_credits set balance_fula = balance_fula - $2::numeric, total_deducted_fula = total_deducted_fula + $2::numeric,
                last_deduction_at = now(), is_suspended = 0 where user_id = $1`,
        [userId, fee],
      );
    }
    await client.query("commit");
  } finally {
    client.release();
  }
}

/** Four masters of the older fleet that race through the same users. @returns users a second */
async function fleetRate(pools: readonly Pool[], hour: Hour): Promise<number> {
  const [pool] = pools;
  if (pool === undefined) throw new Error("no pool");
  const { rows } = await pool.query<{ user_id: string; bytes: string }>(
    "select a.user_id, u.bytes from user_credits a join user_usage u on u.account_id = a.id order by a.id limit $1",
    [FLEET_USERS],
  );
  await settle(pool);
  const ms = await timed(
    async () =>
      await Promise.all(
        pools.map(async (own) => {
          for (const { user_id: userId, bytes } of rows) await fleetUser(own, userId, BigInt(bytes), hourKey(hour));
        }),
      ),
  );
  return (FLEET_USERS / ms) * 1_000;
}

function judge(what: string, ratio: number, isMet: boolean, bound: string): void {
  console.log(`${what}: ${ratio.toFixed(2)}; ${bound}: ${isMet ? "met" : "NOT MET"}`);
  if (!isMet) process.exitCode = 1;
}

/** One hour for all users: against the bare rows, by one, two and four masters, and beside the older fleet's way. */
export async function bench(): Promise<void> {
  const { postgres, stop } = await startTestPostgres(SETTINGS);
  const { host, port, superuser, template } = postgres;
  const pools = Array.from({ length: 4 }, (_, index) =>
    createPool({ host, port, database: template, ...superuser, part: "bench", node: `fula-${index}` }),
  );
  try {
    const [pool] = pools;
    if (pool === undefined) throw new Error("no pool");
    const { rows } = await pool.query<{ hour: string }>("select floor(extract(epoch from now()) / 3600) as hour");
    // Hours of the past, one a round: the newest last, since watermarks only rise.
    const hoursNeeded = (ROUNDS + 1) * (MASTERS.length + 1) + 1;
    let next = Number(rows[0]?.hour) - hoursNeeded - 1;
    await fill(pool, next);
    const bare: number[] = [];
    const ours = new Map<number, number[]>(MASTERS.map((masters) => [masters, []]));
    for (let round = -1; round < ROUNDS; round += 1) {
      const bareMs = await bareHour(pool, next++);
      if (round >= 0) bare.push(bareMs);
      for (const masters of MASTERS) {
        const ms = await billHour(pools, masters, next++);
        if (round >= 0) ours.get(masters)?.push(ms);
      }
    }
    const rate = (ms: number): number => (USERS / ms) * 1_000;
    console.log(`${USERS} users: bare rows ${Math.round(rate(median(bare)))} users/s`);
    for (const [masters, ms] of ours) console.log(`  ${masters} masters: ${Math.round(rate(median(ms)))} users/s`);
    const one = median(ours.get(1) ?? []);
    const four = median(ours.get(4) ?? []);
    const floor = one / median(bare);
    judge("one master to the bare rows", floor, floor <= FLOOR_RATIO_MAX, `allowed are ${FLOOR_RATIO_MAX}`);
    judge("four masters to one", four / one, four / one <= RACE_RATIO_MAX, `allowed are ${RACE_RATIO_MAX}`);
    const fleet = await fleetRate(pools, next);
    console.log(`the older fleet's way, 4 masters, ${FLEET_USERS} users: ${Math.round(fleet)} users/s`);
    const faster = rate(four) / fleet;
    judge("four masters to the older fleet's", faster, faster >= FLEET_RATIO_MIN, `at least ${FLEET_RATIO_MIN}`);
  } finally {
    await Promise.all(pools.map(async (pool) => await pool.end()));
    await stop();
  }
}
