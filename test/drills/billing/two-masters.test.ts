import { readFile } from "node:fs/promises";
import { afterEach, beforeEach, expect, test } from "vitest";
import { hourlyFee } from "../../../src/lib/billing/fee.ts";
import { formatUnits, parseUnits } from "../../../src/lib/billing/money.ts";
import { verifyLedger } from "../../../src/lib/billing/verify.ts";
import { systemClock } from "../../../src/lib/kernel/clock.ts";
import { readLease } from "../../../src/lib/lease/lease-record.ts";
import { startDaemon, stopDaemon } from "../../../src/lib/stack/daemon.ts";
import type { TestDatabase } from "../../support/postgres.ts";
import { makeServingBox, type ServingBox } from "../../support/serving.ts";
import { until } from "../../support/until.ts";

const USER = "d".repeat(64);
const BYTES = 10n * 2n ** 30n;
const FEE = formatUnits(-hourlyFee(BYTES, { freeTierBytes: 524_288_000n, fulaPerGibMonth: parseUnits("3") }));
/** Longer than is waited for anything here: whoever takes over a lease has not waited until it ran out. */
const LEASE_TTL = "10m";
const ACQUIRED = '"acquired cron lease"';
const STANDBY = '"standby (lease held by another master)"';

interface Master {
  readonly name: string;
  readonly box: ServingBox;
  pid: number;
}

let ledger: TestDatabase;
let masters: readonly Master[] = [];

async function start({ name, box }: Omit<Master, "pid">): Promise<Master> {
  const env = { PATH: process.env["PATH"], HOME: process.env["HOME"] };
  const { pid } = await startDaemon(await box.load(), { clock: systemClock, env });
  return { name, box, pid };
}

/** The user and the hours that wait; changes of the hour while the test runs add hours at the end. */
async function seed(hours: number): Promise<void> {
  await ledger.pool.query("insert into user_credits (user_id, balance_fula, opening_fula) values ($1, 1000, 1000)", [
    USER,
  ]);
  await ledger.pool.query(
    `with account as (
       insert into user_usage (account_id, bytes, changed_hour)
       select id, $1::bigint, date_trunc('hour', now(), 'UTC') - interval '30 days' from user_credits returning account_id, changed_hour
     ), stored as (
       insert into stored_contents (account_id, cid, bytes) select account_id, 'bafy', $1::bigint from account
     )
     insert into usage_history (account_id, hour, bytes) select account_id, changed_hour, $1::bigint from account`,
    [BYTES.toString()],
  );
  await ledger.pool.query(
    `insert into billing_mode (mode, first_hour, changed_by)
     values ('keyed', date_trunc('hour', now(), 'UTC') - $1::integer * interval '1 hour', 'test')`,
    [hours],
  );
}

beforeEach(async () => {
  const settings = { billing: { enabled: "on", leaseTtl: LEASE_TTL } };
  const first = await makeServingBox(settings);
  const second = await makeServingBox(settings, first);
  ledger = first.database;
  await seed(3);
  // The last two hours are settled for now, so that there is something left to bill after each change of leader.
  await ledger.pool.query(
    `insert into billing_hours (hour, state, free_tier_bytes, fula_per_gib_month, began_by)
     select first_hour + n * interval '1 hour', 'waived', 0, 0, 'test' from billing_mode, generate_series(1, 2) as n`,
  );
  masters = [await start({ name: "box-1", box: first }), await start({ name: "box-2", box: second })];
});

afterEach(async () => {
  for (const { box } of masters.toReversed()) {
    await stopDaemon(await box.load(), { clock: systemClock, env: {} }, { force: true });
    await box[Symbol.asyncDispose]();
  }
});

async function logOf({ box }: Master): Promise<string> {
  return await readFile((await box.load()).paths.serveLogFile, "utf8");
}

async function leaderOf(): Promise<{ readonly leader: Master; readonly standby: Master }> {
  const { holder } = await readLease(ledger.pool);
  const leader = masters.find(({ name }) => name === holder);
  const standby = masters.find(({ name }) => name !== holder);
  if (leader === undefined || standby === undefined) throw new Error(`${holder ?? "nobody"} leads`);
  return { leader, standby };
}

/** What the user paid for the hour that is `place`th from the first one. */
async function chargesFor(place: number): Promise<readonly string[]> {
  const { rows } = await ledger.pool.query<{ amount: string }>(
    `select e.amount_fula as amount from credit_history e, billing_mode m
      where e.user_id = $1 and e.reference_id = to_char((m.first_hour + $2::integer * interval '1 hour') at time zone 'UTC', '"hour:"YYYY-MM-DD"T"HH24')`,
    [USER, place],
  );
  return rows.map(({ amount }) => formatUnits(parseUnits(amount)));
}

async function leaveHour(place: number): Promise<void> {
  await ledger.pool.query(
    "delete from billing_hours where state = 'waived' and hour = (select first_hour + $1::integer * interval '1 hour' from billing_mode)",
    [place],
  );
}

test("two masters on one ledger bill every hour once, whoever of them is killed or stopped", async () => {
  await until("the first hour is billed", async () => (await chargesFor(0)).length > 0);
  const first = await leaderOf();
  await until("the other one stands by", async () => (await logOf(first.standby)).includes(STANDBY));
  await until("the one that leads has said so", async () => (await logOf(first.leader)).includes(ACQUIRED));
  expect(await logOf(first.leader)).not.toContain(STANDBY);
  expect(await logOf(first.standby)).not.toContain(ACQUIRED);
  expect(await chargesFor(0)).toEqual([FEE]);

  await leaveHour(1);
  const { epoch } = await readLease(ledger.pool);
  process.kill(first.leader.pid, "SIGKILL");
  const taken = await until("the other one takes the lease", async () => {
    const lease = await readLease(ledger.pool);
    return lease.epoch > epoch ? lease : null;
  });
  expect(taken.holder).toBe(first.standby.name);
  await until("the second hour is billed", async () => (await chargesFor(1)).length > 0);
  await until("the other one has said so", async () => (await logOf(first.standby)).includes(ACQUIRED));

  // The killed one comes back, stands by, and takes over when the other is stopped in order.
  const back = await start(first.leader);
  await until("the killed one stands by", async () => (await logOf(back)).includes(STANDBY));
  await leaveHour(2);
  await stopDaemon(await first.standby.box.load(), { clock: systemClock, env: {} });
  await until("the third hour is billed", async () => (await chargesFor(2)).length > 0);
  await until("the killed one leads", async () => (await readLease(ledger.pool)).holder === back.name);

  for (const place of [0, 1, 2]) expect(await chargesFor(place)).toEqual([FEE]);
  const { checks } = await verifyLedger(ledger.pool);
  expect(checks.filter(({ ok }) => !ok)).toEqual([]);
});
