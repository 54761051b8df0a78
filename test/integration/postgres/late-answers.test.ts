import { once } from "node:events";
import { connect, createServer, type Socket } from "node:net";
import { expect, onTestFinished, test } from "vitest";
import { systemClock } from "../../../src/lib/kernel/clock.ts";
import { awaitLogin } from "../../../src/lib/postgres/late-answers.ts";
import { createPool, type Pool } from "../../../src/lib/postgres/pool.ts";
import { emptyDatabase } from "../../support/postgres.ts";
import { until } from "../../support/until.ts";

interface FrontedPool {
  readonly pool: Pool;
  readonly asked: () => number;
}

/** A pool to a real server behind a front that takes the first connections and says nothing to them. */
async function poolBehindFront(silentOnes: number, connectTimeoutMs: number): Promise<FrontedPool> {
  const database = await emptyDatabase();
  const { host, port } = database.options;
  const sockets = new Set<Socket>();
  let asked = 0;
  const front = createServer((socket) => {
    asked += 1;
    sockets.add(socket.on("error", () => {}));
    if (asked <= silentOnes) return;
    const onward = connect({ host, port }).on("error", () => {});
    sockets.add(onward);
    socket.pipe(onward).pipe(socket);
  }).listen(0, "127.0.0.1");
  await once(front, "listening");
  const address = front.address();
  const frontPort = typeof address === "object" && address !== null ? address.port : 0;
  const pool = createPool({ ...database.options, host: "127.0.0.1", port: frontPort, connectTimeoutMs });
  onTestFinished(async () => {
    await pool.end();
    for (const socket of sockets) socket.destroy();
    front.close();
    await database.drop();
  });
  return { pool, asked: () => asked };
}

test("a server that takes connections and lets nobody in yet is asked until it does", async () => {
  const { pool, asked } = await poolBehindFront(2, 2_000);
  await awaitLogin(pool, { clock: systemClock, patienceMs: 60_000 });
  expect(asked()).toBeGreaterThan(2);
});

test("it is given up when the patience is over, and asked once where there is none", async () => {
  const { pool, asked } = await poolBehindFront(Number.POSITIVE_INFINITY, 300);
  const unreachable = { code: "FULA_DATABASE_UNREACHABLE" };
  await expect(awaitLogin(pool, null)).rejects.toMatchObject(unreachable);
  // The front may hear of it only now.
  await until("it was asked", async () => asked() > 0);
  expect(asked()).toBe(1);
  await expect(awaitLogin(pool, { clock: systemClock, patienceMs: 5_000 })).rejects.toMatchObject(unreachable);
  await until("it was asked again and again", async () => asked() > 2);
});

test("a server that is not there is not waited for", async () => {
  const { pool } = await poolBehindFront(0, 2_000);
  pool.options.port = 1;
  const patience = {
    clock: { ...systemClock, sleep: async () => await Promise.reject(new Error("slept")) },
    patienceMs: 60_000,
  };
  await expect(awaitLogin(pool, patience)).rejects.toMatchObject({ code: "FULA_DATABASE_UNREACHABLE" });
});
