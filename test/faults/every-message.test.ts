/*
 * The connection ends at every single message of what moves money, one after the other until a run is through before its
 * turn comes: before the message, in its middle, and after it, when the server has acted and nobody hears of it.
 */
import { expect, test } from "vitest";
import { runDeduction } from "../../src/lib/billing/deduction.ts";
import { adjustUser } from "../../src/lib/billing/adjustments.ts";
import { creditUser } from "../../src/lib/billing/credits.ts";
import { verifyLedger } from "../../src/lib/billing/verify.ts";
import { systemClock } from "../../src/lib/kernel/clock.ts";
import { silentLog } from "../../src/lib/kernel/log.ts";
import { systemRandom } from "../../src/lib/kernel/random.ts";
import { createPool, type Pool } from "../../src/lib/postgres/pool.ts";
import { FaultProxy, type Verdict } from "../support/fault-proxy.ts";
import { freshDatabase, type TestDatabase } from "../support/postgres.ts";
import { checkBooks, readBooks } from "./books.ts";
import { fillLedger } from "./fill-ledger.ts";
import { drawScenario, type Errand, type Scenario } from "./scenario.ts";

const CUTS: readonly Verdict[] = ["cut before", "cut within", "cut after"];
/** To the server half a message is none: of a deduction, which is long, the cut before it stands for both. */
const DEDUCTION_CUTS: readonly Verdict[] = ["cut before", "cut after"];

/** Does it over a connection that ends at a message of this number. @returns false where it was through before that */
async function cutAt(
  ledger: TestDatabase,
  message: number,
  verdict: Verdict,
  act: (pool: Pool) => Promise<unknown>,
): Promise<boolean> {
  let sent = 0;
  const { host, port } = ledger.options;
  await using proxy = new FaultProxy(host, port, () => {
    sent += 1;
    return sent === message ? verdict : "pass";
  });
  const pool = createPool({ ...ledger.options, port: await proxy.listen(), max: 1 });
  try {
    await act(pool);
  } catch {
    // What it says is of no use to whoever was cut off: it is done again.
  }
  const isReached = sent >= message;
  await pool.end();
  return isReached;
}

/** A ledger with three accounts, of which one brought the next, and two hours that nobody has billed. */
function smallScenario(errands: readonly Errand[]): Scenario {
  const scenario = drawScenario(1);
  const usage = [{ hour: -1, bytes: scenario.freeTierBytes + 12_345_678_901 }];
  const accounts = scenario.accounts
    .slice(0, 3)
    .map((account, index) => ({ ...account, usage, referrer: index === 0 ? null : index - 1 }));
  return { ...scenario, shards: 2, hours: 2, accounts, errands };
}

/** Tries message after message, some at once, until one is not reached. @returns how many were */
async function untilThrough(atOnce: number, attempt: (message: number) => Promise<boolean>): Promise<number> {
  for (let first = 1; ; first += atOnce) {
    const messages = Array.from({ length: atOnce }, (_, index) => first + index);
    const areReached = await Promise.all(messages.map(attempt));
    const through = areReached.indexOf(false);
    if (through !== -1) return first + through - 1;
  }
}

const SETTINGS = {
  basis: "completed",
  idempotency: true,
  whileSuspended: "accrue",
  catchUpHours: 168,
} as const;

/** Bills everything, under a lease that nobody takes away. */
async function bill(pool: Pool, scenario: Scenario, signal: AbortSignal): Promise<void> {
  const { freeTierBytes, fulaPerGibMonth: fulaPerGbMonth } = scenario;
  const settings = { ...SETTINGS, freeTierBytes, fulaPerGbMonth };
  const fence = { holder: "master-0", epoch: 1n };
  const deps = { pool, fence, settings, signal, node: "master-0", clock: systemClock, random: systemRandom };
  await runDeduction({ ...deps, log: silentLog });
}

test.each(DEDUCTION_CUTS)(
  "a deduction that is run again charges every hour once, wherever a %s hits it",
  async (verdict) => {
    const scenario = smallScenario([]);
    const messages = await untilThrough(4, async (message) => {
      await using ledger = await freshDatabase();
      const firstHourMs = await fillLedger(ledger.pool, scenario);
      await ledger.pool.query(
        `update cron_lease set epoch = 1, holder = 'master-0', session_pid = pg_backend_pid(), taken_at = now(),
              renewed_at = now(), expires_at = now() + interval '1 hour'`,
      );
      const signal = new AbortController().signal;
      const isReached = await cutAt(ledger, message, verdict, async (pool) => bill(pool, scenario, signal));
      const pool = createPool({ ...ledger.options, max: 1 });
      await bill(pool, scenario, signal);
      const { checks } = await verifyLedger(pool);
      const books = await readBooks(pool, scenario, firstHourMs);
      await pool.end();
      expect(checks.flatMap(({ examples }) => examples)).toEqual([]);
      expect(checkBooks(books, scenario, firstHourMs)).toEqual([]);
      return isReached;
    });
    expect(messages).toBeGreaterThan(50);
  },
);

async function expectRightErrands(ledger: TestDatabase, scenario: Scenario, firstHourMs: number): Promise<void> {
  const wrong = checkBooks(await readBooks(ledger.pool, scenario, firstHourMs), scenario, firstHourMs);
  // Nobody has billed here.
  expect(wrong.filter((line) => !line.includes("hours have a record"))).toEqual([]);
}

test.each(CUTS)(
  "a deposit and an adjustment that are sent again count once, wherever a %s hits them",
  async (verdict) => {
    await using ledger = await freshDatabase();
    const errands: Errand[] = [];
    const { accounts } = smallScenario([]);
    const userId = accounts[2]?.userId ?? "";
    const firstHourMs = await fillLedger(ledger.pool, smallScenario([]));
    const messages = await untilThrough(8, async (message) => {
      const deposit = {
        kind: "deposit",
        account: 2,
        units: 10n ** 18n + 5n,
        reference: `8453:0xab:${message}`,
      } as const;
      const adjustment = { kind: "adjustment", account: 2, units: -(10n ** 17n), key: `key-${message}` } as const;
      errands.push(deposit, adjustment);
      const act = async (pool: Pool): Promise<void> => {
        const { units: amountUnits, reference } = deposit;
        await creditUser(pool, { type: "deposit", userId, amountUnits, reference, referralBonuses: true });
        const { key } = adjustment;
        await adjustUser(pool, { userId, amountUnits: adjustment.units, key, reason: "a test", operator: "test" });
      };
      const isReached = await cutAt(ledger, message, verdict, act);
      await act(ledger.pool);
      return isReached;
    });
    expect(messages).toBeGreaterThan(20);
    await expectRightErrands(ledger, smallScenario(errands), firstHourMs);
  },
);
