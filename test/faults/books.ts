/*
 * What the ledger has to say after a scenario, worked out without any of the engine's code or SQL: fees from the usage that
 * was drawn, sums from the entries as they were read.
 */
import type { Pool } from "../../src/lib/postgres/pool.ts";
import type { Account, Errand, Scenario } from "./scenario.ts";

const UNITS = 10n ** 18n;
const HOUR_MS = 3_600_000;

/** `-12.5` → -12500000000000000000n. */
function unitsOf(text: string): bigint {
  const match = /^(-?)(\d+)(?:\.(\d{1,18}))?$/.exec(text);
  if (match === null) throw new Error(`${text} is no amount of 18 decimals`);
  const [, sign, whole = "", decimals = ""] = match;
  const units = BigInt(whole) * UNITS + BigInt(decimals.padEnd(18, "0"));
  return sign === "-" ? -units : units;
}

/** Of numbers that are not negative: the nearest whole one, of two that are as near the even one. */
function divideHalfEven(dividend: bigint, divisor: bigint): bigint {
  const floor = dividend / divisor;
  const twiceRest = 2n * (dividend % divisor);
  return twiceRest > divisor || (twiceRest === divisor && floor % 2n === 1n) ? floor + 1n : floor;
}

/** max(0, bytes - free tier) / 2^30 × price / 720, rounded to the nearest unit, halves to the even one. */
function feeOf(bytes: bigint, freeTierBytes: bigint, priceUnits: bigint): bigint {
  if (bytes <= freeTierBytes) return 0n;
  return divideHalfEven((bytes - freeTierBytes) * priceUnits, 2n ** 30n * 720n);
}

function keyOf(hourMs: number): string {
  return `hour:${new Date(hourMs).toISOString().slice(0, 13)}`;
}

interface Entry {
  readonly entry_id: string;
  readonly user_id: string;
  readonly tx_type: string;
  readonly reference_id: string;
  readonly amount: string;
  readonly after: string;
}

interface Balance {
  readonly user_id: string;
  readonly balance: string;
  readonly is_suspended: number;
}

interface Hour {
  readonly hour_ms: number;
  readonly state: string;
  readonly users: string | null;
  readonly sum: string | null;
}

/** The ledger as it stands; read at once, so that nothing changes in between. */
export interface Books {
  readonly entries: readonly Entry[];
  readonly balances: ReadonlyMap<string, Balance>;
  readonly hours: readonly Hour[];
  /** Bytes at the end of the hours in which errands changed them, by `<user> <hour>`, oldest first. */
  readonly laterUsage: ReadonlyMap<string, readonly { readonly hourMs: number; readonly bytes: bigint }[]>;
}

/** @param firstHourMs start of hour 0 of the scenario, UTC */
export async function readBooks(pool: Pool, scenario: Scenario, firstHourMs: number): Promise<Books> {
  const client = await pool.connect();
  try {
    await client.query("begin isolation level repeatable read read only");
    const entries = await client.query<Entry>(
      `select id::text as entry_id, user_id, tx_type, reference_id, amount_fula::text as amount, balance_after::text as after
         from credit_history order by id`,
    );
    const balances = await client.query<Balance>(
      "select user_id, balance_fula::text as balance, is_suspended from user_credits",
    );
    const hours = await client.query<Hour>(
      `select (extract(epoch from hour) * 1000)::float8 as hour_ms, state, users::text, sum_fula::text as sum
         from billing_hours order by hour`,
    );
    const later = await client.query<{ user_id: string; hour_ms: number; bytes: string }>(
      `select c.user_id, (extract(epoch from h.hour) * 1000)::float8 as hour_ms, h.bytes::text
         from usage_history h join user_credits c on c.id = h.account_id
        where h.hour >= to_timestamp($1::float8 / 1000) order by h.hour`,
      [firstHourMs + scenario.hours * HOUR_MS],
    );
    await client.query("commit");
    const laterUsage = Map.groupBy(later.rows, (row) => row.user_id);
    return {
      entries: entries.rows,
      balances: new Map(balances.rows.map((row) => [row.user_id, row])),
      hours: hours.rows,
      laterUsage: new Map(
        [...laterUsage].map(([userId, rows]) => [
          userId,
          rows.map((row) => ({ hourMs: row.hour_ms, bytes: BigInt(row.bytes) })),
        ]),
      ),
    };
  } finally {
    client.release();
  }
}

/** Bytes at the end of an hour: as drawn, and for hours that were still running, as the database kept them. */
function bytesAt(books: Books, account: Account, firstHourMs: number, hourMs: number): bigint {
  const later = books.laterUsage.get(account.userId)?.findLast((change) => change.hourMs <= hourMs);
  if (later !== undefined) return later.bytes;
  const drawn = account.usage.findLast(({ hour }) => firstHourMs + hour * HOUR_MS <= hourMs);
  return BigInt(drawn?.bytes ?? 0);
}

/** Every hour since the first is done, once, without a gap, and none that is still running. */
function checkHours(books: Books, scenario: Scenario, firstHourMs: number): readonly string[] {
  const wanted = Array.from(books.hours, (_, index) => firstHourMs + index * HOUR_MS);
  const found = books.hours.map(({ hour_ms }) => hour_ms);
  const faults = books.hours
    .filter(({ state }) => state !== "done")
    .map(({ hour_ms, state }) => `${keyOf(hour_ms)} is ${state}`);
  if (found.length < scenario.hours) faults.push(`${found.length} hours have a record instead of ${scenario.hours}`);
  if (found.some((hourMs, index) => hourMs !== wanted[index])) faults.push(`hours: ${found.map(keyOf).join(", ")}`);
  return faults;
}

/** One fee for each hour above the free tier, to the last unit, and no other; each hour's record has their sum. */
function checkFees(books: Books, scenario: Scenario, firstHourMs: number): readonly string[] {
  const priceUnits = unitsOf(scenario.fulaPerGibMonth);
  const fees = books.entries.filter(({ tx_type }) => tx_type === "hourly_deduction");
  const found = Map.groupBy(fees, ({ user_id, reference_id }) => `${reference_id} ${user_id}`);
  const faults: string[] = [];
  for (const hour of books.hours) {
    const key = keyOf(hour.hour_ms);
    let users = 0n;
    let sum = 0n;
    for (const account of scenario.accounts) {
      const bytes = bytesAt(books, account, firstHourMs, hour.hour_ms);
      const fee = feeOf(bytes, BigInt(scenario.freeTierBytes), priceUnits);
      const amounts = (found.get(`${key} ${account.userId}`) ?? []).map(({ amount }) => unitsOf(amount));
      const isDue = bytes > BigInt(scenario.freeTierBytes);
      found.delete(`${key} ${account.userId}`);
      if (isDue ? amounts.length !== 1 || amounts[0] !== -fee : amounts.length > 0) {
        faults.push(
          `${key}, ${bytes} bytes: ${isDue ? -fee : "nothing"} was due, the ledger has [${amounts.join(", ")}]`,
        );
      }
      users += isDue ? 1n : 0n;
      sum += fee;
    }
    if (hour.users !== String(users) || hour.sum === null || unitsOf(hour.sum) !== sum) {
      faults.push(`${key}: the record has ${hour.users} users and ${hour.sum} FULA, ${users} owe ${sum} units`);
    }
  }
  return [...faults, ...[...found.keys()].map((key) => `${key} should not have been charged`)];
}

/** 10, 1 and 1 percent of a deposit for those who brought the user, halves of a unit to the even one. */
const BONUS_PERCENT = [10n, 1n, 1n];

function bonusesOf(
  scenario: Scenario,
  deposit: Errand & { readonly kind: "deposit" },
  entryId: string,
): readonly string[] {
  const bonuses: string[] = [];
  let { referrer } = scenario.accounts[deposit.account] ?? { referrer: null };
  for (const [index, percent] of BONUS_PERCENT.entries()) {
    const account = referrer === null ? undefined : scenario.accounts[referrer];
    if (account === undefined) break;
    const units = divideHalfEven(deposit.units * percent, 100n);
    if (units > 0n) bonuses.push(`referral_bonus ${account.userId} bonus:${entryId}:${index + 1} ${units}`);
    ({ referrer } = account);
  }
  return bonuses;
}

/** Each deposit with its bonuses and each adjustment is there once, with its amount, and nothing else is. */
function checkErrands(books: Books, scenario: Scenario): readonly string[] {
  const others = books.entries.filter(({ tx_type }) => tx_type !== "hourly_deduction");
  const found = others.map(({ tx_type, user_id, reference_id, amount }) =>
    [tx_type, user_id, reference_id, unitsOf(amount)].join(" "),
  );
  const wanted = scenario.errands.flatMap((errand) => {
    if (errand.kind === "pin") return [];
    const userId = scenario.accounts[errand.account]?.userId;
    if (errand.kind === "adjustment") return [`adjustment ${userId} adjustment:${errand.key} ${errand.units}`];
    const entry = others.find(({ reference_id }) => reference_id === errand.reference);
    const bonuses = bonusesOf(scenario, errand, entry?.entry_id ?? "without an entry");
    return [`deposit ${userId} ${errand.reference} ${errand.units}`, ...bonuses];
  });
  return [
    ...wanted.filter((each) => !found.includes(each)).map((each) => `missing: ${each}`),
    ...found
      .filter((each, index) => !wanted.includes(each) || found.indexOf(each) !== index)
      .map((each) => `extra: ${each}`),
  ];
}

/** Each entry's balance follows from the one before it, the last one's is the account's. */
function checkBalances(books: Books, scenario: Scenario): readonly string[] {
  const faults: string[] = [];
  const running = new Map(scenario.accounts.map(({ userId, openingUnits }) => [userId, openingUnits]));
  for (const { user_id, reference_id, amount, after } of books.entries) {
    const balance = (running.get(user_id) ?? 0n) + unitsOf(amount);
    running.set(user_id, balance);
    if (unitsOf(after) !== balance) faults.push(`${reference_id}: ${after} after it, which should be ${balance} units`);
  }
  for (const { userId } of scenario.accounts) {
    const found = books.balances.get(userId);
    const balance = running.get(userId);
    if (found === undefined || unitsOf(found.balance) !== balance) {
      faults.push(`${userId}: the balance is ${found?.balance}, the entries make ${balance} units`);
    }
  }
  return faults;
}

/** Suspended is who owes and stores more than the free tier, and nobody else; pins of a moment ago are left to the next hour. */
function checkSuspensions(books: Books, scenario: Scenario): readonly string[] {
  const areChanging = new Set(scenario.errands.map(({ account }) => scenario.accounts[account]?.userId));
  return scenario.accounts.flatMap(({ userId, usage }) => {
    const found = books.balances.get(userId);
    if (found === undefined || areChanging.has(userId)) return [];
    const isOver = (usage.at(-1)?.bytes ?? 0) > scenario.freeTierBytes;
    const isDue = unitsOf(found.balance) < 0n && isOver;
    return isDue === (found.is_suspended === 1)
      ? []
      : [`${userId}: suspended ${found.is_suspended}, balance ${found.balance}, ${usage.at(-1)?.bytes} bytes`];
  });
}

/** @returns one line for everything that is not as it has to be; empty where the books are right */
export function checkBooks(books: Books, scenario: Scenario, firstHourMs: number): readonly string[] {
  return [
    ...checkHours(books, scenario, firstHourMs),
    ...checkFees(books, scenario, firstHourMs),
    ...checkErrands(books, scenario),
    ...checkBalances(books, scenario),
    ...checkSuspensions(books, scenario),
  ];
}
