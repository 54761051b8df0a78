import fc from "fast-check";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { creditUser } from "../../../src/lib/billing/credits.ts";
import { runDeduction } from "../../../src/lib/billing/deduction.ts";
import type { DeductionProgress } from "../../../src/lib/billing/deduction-report.ts";
import { hourlyFee } from "../../../src/lib/billing/fee.ts";
import { formatHour, hourKey } from "../../../src/lib/billing/hour.ts";
import { formatUnits, parseUnits } from "../../../src/lib/billing/money.ts";
import { createPool, type Pool } from "../../../src/lib/postgres/pool.ts";
import { freshDatabase, type TestDatabase } from "../../support/postgres.ts";
import { property } from "../../support/property.ts";
import {
  currentHour,
  deductionDeps,
  fillUnbilledLedger,
  GIB,
  readBooks,
  unbalanced,
  userId,
} from "../../support/unbilled-ledger.ts";

const POLICY = { freeTierBytes: 524_288_000n, fulaPerGibMonth: parseUnits("3") };

let database: TestDatabase;
beforeAll(async () => {
  database = await freshDatabase();
});
afterAll(async () => {
  await database.drop();
});

async function emptyLedger(pool: Pool): Promise<void> {
  await pool.query(
    "truncate user_credits, credit_history, billing_hours, billing_alerts, billing_mode restart identity cascade",
  );
}

const stored = fc.oneof(fc.constantFrom(0n, 524_288_000n, 524_288_001n, GIB), fc.bigInt({ min: 0n, max: 100n * GIB }));
const scenario = fc.record({
  hours: fc.integer({ min: 1, max: 3 }),
  masters: fc.integer({ min: 2, max: 4 }),
  shardAccounts: fc.integer({ min: 1, max: 4 }),
  accounts: fc.array(fc.array(stored, { minLength: 1, maxLength: 4 }), { minLength: 1, maxLength: 6 }),
  balance: fc.constantFrom("0", "0.01", "100"),
  deposits: fc.array(fc.nat({ max: 7 }), { maxLength: 5 }),
});

describe("masters that race without a lease, with deposits in between", () => {
  test("take exactly one fee for every account and hour that owes one, of the amount that it owes, and the books hold", async () => {
    const pools = Array.from({ length: 4 }, (_, index) => createPool({ ...database.options, node: `fula-${index}` }));
    try {
      await fc.assert(
        fc.asyncProperty(scenario, async ({ hours, masters, shardAccounts, accounts, balance, deposits }) => {
          const { pool } = database;
          await emptyLedger(pool);
          const names = accounts.map((_, index) => `user-${index}`);
          const first = await fillUnbilledLedger(
            pool,
            hours,
            accounts.map((bytes, index) => ({ name: `user-${index}`, balance, bytes: bytes.slice(0, hours) })),
          );
          let charged = 0;
          const onProgress = ({ users }: DeductionProgress): void => {
            charged += users;
          };
          await Promise.all([
            ...pools
              .slice(0, masters)
              .map(
                async (own, index) =>
                  await runDeduction(deductionDeps(own, { node: `fula-${index}`, shardAccounts, onProgress })),
              ),
            ...deposits.map(
              async (account, index) =>
                await creditUser(pool, {
                  type: "deposit",
                  userId: userId(`user-${account % names.length}`),
                  amountUnits: parseUnits("1"),
                  reference: `8453:0x${index}:0`,
                  referralBonuses: true,
                }),
            ),
          ]);
          expect(await unbalanced(pool)).toEqual([]);
          const books = await readBooks(pool, names);
          const expected = accounts.map((bytes) =>
            Array.from({ length: hours }, (_, index) => ({
              key: hourKey(first + index),
              fee: hourlyFee(bytes.slice(0, hours)[index] ?? bytes.slice(0, hours).at(-1) ?? 0n, POLICY),
            }))
              .filter(({ fee }) => fee > 0n)
              .map(({ key, fee }) => [key, formatUnits(fee)]),
          );
          expect(names.map((name) => books[name]?.fees)).toEqual(expected);
          expect(charged).toBe(expected.flat().length);
        }),
        property(8),
      );
    } finally {
      await Promise.all(pools.map(async (pool) => await pool.end()));
    }
  });

  test("a former holder that wakes in the middle writes nothing that its successor does not know of", async () => {
    const { pool } = database;
    await emptyLedger(pool);
    const names = Array.from({ length: 6 }, (_, index) => `user-${index}`);
    await fillUnbilledLedger(
      pool,
      3,
      names.map((name) => ({ name, balance: "1", bytes: [10n * GIB] })),
    );
    const hold = async (holder: string, epoch: number): Promise<void> => {
      await pool.query(
        `update cron_lease set holder = $1, epoch = $2, session_pid = 1, taken_at = now(), renewed_at = now(),
                               expires_at = now() + interval '1 hour'`,
        [holder, epoch],
      );
    };
    await hold("fula-1", 1);
    const passed = Promise.withResolvers<void>();
    const former = runDeduction(
      deductionDeps(pool, {
        fence: { holder: "fula-1", epoch: 1n },
        shardAccounts: 1,
        onProgress: ({ shardsDone }) => {
          if (shardsDone === 3) passed.resolve(hold("fula-2", 2));
        },
      }),
    );
    const refused = expect(former).rejects.toMatchObject({ code: "FULA_LEASE_LOST" });
    await passed.promise;
    await refused;
    await runDeduction(deductionDeps(pool, { node: "fula-2", fence: { holder: "fula-2", epoch: 2n } }));
    const books = await readBooks(pool, names);
    expect(names.map((name) => books[name]?.fees.length)).toEqual(names.map(() => 3));
    expect(await unbalanced(pool)).toEqual([]);
  });
});

test("an account that is made while its hour is billed neither fails the look nor loses an hour", async () => {
  const { pool } = database;
  await emptyLedger(pool);
  const first = await fillUnbilledLedger(pool, 2, [{ name: "anna", balance: "1", bytes: [10n * GIB] }]);
  const writer = await pool.connect();
  await writer.query("begin");
  await writer.query("insert into user_credits (user_id) values ($1)", [userId("new")]);
  const deps = deductionDeps(pool, { settings: { catchUpHours: 1 } });
  await runDeduction(deps);
  await writer.query(
    "insert into user_usage (account_id, bytes, changed_hour) select id, $2, $3 from user_credits where user_id = $1",
    [userId("new"), (10n * GIB).toString(), formatHour(first)],
  );
  await writer.query("commit");
  writer.release();
  await pool.query("update billing_mode set first_hour = $1", [formatHour(await currentHour(pool))]);
  await runDeduction(deductionDeps(pool, { settings: { basis: "current" } }));
  const books = await readBooks(pool, ["anna", "new"]);
  expect(books["new"]?.fees.map(([reference]) => reference)).toEqual([hourKey(first + 2)]);
  expect(await unbalanced(pool)).toEqual([]);
});
