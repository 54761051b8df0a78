import { describe, expect, test } from "vitest";
import { isFulaError } from "../../../src/lib/kernel/errors.ts";
import { readLease } from "../../../src/lib/lease/lease-record.ts";
import { startTestLease } from "../../support/leases.ts";
import { startPgbouncer } from "../../support/pgbouncer.ts";
import { freshDatabase } from "../../support/postgres.ts";
import { TcpProxy } from "../../support/tcp-proxy.ts";
import { until } from "../../support/until.ts";

/** Modes in which a client's session is somebody else's a moment later. */
const SESSIONLESS = ["transaction", "statement"] as const;

describe("behind a pooler", () => {
  test.each(SESSIONLESS)("that pools by the %s a lease is refused, with what to do", async (poolMode) => {
    await using database = await freshDatabase();
    await using pooler = await startPgbouncer(database, poolMode);
    const connection = { ...database.options, host: pooler.host, port: pooler.port };
    const error = await startTestLease(database, { node: "master-1", connection }).then(
      async (lease) => {
        await lease.lease.release();
        return null;
      },
      (reason: unknown) => reason,
    );
    expect(isFulaError(error, "FULA_LEASE_POOLER") && error.hint).toContain("postgres.host and postgres.port");
    expect(await readLease(database.pool)).toMatchObject({ standing: "free", epoch: 0n });
  });

  test("that pools by the session the lease is held, and passed on", async () => {
    await using database = await freshDatabase();
    await using pooler = await startPgbouncer(database, "session");
    const connection = { ...database.options, host: pooler.host, port: pooler.port };
    const first = await startTestLease(database, { node: "master-1", connection });
    await until("it is held", async () => await Promise.resolve(first.lease.state().held));
    expect(await readLease(database.pool)).toMatchObject({ standing: "held", holder: "master-1" });
    await using second = await startTestLease(database, { node: "master-2", connection });
    await first.lease.release();
    await until("it is passed on", async () => await Promise.resolve(second.lease.state().held));
    expect(second.lease.state().epoch).toBe(2n);
  });
});

test("what only passes bytes on is no pooler", async () => {
  await using database = await freshDatabase();
  const proxy = new TcpProxy(database.options.host, database.options.port);
  const port = await proxy.listen(0);
  await using lease = await startTestLease(database, { node: "master-1", connection: { ...database.options, port } });
  await until("it is held", async () => await Promise.resolve(lease.lease.state().held));
  await lease.lease.release();
  await proxy.end();
});
