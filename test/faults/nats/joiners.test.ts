/*
 * Masters that come with a token have servers that are new, beside some that have the records. New ones must be taken in,
 * and never elect one of themselves: whoever leads has what counts, even if that is nothing.
 */
import { expect, test } from "vitest";
import {
  agreedLeader,
  metaGroupAt,
  type PlacedServers,
  placeNatsServers,
  routesAt,
  serverAt,
} from "../../support/nats-places.ts";
import { until } from "../../support/until.ts";
import { addForSure, openAt, operatorOf, PATIENT } from "./stores.ts";

/** On a busy machine: they dial one another again, and those with the records elect first. */
const HEALING_MS = 180_000;
const RECORDS = [1, 2, 3, 4, 5].map((number) => operatorOf(number));

/** A first master and its witness, who know each other, and two that come. */
async function place(isJoining: boolean, routes: readonly (readonly number[])[]): Promise<PlacedServers> {
  return await placeNatsServers(4, {
    routesOf: (index) => routes[index] ?? [],
    isJoining: (index) => isJoining && index > 1,
  });
}

/** Starts the first two, and has them keep some records. */
async function startWithRecords(placed: PlacedServers): Promise<void> {
  const [first, witness] = [serverAt(placed, 0), serverAt(placed, 1)];
  await Promise.all([first.process.start(), witness.process.start()]);
  await using store = await openAt(placed, [first], { ...PATIENT, replicas: 1 });
  for (const record of RECORDS) await addForSure(store, record);
}

/** Starts the two that come, at the same moment. */
async function startJoiners(placed: PlacedServers): Promise<void> {
  await Promise.all([2, 3].map(async (index) => await serverAt(placed, index).process.start()));
}

async function expectRecordsAtAll(placed: PlacedServers): Promise<void> {
  for (const server of placed.servers) {
    await using store = await openAt(placed, [server], { ...PATIENT, replicas: 1 });
    expect((await store.listOperators()).map(({ id }) => id)).toEqual(RECORDS.map(({ id }) => id));
  }
}

test("two masters that join at the same moment are both taken in, and every record is there", async () => {
  await using placed = await place(true, [[1], [0], [0], [0]]);
  await startWithRecords(placed);
  await startJoiners(placed);
  await agreedLeader(placed.servers);
  await until("the leader counts all four", async () => {
    const groups = await Promise.all(placed.servers.map(metaGroupAt));
    return groups.some((group) => group?.current.length === 3);
  });
  await expectRecordsAtAll(placed);
});

test("two that are new elect nobody while those with the records are out of reach; without the remedy they elect one of themselves, who has nothing", async () => {
  await using ours = await place(true, [[1], [0], [0], [0, 2]]);
  await using control = await place(false, [[1], [0], [0], [0, 2]]);
  for (const placed of [ours, control]) {
    await startWithRecords(placed);
    await placed.network.cutOff([serverAt(placed, 0).place, serverAt(placed, 1).place]);
    await startJoiners(placed);
  }
  const newcomers = ["master-3", "master-4"];
  expect(newcomers).toContain(await agreedLeader(control.servers.slice(2)));
  // The others had as long for it, and know each other as well.
  await until("they have met", async () => (await routesAt(serverAt(ours, 2))) === 1);
  for (const server of ours.servers.slice(2)) expect((await metaGroupAt(server))?.leader).toBe("");
  await ours.network.heal();
  const leader = await agreedLeader(ours.servers, { withinMs: HEALING_MS });
  expect(newcomers).not.toContain(leader);
  await expectRecordsAtAll(ours);
});
