import { execFile } from "node:child_process";
import { join } from "node:path";
import { promisify } from "node:util";
import { afterAll, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { migrateDown } from "../../../src/lib/postgres/migrator.ts";
import { createPool, type Pool } from "../../../src/lib/postgres/pool.ts";
import { runQuery } from "../../../src/lib/postgres/run-query.ts";
import { openSession } from "../../../src/lib/postgres/session.ts";
import { systemClock } from "../../../src/lib/kernel/clock.ts";
import { withTransaction } from "../../../src/lib/postgres/transaction.ts";
import { asSuperuser, emptyDatabase, freshDatabase, type TestDatabase } from "../../support/postgres.ts";
import { tempDir } from "../../support/temp-dir.ts";

/** Tables that nobody is kept from writing to, and why that is right. */
const EXCUSED: Readonly<Record<string, string>> = {
  schema_migrations: "its own lock keeps installers apart",
  ledger_epochs: "the first row of an epoch is written while the one before is the newest",
  federation_nodes: "it says who was seen, not who owns what",
  wallet_challenges: "a challenge is worth nothing without the session that it leads to",
  bucket_turns: "whose turn it is to flush: unlogged, so that no other server has it",
  credential_denial_clock: "counts the denials, which are guarded",
  wallet_owners: "a trigger of user_wallets alone writes it, which is guarded",
  usage_history: "follows pins and buckets by their triggers, which are guarded",
  stored_contents: "follows pins and buckets by their triggers, which are guarded",
  blocked_cids: "only software of the fleet writes it: neither money nor a root",
  users: "only software of the fleet writes it: neither money nor a root",
  sessions: "only software of the fleet writes it: neither money nor a root",
  logins: "only software of the fleet writes it: neither money nor a root",
  webui_users: "only software of the fleet writes it: neither money nor a root",
  api_keys: "only software of the fleet writes it: neither money nor a root",
  referral_codes: "only software of the fleet writes it: neither money nor a root",
  referrals: "only software of the fleet writes it: neither money nor a root",
  x402_ephemeral_objects: "only software of the fleet writes it: neither money nor a root",
  x402_gateway_stats: "only software of the fleet writes it: neither money nor a root",
};

const ONE = "0ab6ad9e-53d6-4e48-8c2c-7f0a3f1a0001";
const TWO = "0ab6ad9e-53d6-4e48-8c2c-7f0a3f1a0002";
const OTHER_TWO = "0ab6ad9e-53d6-4e48-8c2c-7f0a3f1a0003";

let database: TestDatabase;
let opened: AsyncDisposableStack;
beforeAll(async () => {
  database = await freshDatabase();
});
afterAll(async () => {
  await database.drop();
});
beforeEach(async () => {
  await asSuperuser("truncate ledger_epochs", database.name);
  opened = new AsyncDisposableStack();
  return async () => {
    await opened.disposeAsync();
  };
});

async function beginEpoch(number: number, uuid: string): Promise<void> {
  await database.pool.query("insert into ledger_epochs (number, uuid) values ($1, $2)", [number, uuid]);
}

/** Connections that mean an epoch; null says nothing. */
function poolOf(ledgerEpoch: string | null): Pool {
  const pool = createPool({ ...database.options, ...(ledgerEpoch === null ? {} : { ledgerEpoch }) });
  opened.defer(async () => {
    await pool.end();
  });
  return pool;
}

const renew = { name: "renew", text: "update cron_lease set renewed_at = renewed_at", values: [] };
const stale = { code: "FULA_EPOCH_STALE", kind: "unavailable" };

test("every table is guarded, or excused with a reason", async () => {
  const { rows } = await database.pool.query<{ name: string; guarded: boolean }>(`
    select c.relname as name,
           exists (select from pg_trigger t
                    where t.tgrelid = c.oid and t.tgname = 'ledger_epoch' and t.tgenabled = 'O'
                      -- Before, for each statement, on insert, update, delete and truncate.
                      and t.tgtype = 2 + 4 + 8 + 16 + 32) as guarded
      from pg_class c where c.relnamespace = 'public'::regnamespace and c.relkind in ('r', 'p')
     order by name`);
  const open = rows.filter(({ guarded }) => !guarded).map(({ name }) => name);
  expect(open.toSorted()).toEqual(Object.keys(EXCUSED).toSorted());
  expect(rows.length - open.length).toBeGreaterThan(30);
});

describe("a ledger that has never had a second server", () => {
  test("takes writes of whoever says nothing, and none of who means an epoch that it does not have", async () => {
    await expect(runQuery(poolOf(null), renew)).resolves.toMatchObject({ rowCount: 1 });
    await expect(runQuery(poolOf(`1:${ONE}`), renew)).rejects.toMatchObject(stale);
  });
});

describe("a ledger in its first epoch", () => {
  beforeEach(async () => {
    await beginEpoch(1, ONE);
  });

  test("takes writes of who means it, and of software that knows no epochs", async () => {
    await expect(runQuery(poolOf(`1:${ONE}`), renew)).resolves.toMatchObject({ rowCount: 1 });
    await expect(runQuery(poolOf(null), renew)).resolves.toMatchObject({ rowCount: 1 });
  });

  test.each([
    ["a later one", `2:${TWO}`],
    ["another one of that number", `1:${OTHER_TWO}`],
  ])("takes no write of who means %s, and reads go on", async (_name, meant) => {
    const pool = poolOf(meant);
    await expect(runQuery(pool, renew)).rejects.toMatchObject(stale);
    await expect(runQuery(pool, { ...renew, name: "look", text: "select from cron_lease" })).resolves.toMatchObject({
      rowCount: 1,
    });
  });
});

describe("a ledger that has had another primary", () => {
  beforeEach(async () => {
    await beginEpoch(1, ONE);
    await beginEpoch(3, TWO);
  });

  test("takes writes of who means the newest, and of who says that it need not be checked", async () => {
    await expect(runQuery(poolOf(`3:${TWO}`), renew)).resolves.toMatchObject({ rowCount: 1 });
    await expect(runQuery(poolOf("unchecked"), renew)).resolves.toMatchObject({ rowCount: 1 });
  });

  test.each([
    ["who means the one before", `1:${ONE}`],
    ["who means a twin of it", `3:${OTHER_TWO}`],
    ["software that says nothing", null],
  ])("takes no write of %s", async (_name, meant) => {
    await expect(runQuery(poolOf(meant), renew)).rejects.toMatchObject(stale);
  });

  test("refuses to insert, update, delete and truncate, also where nothing would change", async () => {
    const pool = poolOf(`1:${ONE}`);
    for (const text of [
      "insert into billing_alerts (kind) select 'x' where false",
      "update user_credits set balance_fula = 1 where false",
      "delete from bucket_roots where false",
      "truncate bucket_garbage",
    ]) {
      await expect(runQuery(pool, { name: "", text, values: [] })).rejects.toMatchObject(stale);
    }
  });

  test("a session that was opened before goes on meaning its own, on whatever connection", async () => {
    await using session = await openSession({ ...database.options, ledgerEpoch: `1:${ONE}` }, systemClock);
    await expect(session.query(renew)).rejects.toMatchObject(stale);
    expect(session.lost.aborted).toBe(false);
  });

  test("a transaction sees a change that comes while it runs", async () => {
    const pool = poolOf(`3:${TWO}`);
    const change = withTransaction(pool, async (client) => {
      await client.query("update cron_lease set renewed_at = renewed_at");
      await beginEpoch(4, OTHER_TWO);
      await client.query("update cron_lease set renewed_at = renewed_at");
    });
    await expect(change).rejects.toMatchObject(stale);
  });

  test("a dump of it is restored by who says nothing, and takes the same writes as before", async () => {
    const { host, port, user, password, database: name } = database.options;
    const env = { PATH: process.env["PATH"], PGPASSWORD: password, PGHOST: host, PGPORT: String(port), PGUSER: user };
    await using copy = await emptyDatabase();
    const dump = join(tempDir(), "ledger.dump");
    const run = promisify(execFile);
    await run("pg_dump", ["--format=custom", "--no-owner", `--file=${dump}`, name], { env });
    await run("pg_restore", ["--exit-on-error", "--no-owner", `--dbname=${copy.name}`, dump], { env });
    const restored = createPool({ ...copy.options, ledgerEpoch: `3:${TWO}` });
    opened.defer(async () => {
      await restored.end();
    });
    await expect(runQuery(restored, renew)).resolves.toMatchObject({ rowCount: 1 });
    await expect(runQuery(copy.pool, renew)).rejects.toMatchObject(stale);
  });

  test("migrations are reverted only where it is said that the check may be lost", async () => {
    await expect(migrateDown(database.pool, { to: 45 })).rejects.toMatchObject({ code: "FULA_MIGRATION_LOSES_DATA" });
  });
});
