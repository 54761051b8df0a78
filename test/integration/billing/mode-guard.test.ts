import { Client } from "pg";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import type { BillingMode } from "../../../src/lib/billing/billing-mode.ts";
import { standingAlerts } from "../../../src/lib/billing/alerts.ts";
import { readBillingFacts } from "../../../src/lib/billing/billing-status.ts";
import { chargeShard, openShards } from "../../../src/lib/billing/charge.ts";
import { runDeduction } from "../../../src/lib/billing/deduction.ts";
import { openHour } from "../../../src/lib/billing/hours.ts";
import { backfillHour, skippedHours } from "../../../src/lib/billing/late-hours.ts";
import { policyOf } from "../../../src/lib/billing/policy.ts";
import { closeUsageHour } from "../../../src/lib/billing/usage-close.ts";
import { verifyLedger } from "../../../src/lib/billing/verify.ts";
import { formatHour, hourFromSql, hourKey } from "../../../src/lib/billing/hour.ts";
import { assertBillingMode } from "../../../src/lib/billing/mode-guard.ts";
import { createPool } from "../../../src/lib/postgres/pool.ts";
import { leaveHourEnd } from "../../support/hours.ts";
import { asSuperuser, freshDatabase, type TestDatabase } from "../../support/postgres.ts";
import {
  currentHour,
  deductionDeps,
  fillUnbilledLedger,
  GIB,
  readBooks,
  userId,
} from "../../support/unbilled-ledger.ts";

let database: TestDatabase;
const clients: Client[] = [];
beforeEach(async () => {
  await leaveHourEnd();
  database = await freshDatabase();
});
afterEach(async () => {
  await Promise.all(clients.splice(0).map(async (client) => await client.end()));
  await database.drop();
});

/** A serving master's session. */
async function master(node: string): Promise<Client> {
  const { host, port, database: name, user, password } = database.options;
  const client = new Client({
    host,
    port,
    database: name,
    user,
    password,
    application_name: `fula-master/lease@${node}`,
  });
  clients.push(client);
  await client.connect();
  return client;
}

async function readMode(): Promise<{ readonly mode: string; readonly firstHour: number; readonly by: string } | null> {
  const { rows } = await database.pool.query<{ mode: string; first_hour: Date; changed_by: string }>(
    "select mode, first_hour, changed_by from billing_mode",
  );
  const row = rows[0];
  return row === undefined ? null : { mode: row.mode, firstHour: hourFromSql(row.first_hour), by: row.changed_by };
}

/** The fee of a master of the older fleet: keyed or not. */
async function fleetFee(name: string, reference: string | null): Promise<void> {
  await database.pool.query(
    `insert into credit_history (user_id, tx_type, amount_fula, balance_after, reference_id)
     values ($1, 'hourly_deduction', -0.1, 9.9, $2)`,
    [userId(name), reference],
  );
}

describe("the mode in which a federation bills", () => {
  test.each<{ others: BillingMode | null; serving: boolean; wanted: BillingMode; becomes: BillingMode | "refused" }>([
    { others: null, serving: false, wanted: "keyed", becomes: "keyed" },
    { others: null, serving: false, wanted: "unkeyed", becomes: "unkeyed" },
    { others: "keyed", serving: true, wanted: "keyed", becomes: "keyed" },
    { others: "keyed", serving: false, wanted: "keyed", becomes: "keyed" },
    { others: "keyed", serving: true, wanted: "unkeyed", becomes: "refused" },
    { others: "keyed", serving: false, wanted: "unkeyed", becomes: "unkeyed" },
    { others: "unkeyed", serving: true, wanted: "unkeyed", becomes: "unkeyed" },
    { others: "unkeyed", serving: true, wanted: "keyed", becomes: "refused" },
    { others: "unkeyed", serving: false, wanted: "keyed", becomes: "keyed" },
  ])("others: $others, serving: $serving; a master that wants $wanted: $becomes", async (row) => {
    if (row.others !== null) {
      const other = await master("fula-2");
      await assertBillingMode(other, row.others, "fula-2");
      if (!row.serving) {
        clients.splice(clients.indexOf(other), 1);
        await other.end();
      }
    }
    const joined = assertBillingMode(await master("fula-1"), row.wanted, "fula-1");
    if (row.becomes === "refused") {
      await expect(joined).rejects.toMatchObject({
        code: "FULA_BILLING_MODE_MIXED",
        message: expect.stringMatching(/as do fula-master\/lease@fula-2 \(pid \d+\)/),
      });
      expect((await readMode())?.mode).toBe(row.others);
    } else {
      await joined;
      expect((await readMode())?.mode).toBe(row.becomes);
    }
  });

  test("is written by one of eight masters that start at the same time, and all of one mode serve", async () => {
    const wanted = Array.from({ length: 8 }, (_, index): BillingMode => (index % 2 === 0 ? "keyed" : "unkeyed"));
    const sessions = await Promise.all(wanted.map(async (_mode, index) => await master(`fula-${index}`)));
    const results = await Promise.allSettled(
      sessions.map(async (client, index) => {
        await assertBillingMode(client, wanted[index] ?? "keyed", `fula-${index}`);
      }),
    );
    const mode = (await readMode())?.mode;
    expect(results.map(({ status }, index) => [wanted[index], status])).toEqual(
      wanted.map((one) => [one, one === mode ? "fulfilled" : "rejected"]),
    );
  });

  test("begins after the newest hour that the ledger has a fee of by key, and keys of the future do not count", async () => {
    const now = await currentHour(database.pool);
    await fleetFee("anna", hourKey(now));
    await fleetFee("anna", hourKey(now + 50));
    await assertBillingMode(await master("fula-1"), "keyed", "fula-1");
    expect(await readMode()).toEqual({ mode: "keyed", firstHour: now + 1, by: "fula-1" });
  });

  test("begins with the hour that runs where the ledger has older fees only", async () => {
    const now = await currentHour(database.pool);
    await fleetFee("anna", hourKey(now - 3));
    await assertBillingMode(await master("fula-1"), "keyed", "fula-1");
    expect((await readMode())?.firstHour).toBe(now);
  });
});

describe("a fee of the other mode", () => {
  test.each([null, "2026-06-12T14:00:00.123Z", ""])("%j is refused by the database", async (reference) => {
    await assertBillingMode(await master("fula-1"), "keyed", "fula-1");
    await expect(fleetFee("anna", reference)).rejects.toMatchObject({ code: "FM001" });
    await fleetFee("anna", hourKey(1));
  });

  test("is refused, and told why, also to software whose role may do no more than write the ledger", async () => {
    await assertBillingMode(await master("fula-1"), "keyed", "fula-1");
    const role = `ledger_only_${database.name}`;
    const password = "secret";
    await asSuperuser(`create role ${role} login password '${password}'`, database.name);
    const pool = createPool({ ...database.options, user: role, password });
    try {
      await database.pool.query(
        `grant select, insert on credit_history to ${role}; grant usage on sequence credit_history_id_seq to ${role}`,
      );
      const fee = `insert into credit_history (user_id, tx_type, amount_fula, balance_after, reference_id)
                   values ($1, 'hourly_deduction', -0.1, 9.9, $2)`;
      await expect(pool.query(fee, [userId("anna"), "2026-06-12T14:00:00.123Z"])).rejects.toMatchObject({
        code: "FM001",
      });
      await pool.query(fee, [userId("anna"), hourKey(1)]);
    } finally {
      await pool.end();
      await asSuperuser(`drop owned by ${role}; drop role ${role}`, database.name);
    }
  });

  test("by key is refused while the federation bills without keys", async () => {
    await assertBillingMode(await master("fula-1"), "unkeyed", "fula-1");
    await expect(fleetFee("anna", hourKey(1))).rejects.toMatchObject({ code: "FM001" });
    await fleetFee("anna", "2026-06-12T14:00:00.123Z");
  });

  test("is not even begun: a look with the wrong flag is refused", async () => {
    await assertBillingMode(await master("fula-1"), "keyed", "fula-1");
    await expect(
      runDeduction(deductionDeps(database.pool, { settings: { idempotency: false } })),
    ).rejects.toMatchObject({ code: "FULA_BILLING_MODE_MIXED" });
  });
});

test("no hour is billed again when the mode is turned off and on within it", async () => {
  const { pool } = database;
  const first = await fillUnbilledLedger(pool, 1, [{ name: "anna", balance: "10", bytes: [10n * GIB] }]);
  const serve = async (mode: BillingMode): Promise<void> => {
    const session = await master("fula-1");
    await assertBillingMode(session, mode, "fula-1");
    await runDeduction(deductionDeps(pool, { settings: { idempotency: mode === "keyed" } }));
    clients.splice(clients.indexOf(session), 1);
    await session.end();
  };
  await serve("keyed");
  await serve("unkeyed");
  await serve("keyed");
  const fees = (await readBooks(pool, ["anna"]))["anna"]?.fees ?? [];
  expect(fees).toHaveLength(2);
  // The hour that runs has been paid for without a key; the next one is the first by key again.
  expect((await readMode())?.firstHour).toBe(first + 2);
  await pool.query("update usage_clock set closed_through = $1", [formatHour(first)]);
});

test("hours that wait when keys are turned off are left out with an alert, and one that was begun is ended when they are on again", async () => {
  const { pool } = database;
  const first = await fillUnbilledLedger(pool, 3, [
    { name: "anna", balance: "10", bytes: [10n * GIB] },
    { name: "bert", balance: "10", bytes: [10n * GIB] },
  ]);
  const turn = async (mode: BillingMode): Promise<void> => {
    const session = await master("fula-1");
    await assertBillingMode(session, mode, "fula-1");
    clients.splice(clients.indexOf(session), 1);
    await session.end();
  };
  const deps = deductionDeps(pool, { shardAccounts: 1 });
  await closeUsageHour(pool, first, deps);
  await openHour(pool, first, { basis: "completed", policy: policyOf(deps.settings) }, deps);
  const { shards } = await openShards(pool, first);
  if (shards[0] !== undefined) await chargeShard(pool, first, shards[0], deps);

  await turn("unkeyed");
  expect(await skippedHours(pool)).toEqual([first + 1, first + 2]);
  expect(await readBillingFacts(pool)).toMatchObject({
    hoursBehind: 1,
    skippedCount: 2,
    alerts: [{ kind: "hours-skipped" }],
  });
  await expect(backfillHour(deps, first + 1)).rejects.toMatchObject({ code: "FULA_BILLING_MODE_MIXED" });
  expect(await skippedHours(pool)).toEqual([first + 1, first + 2]);

  await turn("keyed");
  expect((await readMode())?.firstHour).toBe(first + 3);
  const owed = async () => (await verifyLedger(pool)).checks.find(({ name }) => name === "hours")?.count;
  expect(await owed()).toBe(3);
  expect(await runDeduction(deps)).toMatchObject({ hours: [{ hour: first, state: "done", users: 2 }] });
  expect(await owed()).toBe(2);
  await backfillHour(deps, first + 1);
  await backfillHour(deps, first + 2);
  expect(await owed()).toBe(0);
  expect(await standingAlerts(pool)).toEqual([]);
  const books = await readBooks(pool, ["anna", "bert"]);
  expect([books["anna"]?.fees.length, books["bert"]?.fees.length]).toEqual([3, 3]);
});
