import { jetstreamManager } from "@nats-io/jetstream";
import { connect, type NatsConnection, nkeyAuthenticator } from "@nats-io/transport-node";
import { expect, test } from "vitest";
import { systemRandom } from "../../../src/lib/kernel/random.ts";
import { runSelfTest, type SelfTestTarget } from "../../../src/lib/membership/kv/self-test.ts";
import { startNatsServers, type NatsServers } from "../../support/nats-servers.ts";

const CLIENTS = 8;

async function connectAll(
  { urls, user }: NatsServers,
  stack: AsyncDisposableStack,
): Promise<readonly NatsConnection[]> {
  const authenticator = nkeyAuthenticator(new TextEncoder().encode(user.seed));
  return await Promise.all(
    Array.from({ length: CLIENTS }, async () => {
      const connection = await connect({ servers: [...urls], authenticator });
      stack.defer(async () => {
        await connection.close();
      });
      return connection;
    }),
  );
}

function targetOf(connections: readonly NatsConnection[], nowMs: number): SelfTestTarget {
  const rounds = 10;
  return { connections, prefix: "FULA", replicas: 0, rounds, random: systemRandom, nowMs, timeoutMs: 20_000 };
}

async function streamNames(connection: NatsConnection | undefined): Promise<readonly string[]> {
  if (connection === undefined) return [];
  const manager = await jetstreamManager(connection);
  const names: string[] = [];
  for await (const name of manager.streams.names()) names.push(name);
  return names;
}

test("eight clients race for a scratch key of a real server, one wins each round, and nothing stays", async () => {
  await using stack = new AsyncDisposableStack();
  const servers = stack.use(await startNatsServers(1));
  const connections = await connectAll(servers, stack);
  const report = await runSelfTest(targetOf(connections, Date.now()));
  expect(report).toEqual({ rounds: 10, racers: CLIENTS, mostWinners: 1, problems: [] });
  expect(await streamNames(connections[0])).toEqual([]);
});

test("what a killed run left is taken away by a later one, and that of a run which goes on is not", async () => {
  await using stack = new AsyncDisposableStack();
  const servers = stack.use(await startNatsServers(1));
  const connections = await connectAll(servers, stack);
  const [first] = connections;
  if (first === undefined) throw new Error("no client");
  const manager = await jetstreamManager(first);
  await manager.streams.add({ name: "KV_FULA_selftest_00", subjects: ["$KV.FULA_selftest_00.>"] });
  await manager.streams.add({ name: "KV_FULA_users", subjects: ["$KV.FULA_users.>"] });
  await runSelfTest(targetOf(connections, Date.now()));
  expect(await streamNames(first)).toEqual(["KV_FULA_selftest_00", "KV_FULA_users"]);
  await runSelfTest(targetOf(connections, Date.now() + 660_000));
  expect(await streamNames(first)).toEqual(["KV_FULA_users"]);
});
