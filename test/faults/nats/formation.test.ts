/*
 * The known ways in which three servers do not come together, each with the remedy and with the remedy taken out.
 * Where nats-server itself has become better since, the test holds what is left of the difference (decision 0237).
 */
import { once } from "node:events";
import { connect as connectTcp } from "node:net";
import { jetstreamManager } from "@nats-io/jetstream";
import { connect, type NatsConnection, nkeyAuthenticator } from "@nats-io/transport-node";
import { afterAll, beforeAll, expect, test } from "vitest";
import { z } from "zod";
import { systemClock } from "../../../src/lib/kernel/clock.ts";
import {
  agreedLeader,
  type PlacedServer,
  type PlacedServers,
  placeNatsServers,
  replaceIn,
  routesAt,
  serverAt,
} from "../../support/nats-places.ts";
import { until } from "../../support/until.ts";
import { addForSure, openAt, operatorOf, PATIENT } from "./stores.ts";

/** An address that every Docker host has, and means itself by. */
const BRIDGE = "172.17.0.1";
/** For nine servers, each on a machine of its own. */
const SETUP_MS = 300_000;
const LONG_WAIT_MS = 6_000;

const made = new AsyncDisposableStack();
/** As operators get them. */
let ours: PlacedServers;
/** With the server's own number of connections for each peer. */
let pooled: PlacedServers;
/** They are told of the first alone, and tell others where they think they are themselves. */
let advertising: PlacedServers;

beforeAll(async () => {
  ours = made.use(await placeNatsServers(3));
  pooled = made.use(await placeNatsServers(3, { edit: (config) => replaceIn(config, "pool_size: -1", "") }));
  advertising = made.use(
    await placeNatsServers(3, {
      routesOf: (index) => (index === 0 ? [1] : [0]),
      edit: (config) => replaceIn(config, "no_advertise: true", ""),
      editRoutes: (routes) => replaceIn(routes, /advertise: ".*"/, `advertise: "${BRIDGE}:6222"`),
    }),
  );
  for (const place of [...ours.network.places, ...advertising.network.places]) await place.addDeadEnd(BRIDGE);
  for (const placed of [ours, pooled, advertising]) await start(placed.servers);
}, SETUP_MS);

afterAll(async () => {
  await made.disposeAsync();
});

async function start(servers: readonly PlacedServer[]): Promise<void> {
  await Promise.all(servers.map(async ({ process }) => await process.start()));
}

/** Waits until each server has as many connections as it is going to have. */
async function settledRoutes({ servers }: PlacedServers, wanted: readonly number[]): Promise<void> {
  await until(`the servers have ${wanted.join(", ")} connections`, async () => {
    const counts = await Promise.all(servers.map(routesAt));
    return counts.every((count, index) => count === wanted[index]);
  });
}

/** A client of its own at one server, as soon as that takes clients. */
async function connectAt(
  { user }: PlacedServers,
  { url }: PlacedServer,
): Promise<AsyncDisposable & { readonly nats: NatsConnection }> {
  const authenticator = nkeyAuthenticator(new TextEncoder().encode(user.seed));
  const nats = await until("the server takes clients", async () => {
    return await connect({ servers: url, authenticator, reconnect: false }).catch(() => null);
  });
  return { nats, [Symbol.asyncDispose]: async () => await nats.close() };
}

const infoSchema = z.object({ connect_urls: z.array(z.string()).default([]) });

/** Where a server sends its clients to, when they lose it. */
async function otherAddressesAt({ place }: PlacedServer): Promise<readonly string[]> {
  const socket = connectTcp({ host: place.address, port: 4_222 });
  try {
    const [data]: unknown[] = await once(socket, "data");
    const text = String(data);
    return infoSchema.parse(JSON.parse(text.slice("INFO ".length, text.indexOf("\r\n")))).connect_urls;
  } finally {
    socket.destroy();
  }
}

test("two servers have one connection; with pooling they have four", async () => {
  await agreedLeader(ours.servers);
  await agreedLeader(pooled.servers);
  await settledRoutes(ours, [2, 2, 2]);
  await settledRoutes(pooled, [8, 8, 8]);
});

test("no client is sent to the address of a bridge; without `no_advertise` it is", async () => {
  await settledRoutes(ours, [2, 2, 2]);
  for (const server of ours.servers) expect(await otherAddressesAt(server)).toEqual([]);
  for (const server of advertising.servers) {
    await until("a client is sent to a bridge", async () =>
      (await otherAddressesAt(server)).includes(`${BRIDGE}:4222`),
    );
  }
});

test("a master that comes before the leader writes as soon as there is one; the one request of a long wait is lost", async () => {
  await using placed = await placeNatsServers(3);
  const early = serverAt(placed, 0);
  await early.process.start();
  await using connection = await connectAt(placed, early);
  const startedMs = systemClock.monotonicMs();
  // The same wish, once: the server that it comes to knows nobody yet who could fulfil it.
  const long = jetstreamManager(connection.nats, { timeout: LONG_WAIT_MS, checkAPI: false })
    .then(async (manager) => await manager.streams.add({ name: "LONG", subjects: ["long"], num_replicas: 3 }))
    .then(
      () => "answered",
      () => "lost",
    );
  const waits: string[] = [];
  const short = openAt(placed, [early], PATIENT, (sentence) => waits.push(sentence));
  await until("it says that nobody leads", async () => waits.join("; ").includes("elect a leader"));
  await start(placed.servers.slice(1));
  await using store = await short;
  await addForSure(store, operatorOf(1));
  expect(await long).toBe("lost");
  expect(systemClock.monotonicMs() - startedMs).toBeGreaterThan(LONG_WAIT_MS - 100);
});

// Last: it loses the first of each.
test("servers that are told of all others go on when the first is lost; those that hear bridge addresses from it do not", async () => {
  await settledRoutes(ours, [2, 2, 2]);
  await settledRoutes(advertising, [2, 1, 1]);
  for (const { servers } of [ours, advertising]) await servers[0]?.process.kill();
  await agreedLeader(ours.servers.slice(1), { except: "master-1" });
  // They have never met: all that either knew of the federation was the first.
  await until("the others have nobody left", async () => {
    const counts = await Promise.all(advertising.servers.slice(1).map(routesAt));
    return counts.every((count) => count === 0);
  });
});
