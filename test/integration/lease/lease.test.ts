import { once } from "node:events";
import { describe, expect, test } from "vitest";
import { systemClock } from "../../../src/lib/kernel/clock.ts";
import { isFulaError } from "../../../src/lib/kernel/errors.ts";
import { LEASE_LOCK_KEY, readLease } from "../../../src/lib/lease/lease-record.ts";
import { type Fence, fenceCte, fenceValues } from "../../../src/lib/postgres/fence.ts";
import { migrateDown, migrateUp } from "../../../src/lib/postgres/migrator.ts";
import type { Pool } from "../../../src/lib/postgres/pool.ts";
import { FaultProxy } from "../../support/fault-proxy.ts";
import { findFreePort } from "../../support/free-port.ts";
import { startLeaseProcess, startTestLease } from "../../support/leases.ts";
import { freshDatabase, type TestDatabase, testPostgres } from "../../support/postgres.ts";
import { TcpProxy } from "../../support/tcp-proxy.ts";
import { until } from "../../support/until.ts";

/**
 * For what has to wait until it is over, and no shorter: whose session stands still for so long loses it. Whoever has to keep
 * the lease for a whole test has one of the longer ones.
 */
const SHORT_TTL_MS = 3_000;
/** It is renewed every three seconds, and no pause of the machine is so long that it would not be. */
const RENEWED_TTL_MS = 15_000;
/** Longer than the test waits for anything: whoever follows meanwhile has not waited for it. */
const LONG_TTL_MS = 600_000;

async function databaseWithWrites(): Promise<TestDatabase> {
  const database = await freshDatabase();
  await database.pool.query(
    "create table writes (id bigserial, epoch bigint, holder text, at timestamptz default clock_timestamp())",
  );
  return database;
}

/** Watches for so long that nothing happens. */
async function watch(ms: number, isStill: () => boolean): Promise<void> {
  const startMs = systemClock.monotonicMs();
  await until("it was watched", async () => {
    expect(isStill()).toBe(true);
    return await Promise.resolve(systemClock.monotonicMs() - startMs > ms);
  });
}

async function isValid(pool: Pool, fence: Fence | null): Promise<boolean> {
  const { rowCount } = await pool.query(`with ${fenceCte(1)} select from fence`, [...fenceValues(fence)]);
  return rowCount === 1;
}

async function lockHolders(pool: Pool): Promise<number> {
  const { rows } = await pool.query<{ count: number }>(
    `select count(*)::int as count from pg_locks
      where locktype = 'advisory' and granted and objid = $1
        and database = (select oid from pg_database where datname = current_database())`,
    [LEASE_LOCK_KEY.toString()],
  );
  return rows[0]?.count ?? -1;
}

describe("a lease", () => {
  test("is taken with a number that only grows, told in the ledger, and given back", async () => {
    await using database = await freshDatabase();
    expect(await readLease(database.pool)).toMatchObject({ standing: "free", holder: null, epoch: 0n, session: null });
    const first = await startTestLease(database, { node: "master-1" });
    await until("the lease is held", async () => await Promise.resolve(first.lease.state().held));
    expect(first.lease.state()).toMatchObject({ held: true, epoch: 1n, holder: "master-1" });
    expect(await readLease(database.pool)).toMatchObject({
      standing: "held",
      holder: "master-1",
      epoch: 1n,
      session: { applicationName: "fula-master/lease@master-1" },
    });
    expect(await isValid(database.pool, { holder: "master-1", epoch: 1n })).toBe(true);
    await first.lease.release();
    expect(first.holdings[0]?.signal.aborted).toBe(true);
    expect(await readLease(database.pool)).toMatchObject({ standing: "free", holder: null, epoch: 1n });
    expect(await isValid(database.pool, { holder: "master-1", epoch: 1n })).toBe(false);
    await using second = await startTestLease(database, { node: "master-1" });
    await until("it is held again", async () => await Promise.resolve(second.lease.state().held));
    expect(second.lease.state().epoch).toBe(2n);
    expect(second.events()).toEqual(["acquired cron lease"]);
  });

  test("is renewed for as long as it is held, also while work under it keeps the row from being taken", async () => {
    await using database = await databaseWithWrites();
    await using leader = await startTestLease(database, { node: "master-1", ttlMs: RENEWED_TTL_MS });
    const fence = await until("it is held", async () => await Promise.resolve(leader.holdings[0]?.fence));
    const client = await database.pool.connect();
    await client.query("begin");
    await client.query(`with ${fenceCte(1)} insert into writes (epoch) select $2::bigint from fence`, [
      ...fenceValues(fence),
    ]);
    const ends = new Set<string>();
    await until("it was renewed twice", async () => {
      expect(await readLease(database.pool)).toMatchObject({ standing: "held", epoch: 1n });
      const { rows } = await database.pool.query<{ end: string }>("select expires_at::text as end from cron_lease");
      ends.add(rows[0]?.end ?? "");
      return ends.size > 2;
    });
    await client.query("commit");
    client.release();
    expect([leader.lease.state().held, leader.holdings.length]).toEqual([true, 1]);
  });

  test("has one holder at any time, however many race for it, and passes from one to the next", async () => {
    await using database = await freshDatabase();
    await using stack = new AsyncDisposableStack();
    const masters = await Promise.all(
      Array.from({ length: 8 }, async (_, index) =>
        stack.use(await startTestLease(database, { node: `master-${index + 1}` })),
      ),
    );
    const fences: Fence[] = [];
    for (let epoch = 1n; epoch <= 8n; epoch += 1n) {
      const leader = await until(
        `epoch ${epoch} is held`,
        async () => await Promise.resolve(masters.find(({ lease }) => lease.state().held)),
      );
      expect(masters.filter(({ lease }) => lease.state().held)).toHaveLength(1);
      expect(await lockHolders(database.pool)).toBe(1);
      const fence = leader.holdings[0]?.fence;
      expect(fence?.epoch).toBe(epoch);
      if (fence !== null && fence !== undefined) fences.push(fence);
      const valid = await Promise.all(fences.map(async (each) => await isValid(database.pool, each)));
      expect(valid).toEqual(fences.map((each) => each.epoch === epoch));
      await leader.lease.release();
    }
    expect(masters.flatMap(({ holdings }) => holdings)).toHaveLength(8);
  });

  test("says once for each holder that it stands by", async () => {
    await using database = await freshDatabase();
    await using leader = await startTestLease(database, { node: "master-1" });
    await until("it is held", async () => await Promise.resolve(leader.lease.state().held));
    await using standby = await startTestLease(database, { node: "master-2" });
    await until("it stands by", async () => await Promise.resolve(standby.lease.state().holder === "master-1"));
    // It looks four times a second.
    await watch(1_500, () => !standby.lease.state().held);
    expect(standby.logged).toEqual([
      { event: "standby (lease held by another master)", fields: { holder: "master-1", epoch: "1" } },
    ]);
    expect(standby.lease.state()).toEqual({ held: false, epoch: 1n, holder: "master-1", sinceMs: null });
  });

  test("whose session is ended stops the work, and is taken again under another number", async () => {
    await using database = await freshDatabase();
    await using leader = await startTestLease(database, { node: "master-1" });
    await until("it is held", async () => await Promise.resolve(leader.lease.state().held));
    const pid = (await readLease(database.pool)).session?.pid;
    await database.pool.query("select pg_terminate_backend($1)", [pid]);
    await until("it is held again", async () => await Promise.resolve(leader.holdings.length === 2));
    expect(leader.holdings[0]?.signal.aborted).toBe(true);
    expect(isFulaError(leader.holdings[0]?.signal.reason, "FULA_LEASE_LOST")).toBe(true);
    expect(leader.holdings[1]?.fence?.epoch).toBe(2n);
    expect(leader.events()).toEqual(["acquired cron lease", "lease.lost", "acquired cron lease"]);
  });

  test("is taken again when the server is back, after it was gone for a while", async () => {
    await using database = await freshDatabase();
    const proxy = new TcpProxy(database.options.host, database.options.port);
    const port = await proxy.listen(await findFreePort());
    await using leader = await startTestLease(database, {
      node: "master-1",
      connection: { ...database.options, port },
    });
    await until("it is held", async () => await Promise.resolve(leader.lease.state().held));
    await proxy.end();
    await until(
      "it cannot be opened again",
      async () => await Promise.resolve(leader.logged.find(({ event }) => event === "lease.session_lost")),
    );
    expect([leader.lease.state().held, leader.holdings[0]?.signal.aborted]).toEqual([false, true]);
    await proxy.listen(port);
    await until("it is held again", async () => await Promise.resolve(leader.lease.state().held));
    expect(leader.lease.state().epoch).toBe(2n);
    await leader.lease.release();
    await proxy.end();
  });

  test("goes over TLS where the ledger does, and takes no server that nobody vouches for", async () => {
    await using database = await freshDatabase();
    const { tlsCaFile } = testPostgres();
    const secure = { ...database.options, host: "localhost", tls: "verify-full" as const };
    await using leader = await startTestLease(database, { node: "master-1", connection: { ...secure, tlsCaFile } });
    await until("it is held", async () => await Promise.resolve(leader.lease.state().held));
    const { rows } = await database.pool.query(
      "select ssl from pg_stat_ssl join cron_lease on pid = session_pid where holder = 'master-1'",
    );
    expect(rows).toEqual([{ ssl: true }]);
    await expect(startTestLease(database, { node: "master-2", connection: secure })).rejects.toThrow(/certificate/);
  });

  test("is given up by a holder whose work fails, and taken again later", async () => {
    await using database = await freshDatabase();
    let runs = 0;
    await using leader = await startTestLease(database, {
      node: "master-1",
      whileHeld: async (_fence, signal) => {
        runs += 1;
        if (runs === 1) throw new Error("a bug");
        await once(signal, "abort");
      },
    });
    await until("it is held again", async () => await Promise.resolve(runs === 2));
    expect(leader.events()).toContain("lease.lost");
    expect(leader.lease.state().epoch).toBe(2n);
  });

  test("goes on from the epochs that hours were billed under where its table was made anew", async () => {
    await using database = await freshDatabase();
    await database.pool.query(
      `insert into billing_hours (hour, state, free_tier_bytes, fula_per_gib_month, began_by, began_epoch)
       values ('2026-06-12T14:00:00Z', 'open', 0, 3, 'master-1', 41)`,
    );
    await migrateDown(database.pool, { to: 29 });
    await migrateUp(database.pool);
    await using leader = await startTestLease(database, { node: "master-1" });
    await until("it is held", async () => await Promise.resolve(leader.lease.state().held));
    expect(leader.lease.state().epoch).toBe(42n);
  });

  test("is not taken on a session that something else refuses", async () => {
    await using database = await freshDatabase();
    const starting = startTestLease(database, {
      node: "master-1",
      onSession: async () => await Promise.reject(new Error("another mode")),
    });
    await expect(starting).rejects.toThrow("another mode");
    expect(await lockHolders(database.pool)).toBe(0);
  });

  test("that keeps nobody out lets every master work, without a fence, while its session stands", async () => {
    await using database = await freshDatabase();
    await using first = await startTestLease(database, { node: "master-1", exclusive: false });
    await using second = await startTestLease(database, { node: "master-2", exclusive: false });
    await until("both work", async () => await Promise.resolve(first.lease.state().held && second.lease.state().held));
    expect([first.holdings[0]?.fence, second.holdings[0]?.fence]).toEqual([null, null]);
    expect(await readLease(database.pool)).toMatchObject({ standing: "free", epoch: 0n });
    expect(await isValid(database.pool, null)).toBe(true);
    await database.pool.query(
      "select pg_terminate_backend(pid) from pg_stat_activity where application_name = 'fula-master/lease@master-1'",
    );
    await until("it works again", async () => await Promise.resolve(first.holdings.length === 2));
    expect(first.holdings[0]?.signal.aborted).toBe(true);
  });
});

describe("a holder that is not there any more", () => {
  test("killed by force is followed by a standby long before its lease has run out, and writes nothing later", async () => {
    await using database = await databaseWithWrites();
    await using leader = startLeaseProcess(database, "master-1", { ttlMs: LONG_TTL_MS });
    await until("it leads", async () => await Promise.resolve(leader.told.find(({ event }) => event === "held")));
    await using standby = await startTestLease(database, { node: "master-2", ttlMs: LONG_TTL_MS });
    await until("it stands by", async () => await Promise.resolve(standby.lease.state().holder === "master-1"));
    leader.signal("SIGKILL");
    await until("the standby leads", async () => await Promise.resolve(standby.lease.state().held));
    expect(standby.lease.state().epoch).toBe(2n);
    const { rows } = await database.pool.query(
      "select from writes, cron_lease where writes.epoch = 1 and writes.at > cron_lease.taken_at",
    );
    expect(rows).toEqual([]);
  });

  test("paused for longer than its time to live is followed, and its late write is refused when it goes on", async () => {
    await using database = await databaseWithWrites();
    await using paused = startLeaseProcess(database, "master-1", { ttlMs: SHORT_TTL_MS });
    await until("it leads", async () => await Promise.resolve(paused.told.find(({ event }) => event === "held")));
    await until("it writes", async () => (await database.pool.query("select from writes limit 1")).rowCount);
    // Who follows has to keep the lease while this process has other things to do.
    await using standby = await startTestLease(database, { node: "master-2", ttlMs: LONG_TTL_MS });
    paused.signal("SIGSTOP");
    await until("the standby leads", async () => await Promise.resolve(standby.lease.state().held));
    const { epoch } = standby.lease.state();
    const { rows } = await database.pool.query<{ count: number }>("select count(*)::int as count from writes");
    paused.signal("SIGCONT");
    await until(
      "its write is refused",
      async () => await Promise.resolve(paused.told.find(({ event }) => event === "refused")),
    );
    await until(
      "it stands by",
      async () => await Promise.resolve(paused.told.find(({ event }) => event.startsWith("standby"))),
    );
    expect((await database.pool.query("select from writes")).rowCount).toBe(rows[0]?.count);
    expect(standby.lease.state()).toMatchObject({ held: true, epoch });
  });

  test("whose lease has run out is put out by a standby, whatever the server does by itself", async () => {
    await using database = await freshDatabase();
    // Neither is renewed in between: that would take back what is done to the row.
    await using late = await startTestLease(database, { node: "master-1", ttlMs: LONG_TTL_MS });
    await until("it leads", async () => await Promise.resolve(late.lease.state().held));
    await database.pool.query("update cron_lease set expires_at = clock_timestamp() - interval '1 millisecond'");
    expect(await readLease(database.pool)).toMatchObject({ standing: "expired", holder: "master-1" });
    await using standby = await startTestLease(database, { node: "master-2", ttlMs: LONG_TTL_MS });
    await until("the standby leads", async () => await Promise.resolve(standby.lease.state().held));
    expect(standby.events()).toEqual(["lease.holder_ended", "acquired cron lease"]);
    expect(standby.logged[0]?.fields).toMatchObject({ holder: "master-1", epoch: "1" });
    await until("the other knows", async () => await Promise.resolve(late.holdings[0]?.signal.aborted));
    expect(late.lease.state().held).toBe(false);
  });

  test("that is cut off in the midst of the statement that takes the lease is put out by a standby", async () => {
    await using database = await freshDatabase();
    let statements = 0;
    await using proxy = new FaultProxy(database.options.host, database.options.port, ({ session, type }) => {
      if (!session.endsWith("/lease@master-1") || type !== "S") return "pass";
      statements += 1;
      // After one for settings and one that tries the lock; without its Sync the server waits on, and no timeout runs.
      return statements === 3 ? "swallow" : "pass";
    });
    const connection = { ...database.options, host: "127.0.0.1", port: await proxy.listen() };
    // It waits for its answer for longer than the standby for a sign of life: else it might put its own dead session out first.
    await using _ = await startTestLease(database, { node: "master-1", ttlMs: 30_000, connection });
    await until("it is stuck with the lock and with the row", async () => {
      const { rowCount } = await database.pool.query(
        `select from pg_stat_activity
          where datname = current_database() and state = 'active' and wait_event = 'ClientRead'
            and query like '%epoch = epoch + 1%'`,
      );
      return rowCount === 1;
    });
    await using standby = await startTestLease(database, { node: "master-2", ttlMs: SHORT_TTL_MS });
    await until("the standby leads", async () => await Promise.resolve(standby.lease.state().held));
    expect(standby.events().slice(0, 2)).toEqual(["lease.holder_ended", "acquired cron lease"]);
    expect(standby.logged[0]?.fields["session"]).toContain("lease@master-1");
    // Nobody tells the first one that its session is over.
    proxy.resetAll();
  });

  test("told to end lets its work finish, and is followed at once", async () => {
    await using database = await databaseWithWrites();
    await using standby = await startTestLease(database, {
      node: "master-2",
      whileHeld: async () => {},
      ttlMs: LONG_TTL_MS,
    });
    await until("it leads", async () => await Promise.resolve(standby.lease.state().held));
    let ended = false;
    await using leader = await startTestLease(database, {
      node: "master-1",
      ttlMs: LONG_TTL_MS,
      whileHeld: async (fence, signal) => {
        if (!signal.aborted) await once(signal, "abort");
        await database.pool.query(
          `with ${fenceCte(1)} insert into writes (epoch) select $2::bigint from fence, pg_sleep(0.2)`,
          [...fenceValues(fence)],
        );
        ended = true;
      },
    });
    await standby.lease.release();
    await until("it leads", async () => await Promise.resolve(leader.lease.state().held));
    await using next = await startTestLease(database, { node: "master-3", ttlMs: LONG_TTL_MS });
    await leader.lease.release();
    expect(ended).toBe(true);
    expect((await database.pool.query("select from writes where epoch = 2")).rowCount).toBe(1);
    await until("the next one leads", async () => await Promise.resolve(next.lease.state().held));
  });

  test("cut off without a word knows by itself that its time is over before anybody else leads", async () => {
    await using database = await databaseWithWrites();
    const proxy = new TcpProxy(database.options.host, database.options.port);
    const port = await proxy.listen(await findFreePort());
    await using cut = await startTestLease(database, {
      node: "master-1",
      connection: { ...database.options, port },
      ttlMs: SHORT_TTL_MS,
    });
    await until("it leads", async () => await Promise.resolve(cut.lease.state().held));
    await using standby = await startTestLease(database, { node: "master-2", ttlMs: LONG_TTL_MS });
    const order: string[] = [];
    cut.holdings.at(-1)?.signal.addEventListener("abort", () => order.push("master-1 stops"));
    proxy.swallow();
    await until("the standby leads", async () => await Promise.resolve(standby.lease.state().held));
    order.push("master-2 leads");
    expect(order).toEqual(["master-1 stops", "master-2 leads"]);
    expect(await isValid(database.pool, { holder: "master-1", epoch: 1n })).toBe(false);
    await proxy.end();
    await proxy.listen(port);
    await until("it stands by", async () => await Promise.resolve(cut.lease.state().holder === "master-2"));
    await cut.lease.release();
    await proxy.end();
  });
});

describe("the lock", () => {
  test("in the hands of software that keeps no epoch lets nobody of ours lead, who say so and leave it alone", async () => {
    await using database = await freshDatabase();
    const fleet = await database.pool.connect();
    await fleet.query("set application_name = 'webui'");
    await fleet.query("select pg_advisory_lock($1)", [LEASE_LOCK_KEY.toString()]);
    await using master = await startTestLease(database, { node: "master-1", ttlMs: SHORT_TTL_MS });
    await until("it stands by", async () => await Promise.resolve(master.logged[0]));
    expect(master.logged).toEqual([
      {
        event: "standby (lease held by another master)",
        fields: { holder: null, session: expect.stringMatching(/^webui \(pid \d+/), why: expect.any(String) },
      },
    ]);
    expect(await readLease(database.pool)).toMatchObject({
      standing: "foreign",
      holder: null,
      session: { applicationName: "webui" },
    });
    await watch(SHORT_TTL_MS * 1.5, () => !master.lease.state().held);
    expect(master.lease.state().holder).toBeNull();
    expect(master.events().filter((event) => event.startsWith("standby"))).toHaveLength(1);
    await fleet.query("select pg_advisory_unlock($1)", [LEASE_LOCK_KEY.toString()]);
    fleet.release();
    await until("it leads", async () => await Promise.resolve(master.lease.state().held));
  });

  test("is not waited for behind a write of the epoch before: whoever keeps the row is cut off", async () => {
    await using database = await databaseWithWrites();
    const first = await startTestLease(database, { node: "master-1" });
    const fence = await until("it is held", async () => await Promise.resolve(first.holdings[0]?.fence));
    const late = await database.pool.connect();
    await late.query("begin");
    await late.query(`with ${fenceCte(1)} insert into writes (epoch) select $2::bigint from fence`, [
      ...fenceValues(fence),
    ]);
    await first.lease.release();
    await using second = await startTestLease(database, { node: "master-2" });
    await until("it is held", async () => await Promise.resolve(second.lease.state().held));
    // Whose answer comes first is open: two sessions of the server give them.
    await until("both are told", async () => await Promise.resolve(second.logged.length === 2));
    expect(second.events().toSorted()).toEqual(["acquired cron lease", "lease.late_writer_ended"]);
    await expect(late.query("commit")).rejects.toThrow(/terminat|connection error/);
    late.release(true);
    expect((await database.pool.query("select from writes")).rowCount).toBe(0);
  });

  test("does not let us end somebody else's transaction, which is told instead", async () => {
    await using database = await freshDatabase();
    const operator = await database.pool.connect();
    await operator.query("set application_name = 'psql'");
    await operator.query("begin");
    await operator.query("select from cron_lease for update");
    await using master = await startTestLease(database, { node: "master-1", ttlMs: SHORT_TTL_MS });
    const told = await until(
      "it says who is in the way",
      async () => await Promise.resolve(master.logged.find(({ event }) => event === "lease.blocked")),
    );
    expect(told.fields).toMatchObject({ applicationName: "psql", isEnded: false });
    expect(await readLease(database.pool)).toMatchObject({ standing: "taking", holder: null });
    await watch(SHORT_TTL_MS * 1.5, () => !master.lease.state().held);
    await operator.query("commit");
    operator.release();
    await until("it leads", async () => await Promise.resolve(master.lease.state().held));
    expect(master.lease.state().epoch).toBe(1n);
    expect(await lockHolders(database.pool)).toBe(1);
  });
});
