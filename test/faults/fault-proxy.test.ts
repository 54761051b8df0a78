import { once } from "node:events";
import { connect, createServer } from "node:net";
import { Client } from "pg";
import { afterAll, beforeAll, expect, test } from "vitest";
import { FaultProxy, type Verdict } from "../support/fault-proxy.ts";
import { freshDatabase, type TestDatabase } from "../support/postgres.ts";
import { until } from "../support/until.ts";

let database: TestDatabase;

beforeAll(async () => {
  database = await freshDatabase();
  await database.pool.query("create table notes (note text primary key)");
});

afterAll(async () => {
  await database.drop();
});

/** Writes a note through a proxy that treats the message of this type so. @returns whether the client heard of success */
async function writeThrough(note: string, type: string, verdict: Verdict): Promise<boolean> {
  const { host, port, user, password } = database.options;
  await using proxy = new FaultProxy(host, port, (message) =>
    message.type === type && message.session === "writer" ? verdict : "pass",
  );
  const client = new Client({
    host: "127.0.0.1",
    port: await proxy.listen(),
    database: database.name,
    user,
    password,
    application_name: "writer",
    // Nobody hears of what is swallowed; whatever is not may take its time.
    query_timeout: verdict.startsWith("swallow") ? 1_000 : 30_000,
  });
  client.on("error", () => {});
  await client.connect();
  try {
    await client.query("insert into notes (note) values ($1)", [note]);
    return true;
  } catch {
    return false;
  } finally {
    // Where everything is swallowed, the end of the client is as well; the proxy ends both sides.
    client.end().catch(() => {});
  }
}

async function isWritten(note: string): Promise<boolean> {
  const { rows } = await database.pool.query("select from notes where note = $1", [note]);
  return rows.length === 1;
}

async function sessionsOfWriter(): Promise<number> {
  const { rows } = await database.pool.query<{ count: number }>(
    "select count(*)::int as count from pg_stat_activity where datname = current_database() and application_name = 'writer'",
  );
  return rows[0]?.count ?? -1;
}

test.each<[string, string, Verdict, boolean, boolean]>([
  ["nothing is done", "S", "pass", true, true],
  ["the connection ends before the statement", "P", "cut before", false, false],
  ["the connection ends within the statement", "P", "cut within", false, false],
  ["the connection ends between the statement and its commit", "E", "cut after", false, false],
  ["the connection ends after the commit and before the answer", "S", "cut after", false, true],
  ["the connection is torn off", "P", "reset", false, false],
  ["everything is swallowed from the statement on", "P", "swallow", false, false],
  ["the answer alone is swallowed", "P", "swallow answers", false, true],
])("where %s, client and server know just that", async (_, type, verdict, isHeard, isStored) => {
  const note = `${type} ${verdict}`;
  expect(await writeThrough(note, type, verdict)).toBe(isHeard);
  // The server acts on what it has got before it sees the end of the stream.
  await until("the server's session is over", async () => (await sessionsOfWriter()) === 0);
  expect(await isWritten(note)).toBe(isStored);
});

test("of a login that is swallowed the server hears when its client gives up, and so does not wait for the rest of it", async () => {
  const ends: Promise<unknown>[] = [];
  await using server = createServer((socket) => ends.push(once(socket.resume(), "end")));
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const address = server.address();
  if (typeof address !== "object" || address === null) throw new Error("no port");
  let judged = 0;
  await using proxy = new FaultProxy("127.0.0.1", address.port, () => {
    judged += 1;
    return "swallow";
  });
  const client = connect({ host: "127.0.0.1", port: await proxy.listen() });
  // A start-up packet without parameters: its length, and version 3.0 of the protocol.
  client.write(Buffer.from([0, 0, 0, 8, 0, 3, 0, 0]));
  await until("it is swallowed", async () => judged === 1 && ends.length === 1);
  client.destroy();
  await Promise.all(ends);
});

test("a proxy that holds up what passes changes neither its order nor its content", async () => {
  const { host, port, user, password } = database.options;
  await using proxy = new FaultProxy(host, port, () => "pass");
  proxy.delayMs = 2;
  const client = new Client({
    host: "127.0.0.1",
    port: await proxy.listen(),
    database: database.name,
    user,
    password,
  });
  await client.connect();
  const { rows: numbers } = await client.query<{ n: number }>(
    "select $1::int + n as n from generate_series(0, 2) n",
    [1],
  );
  proxy.delayMs = 0;
  const { rows } = await client.query("select repeat('x', 100000) as text");
  await client.end();
  expect(numbers).toEqual([{ n: 1 }, { n: 2 }, { n: 3 }]);
  expect(rows).toEqual([{ text: "x".repeat(100_000) }]);
});

test.each([
  ["at once", queueMicrotask],
  ["in the next round", setImmediate],
] as const)(
  "what is reset while it ends is closed, too: whoever ends the proxy does not wait for ever (%s)",
  async (_, soon) => {
    const { host, port, user, password } = database.options;
    await using proxy = new FaultProxy(host, port, ({ type }) => {
      if (type !== "Q") return "pass";
      soon(() => {
        proxy.resetAll();
      });
      return "cut after";
    });
    const place = { host: "127.0.0.1", port: await proxy.listen(), database: database.name, user, password };
    for (let round = 0; round < 5; round += 1) {
      const client = new Client(place);
      client.on("error", () => {});
      await client.connect();
      await expect(client.query("select 1")).rejects.toThrow();
    }
  },
  60_000,
);
