import { hourlyFee } from "../../src/lib/billing/fee.ts";
import { formatUnits, parseUnits } from "../../src/lib/billing/money.ts";
import type { Pool } from "../../src/lib/postgres/pool.ts";
import { leaveHourEnd } from "./hours.ts";

const GIB = 2n ** 30n;
const POLICY = { freeTierBytes: 524_288_000n, fulaPerGibMonth: parseUnits("3") };
const DEPOSIT = parseUnits("100");

/** Bytes that each account stores at first, and from the third hour on. */
const STORED: readonly (readonly [bigint, bigint])[] = [
  [10n * GIB, 10n * GIB],
  [2n * GIB, 7n * GIB],
  [1n * GIB, 1n],
  [524_288_000n, 524_288_000n],
];

/** A user's id: 64 hex digits, ending with the number. */
export function userOf(number: number): string {
  return number.toString(16).padStart(64, "a");
}

/** `hour:2026-11-20T03`, so many hours before the one that runs. */
const KEY_AGO = `to_char(date_trunc('hour', now() at time zone 'UTC') - $1::integer * interval '1 hour', '"hour:"YYYY-MM-DD"T"HH24')`;

/** The key of the hour that began so many hours before the one that runs. */
export async function keyAgo(pool: Pool, hoursAgo: number): Promise<string> {
  const { rows } = await pool.query<{ key: string }>(`select ${KEY_AGO} as key`, [hoursAgo]);
  return rows[0]?.key ?? "";
}

async function addAccount(pool: Pool, number: number, hours: number): Promise<string> {
  const { rows } = await pool.query<{ id: string }>("insert into user_credits (user_id) values ($1) returning id", [
    userOf(number),
  ]);
  const id = rows[0]?.id ?? "";
  const [first = 0n, then = 0n] = STORED[number] ?? [];
  const hourAgo = "date_trunc('hour', now(), 'UTC') - $2::integer * interval '1 hour'";
  await pool.query(`insert into user_usage (account_id, bytes, changed_hour) values ($1, $3, ${hourAgo})`, [
    id,
    first === then ? hours : hours - 2,
    then.toString(),
  ]);
  await pool.query(`insert into usage_history (account_id, hour, bytes) values ($1, ${hourAgo}, $3)`, [
    id,
    hours,
    first.toString(),
  ]);
  if (first !== then) {
    await pool.query(`insert into usage_history (account_id, hour, bytes) values ($1, ${hourAgo}, $3)`, [
      id,
      hours - 2,
      then.toString(),
    ]);
  }
  await pool.query("insert into stored_contents (account_id, cid, bytes) values ($1, 'bafy', $2)", [
    id,
    then.toString(),
  ]);
  const hash = `0x${number.toString().padStart(64, "0")}`;
  await credit(pool, number, "deposit", DEPOSIT, `8453:${hash}:0`);
  await pool.query(
    `insert into token_transactions (tx_hash, chain_id, log_index, from_address, to_address, amount_raw, amount_fula,
                                     block_number, block_timestamp, user_id, claimed_at, entry_id)
     select $1, 8453, 0, '0xfrom', '0xvault', '100000000000000000000', amount_fula, 1, 1, user_id, now(), id
       from credit_history where reference_id = $2`,
    [hash, `8453:${hash}:0`],
  );
  return id;
}

/** Writes one entry, with its balance and totals. */
async function credit(pool: Pool, number: number, type: string, units: bigint, reference: string): Promise<void> {
  const total = type === "deposit" ? "total_deposited_fula" : "total_deducted_fula";
  await pool.query(
    `with c as (
       update user_credits set balance_fula = coalesce(balance_fula, 0) + $3::numeric, ${total} = coalesce(${total}, 0) + abs($3::numeric)
        where user_id = $1 returning balance_fula
     )
     insert into credit_history (user_id, tx_type, amount_fula, balance_after, reference_id) select $1, $2, $3, balance_fula, $4 from c`,
    [userOf(number), type, formatUnits(units), reference],
  );
}

/**
 * A ledger that bills by the hour and of which `hours` hours, all that are over, are billed: four accounts, of which two
 * pay for every hour, one for the first two and one never. Written by plain statements, not by what bills.
 */
export async function fillBilledLedger(pool: Pool, hours: number): Promise<void> {
  await leaveHourEnd();
  await pool.query(
    `insert into billing_mode (mode, first_hour, changed_by)
     values ('keyed', date_trunc('hour', now(), 'UTC') - $1::integer * interval '1 hour', 'test')`,
    [hours],
  );
  for (const number of STORED.keys()) await addAccount(pool, number, hours);
  for (let ago = hours; ago > 0; ago -= 1) {
    let users = 0;
    let sum = 0n;
    const key = await keyAgo(pool, ago);
    for (const [number, [first, then]] of STORED.entries()) {
      const bytes = ago > hours - 2 ? first : then;
      const fee = hourlyFee(bytes, POLICY);
      if (fee === 0n) continue;
      users += 1;
      sum += fee;
      await credit(pool, number, "hourly_deduction", -fee, key);
      await pool.query("update credit_history set usage_bytes = $3 where user_id = $1 and reference_id = $2", [
        userOf(number),
        key,
        bytes.toString(),
      ]);
      await pool.query(
        "update user_credits set billed_hour = date_trunc('hour', now(), 'UTC') - $2::integer * interval '1 hour' where user_id = $1",
        [userOf(number), ago],
      );
    }
    await pool.query(
      `with h as (
         insert into billing_hours (hour, state, free_tier_bytes, fula_per_gib_month, began_by, ended_at, ended_by, users, sum_fula, conflicts)
         values (date_trunc('hour', now(), 'UTC') - $1::integer * interval '1 hour', 'done', $2, $3, 'test', now(), 'test', $4, $5, 0)
         returning hour
       )
       insert into billing_shards (hour, shard, id_from, done_at, done_by, users, sum_fula, conflicts)
       select hour, 0, 1, now(), 'test', $4, $5, 0 from h`,
      [ago, POLICY.freeTierBytes.toString(), formatUnits(POLICY.fulaPerGibMonth), users, formatUnits(sum)],
    );
  }
}
