import { Client } from "pg";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { creditUser } from "../../../src/lib/billing/credits.ts";
import { parseUnits } from "../../../src/lib/billing/money.ts";
import { PostgresRoots } from "../../../src/lib/buckets/roots/postgres-roots.ts";
import { systemClock } from "../../../src/lib/kernel/clock.ts";
import { systemRandom } from "../../../src/lib/kernel/random.ts";
import { createPool, type Pool, type PoolOptions } from "../../../src/lib/postgres/pool.ts";
import { runQuery } from "../../../src/lib/postgres/run-query.ts";
import { openSession } from "../../../src/lib/postgres/session.ts";
import { withTransaction } from "../../../src/lib/postgres/transaction.ts";
import { bucketNamed, moveTo, rootCid } from "../../support/bucket-moves.ts";
import { startTestLease } from "../../support/leases.ts";
import { openPostgresRig, type PostgresRig, type RigServer } from "../../support/postgres-pair.ts";
import { until } from "../../support/until.ts";

/** Two ways to end a wait for a standby that is away; the commit has been done on the primary then. */
const WAYS = ["pg_cancel_backend", "pg_terminate_backend"] as const;
type Way = (typeof WAYS)[number];

let rig: PostgresRig;
let primary: RigServer;
let pool: Pool;
let options: PoolOptions & { readonly password: string };

beforeAll(async () => {
  rig = await openPostgresRig();
  primary = await rig.primary("primary", { ledger: true });
  options = {
    host: "127.0.0.1",
    port: primary.port,
    database: "ledger",
    user: "ledger",
    password: "ledger",
    part: "test",
    node: "fula-1",
  };
  await primary.sql("create table notes (note text)", [], "ledger");
  await primary.sql("grant all on notes to ledger", [], "ledger");
  await primary.sql("update bucket_mode set mode = 'cas'", [], "ledger");
});
afterAll(async () => {
  await rig[Symbol.asyncDispose]();
});

beforeEach(async () => {
  pool = createPool(options);
  await pool.query("select 1");
  await awaitStandbys("away");
});
afterEach(async () => {
  await awaitStandbys("");
  await pool.end();
});

/** Names the standbys that commits wait for, and waits until every session of the server knows. */
async function awaitStandbys(names: string): Promise<void> {
  primary.set({ synchronous_standby_names: names });
  await primary.site.reload();
  await until("the server has read its settings", async () => {
    const [row] = await primary.sql<{ names: string }>("select current_setting('synchronous_standby_names') as names");
    return row?.names === names;
  });
}

/** Ends the wait of whoever waits, as soon as somebody does. */
async function endWait(way: Way): Promise<void> {
  await until("a commit waits for its standbys", async () => {
    const rows = await primary.sql<{ ended: boolean }>(
      `select ${way}(pid) as ended from pg_stat_activity where wait_event = 'SyncRep'`,
    );
    return rows.some(({ ended }) => ended);
  });
}

async function isThere(note: string): Promise<boolean> {
  return (await primary.sql("select from notes where note = $1", [note], "ledger")).length > 0;
}

const insert = (note: string): { name: string; text: string; values: string[] } => ({
  name: "note",
  text: "insert into notes values ($1)",
  values: [note],
});

test("without us, the server's driver takes a commit whose wait was cancelled for done", async () => {
  const client = new Client(options);
  await client.connect();
  try {
    const [outcome] = await Promise.all([client.query("insert into notes values ('plain')"), endWait(WAYS[0])]);
    expect(outcome.rowCount).toBe(1);
  } finally {
    await client.end();
  }
});

describe.each(WAYS)("a commit whose wait for a standby ends by %s is there and was not acknowledged", (way) => {
  const lost = { code: "FULA_DATABASE_UNREACHABLE", message: expect.stringContaining("does not answer") };

  test("in a statement of the pool, and the pool goes on with another connection", async () => {
    const note = `pool ${way}`;
    const writing = pool.query(insert(note));
    const [outcome] = await Promise.allSettled([writing, endWait(way)]);
    expect(outcome).toMatchObject({ status: "rejected" });
    await expect(isThere(note)).resolves.toBe(true);
    await expect(pool.query("select 1")).resolves.toMatchObject({ rowCount: 1 });
    expect(pool.totalCount).toBe(1);
  });

  test("in a session of a role that was told to hear errors alone", async () => {
    const note = `deaf ${way}`;
    await awaitStandbys("");
    await primary.sql("alter role ledger set client_min_messages = 'error'");
    await awaitStandbys("away");
    const deaf = createPool(options);
    try {
      const [outcome] = await Promise.allSettled([deaf.query(insert(note)), endWait(way)]);
      expect(outcome).toMatchObject({ status: "rejected" });
      await expect(isThere(note)).resolves.toBe(true);
    } finally {
      await deaf.end();
      await awaitStandbys("");
      await primary.sql("alter role ledger reset client_min_messages");
    }
  });

  test("in a statement that is explained", async () => {
    const [outcome] = await Promise.allSettled([runQuery(pool, insert(`explained ${way}`)), endWait(way)]);
    expect(outcome).toMatchObject({ status: "rejected", reason: lost });
  });

  test("in a transaction, which is not run again", async () => {
    let runs = 0;
    const transaction = withTransaction(pool, async (client) => {
      runs += 1;
      await client.query(insert(`transaction ${way}`));
    });
    const [outcome] = await Promise.allSettled([transaction, endWait(way)]);
    expect(outcome).toMatchObject({ status: "rejected", reason: { code: "FULA_COMMIT_UNKNOWN" } });
    expect(runs).toBe(1);
  });

  test("in a session, which is lost", async () => {
    await using session = await openSession(options, systemClock);
    const [outcome] = await Promise.allSettled([session.query(insert(`session ${way}`)), endWait(way)]);
    expect(outcome).toMatchObject({ status: "rejected", reason: lost });
    await until("the session is lost", async () => session.lost.aborted);
  });

  test("in the taking of the lease, which is held only when a standby has it", async () => {
    // The server takes what is still going on for a holder's for as long.
    await using lease = await startTestLease({ options }, { node: "fula-1", ttlMs: 3_000 });
    await endWait(way);
    await until("the lease tells of its lost session", async () => lease.events().includes("lease.session_lost"));
    expect(lease.holdings).toEqual([]);
    await awaitStandbys("");
    await until("the lease is held", async () => lease.holdings.length > 0);
  });

  test("in the move of a bucket, and who then looks whether it was made is told when a standby has it", async () => {
    const roots = new PostgresRoots({ pool, node: "fula-1", clock: systemClock, random: systemRandom });
    const name = bucketNamed(`photos-${way}`);
    let isDone = false;
    const moving = roots.cas(name, moveTo(null, rootCid(1))).finally(() => {
      isDone = true;
    });
    // The move itself, then the look at what became of it.
    await endWait(way);
    await endWait(way);
    await until("it is looked for once more", async () => {
      const waiting = await primary.sql("select from pg_stat_activity where wait_event = 'SyncRep'");
      return waiting.length > 0;
    });
    expect(isDone).toBe(false);
    await awaitStandbys("");
    await expect(moving).resolves.toMatchObject({ kind: "won" });
  });

  test("in a deposit, which is posted once and told when a standby has it", async () => {
    const userId = (way.length + 100).toString(16).padStart(64, "0");
    let isDone = false;
    const crediting = creditUser(pool, {
      type: "deposit",
      userId,
      amountUnits: parseUnits("5"),
      reference: `8453:0x${way.length.toString(16).padStart(64, "0")}:0`,
      referralBonuses: false,
    }).finally(() => {
      isDone = true;
    });
    await endWait(way);
    await until("it is looked for once more", async () => {
      const waiting = await primary.sql("select from pg_stat_activity where wait_event = 'SyncRep'");
      return waiting.length > 0;
    });
    expect(isDone).toBe(false);
    await awaitStandbys("");
    await expect(crediting).resolves.toMatchObject({ applied: false });
    const rows = await primary.sql<{ balance: string }>(
      "select balance_fula::text as balance from user_credits where user_id = $1",
      [userId],
      "ledger",
    );
    expect(rows).toMatchObject([{ balance: expect.stringMatching(/^5/) }]);
  });
});
