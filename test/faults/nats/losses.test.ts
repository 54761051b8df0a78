/*
 * Three masters' servers, each on a machine of its own, while some of them die, are cut off or have no disk left. Whoever
 * cannot be checked is not let in; what was acknowledged is there.
 */
import { rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { beforeEach, expect, test } from "vitest";
import { systemClock } from "../../../src/lib/kernel/clock.ts";
import type { MembershipStore } from "../../../src/lib/membership/store.ts";
import {
  agreedLeader,
  complaintOf,
  metaGroupAt,
  type PlacedServer,
  type PlacedServers,
  placeNatsServers,
  serverAt,
  streamLeader,
} from "../../support/nats-places.ts";
import { until } from "../../support/until.ts";
import { addForSure, expectEverywhere, MAX_AGE_MS, openAt, operatorOf, PATIENT, TIMEOUT_MS } from "./stores.ts";
import { Asker, Writer } from "./traffic.ts";

/** For what a busy machine adds to a bound. */
const SLACK_MS = 20_000;
/** Of a leader who is gone: the servers elect another, and clients find whoever answers. */
const RECOVERY_MS = 180_000;
const ADMIN = operatorOf(1, "admin");
const OTHER = operatorOf(2);

/** Enough for what the tests write, and little enough to be filled up in no time. */
const TINY_DISK_KIB = 16_384;

let placed: PlacedServers;

beforeEach(async () => {
  placed = await placeNatsServers(3, { tinyDiskKiB: (index) => (index === 0 ? TINY_DISK_KIB : null) });
  return async () => {
    await placed[Symbol.asyncDispose]();
  };
});

/** All three run; an admin and an operator are on record. */
async function startAll(): Promise<MembershipStore> {
  await Promise.all(placed.servers.map(async ({ process }) => await process.start()));
  {
    await using store = await openAt(placed, placed.servers, PATIENT);
    await addForSure(store, ADMIN);
    await addForSure(store, OTHER);
  }
  return await openAt(placed);
}

/** The server that leads the operators' records, and the others. */
async function leaderAndOthers(): Promise<readonly [PlacedServer, PlacedServer, PlacedServer]> {
  const leader = await streamLeader(placed, "KV_FULA_users");
  const [one, two] = placed.servers.filter((server) => server !== leader);
  if (one === undefined || two === undefined) throw new Error("There are fewer than three");
  return [leader, one, two];
}

test("when the leader is killed, reads and writes go on at the others, and nothing is lost", async () => {
  await using store = await startAll();
  const [leader] = await leaderAndOthers();
  await using writer = new Writer(store, 100).start();
  await using asker = new Asker(store, ADMIN.id).start();
  await until("writes are acknowledged", async () => writer.ids.length > 5);
  await leader.process.kill();
  const killedMs = systemClock.monotonicMs();
  await until("writes go on", async () => writer.hasWrittenSince(killedMs), RECOVERY_MS);
  await until("he may act again", async () => asker.allowedSince(killedMs + MAX_AGE_MS).length > 0, RECOVERY_MS);
  await writer[Symbol.asyncDispose]();
  expect(writer.surprises).toEqual([]);
  await leader.process.start();
  await agreedLeader(placed.servers);
  await expectEverywhere(placed, writer.ids);
});

test("with two of three killed nobody may act and nothing is written, each within the bound; with one back all goes on", async () => {
  await using store = await startAll();
  const [leader, one, two] = await leaderAndOthers();
  await using admin = new Asker(store, ADMIN.id).start();
  await using revoked = new Asker(store, OTHER.id).start();
  await using writer = new Writer(store, 100).start();
  await until("both may act", async () => admin.allowedSince(0).length > 5 && revoked.allowedSince(0).length > 5);
  await until(
    "he is revoked",
    async () => await store.changeOperator(OTHER.id, { status: "revoked" }).catch(() => null),
  );
  const revokedMs = systemClock.monotonicMs();
  await Promise.all([leader.process.kill(), one.process.kill()]);
  const killedMs = systemClock.monotonicMs();
  await until("he is denied", async () => admin.answers.at(-1)?.answer.allowed === false);
  const bound = killedMs + MAX_AGE_MS + TIMEOUT_MS;
  await until("the bound is long over", async () => systemClock.monotonicMs() > bound + 3_000);
  expect(admin.allowedSince(bound)).toEqual([]);
  expect(revoked.allowedSince(revokedMs)).toEqual([]);
  expect(writer.hasWrittenSince(killedMs)).toBe(false);
  const late = [...admin.answers, ...revoked.answers, ...writer.refusals].filter(
    ({ tookMs }) => tookMs > TIMEOUT_MS + SLACK_MS,
  );
  expect(late).toEqual([]);

  await one.process.start();
  const backMs = systemClock.monotonicMs();
  await until("he may act again", async () => admin.allowedSince(backMs).length > 0, RECOVERY_MS);
  await until("writes go on", async () => writer.hasWrittenSince(backMs), RECOVERY_MS);
  expect(revoked.allowedSince(revokedMs)).toEqual([]);
  await writer[Symbol.asyncDispose]();
  expect(writer.surprises).toEqual([]);
  await leader.process.start();
  await agreedLeader([leader, one, two]);
  await expectEverywhere(placed, writer.ids);
});

test("a leader who is cut off lets nobody act who was revoked meanwhile; the others go on, and afterwards there is one history", async () => {
  await using shared = await startAll();
  const [leader, one, two] = await leaderAndOthers();
  await using minority = await openAt(placed, [leader]);
  await using majority = await openAt(placed, [one, two]);
  await shared.close();
  await using alone = new Asker(minority, ADMIN.id).start();
  await using revoked = new Asker(minority, OTHER.id).start();
  // The control: it takes the server's word, as it would without stamps.
  await using lax = await openAt(placed, [leader], { maxAgeMs: 600_000 });
  await using gullible = new Asker(lax, ADMIN.id).start();
  await using aloneWriter = new Writer(minority, 1_000, "pools").start();
  await using writer = new Writer(majority, 2_000, "pools").start();
  await until("both sides write", async () => aloneWriter.ids.length > 3 && writer.ids.length > 3);
  await placed.network.cutOff([leader.place]);
  const cutMs = systemClock.monotonicMs();
  await until("the majority writes", async () => writer.hasWrittenSince(cutMs), RECOVERY_MS);
  await until("he is revoked there", async () => {
    return await majority.changeOperator(OTHER.id, { status: "revoked" }).catch(() => null);
  });
  const revokedMs = systemClock.monotonicMs();
  const bound = cutMs + MAX_AGE_MS + TIMEOUT_MS;
  await until("the bound is over", async () => systemClock.monotonicMs() > Math.max(bound, revokedMs) + 2_000);
  expect(gullible.allowedSince(bound)).not.toEqual([]);
  expect(alone.allowedSince(bound)).toEqual([]);
  expect(revoked.allowedSince(Math.min(bound, revokedMs + MAX_AGE_MS))).toEqual([]);
  expect(aloneWriter.hasWrittenSince(cutMs)).toBe(false);
  expect([...alone.answers, ...aloneWriter.refusals].filter(({ tookMs }) => tookMs > TIMEOUT_MS + SLACK_MS)).toEqual(
    [],
  );

  await placed.network.heal();
  const healedMs = systemClock.monotonicMs();
  await until("he may act there, too", async () => alone.allowedSince(healedMs).length > 0, RECOVERY_MS);
  await until("it writes again", async () => aloneWriter.hasWrittenSince(healedMs), RECOVERY_MS);
  await Promise.all([aloneWriter[Symbol.asyncDispose](), writer[Symbol.asyncDispose]()]);
  expect(revoked.allowedSince(bound)).toEqual([]);
  expect([...aloneWriter.surprises, ...writer.surprises]).toEqual([]);
  await agreedLeader(placed.servers);
  await expectEverywhere(placed, [...aloneWriter.ids, ...writer.ids]);
});

test("a server whose disk is full says so, and the others go on; restarted when there is space, it is a member again", async () => {
  await using store = await startAll();
  const [full, second] = [serverAt(placed, 0), serverAt(placed, 1)];
  await using writer = new Writer(store, 100).start();
  const filler = join(full.data, "filler");
  await expect(writeFile(filler, new Uint8Array(TINY_DISK_KIB * 1_024))).rejects.toThrow("ENOSPC");
  const saysSo = async (): Promise<boolean> =>
    (await complaintOf(full).catch(() => null))?.includes("JetStream not enabled") === true;
  await until("it says that it stores nothing", saysSo);
  await until("its log says why", async () => full.process.log.includes("no space left on device"));
  const fullMs = systemClock.monotonicMs();
  await until("writes go on", async () => writer.hasWrittenSince(fullMs), RECOVERY_MS);

  await rm(filler);
  // It stays as it is until somebody restarts it, as serve does with a container that is not well.
  expect(await saysSo()).toBe(true);
  await full.process.stop();
  await full.process.start();
  await agreedLeader(placed.servers);
  await until("it has caught up", async () => {
    const states = await Promise.all(placed.servers.map(metaGroupAt));
    return states.some((state) => state?.leader === full.name || state?.current.includes(full.name));
  });
  // Of the buckets, each catches up by itself.
  await until("nothing is wrong with it", async () => (await complaintOf(full).catch(() => "silent")) === null);
  await second.process.kill();
  const killedMs = systemClock.monotonicMs();
  await until("writes go on, which needs it", async () => writer.hasWrittenSince(killedMs), RECOVERY_MS);
  await writer[Symbol.asyncDispose]();
  expect(writer.surprises).toEqual([]);
  await second.process.start();
  await agreedLeader(placed.servers);
  await expectEverywhere(placed, writer.ids);
});

test("when all three are killed at once with writes on their way, every acknowledged one is there afterwards", async () => {
  await using store = await startAll();
  const stores = await Promise.all([openAt(placed), openAt(placed), openAt(placed)]);
  const writers = stores.map((each, index) => new Writer(each, (index + 1) * 1_000).start());
  await until("writes are acknowledged", async () => writers.every(({ ids }) => ids.length > 5));
  await Promise.all(placed.servers.map(async ({ process }) => await process.kill()));
  for (const writer of writers) await writer[Symbol.asyncDispose]();
  for (const each of stores) await each.close();
  await Promise.all(placed.servers.map(async ({ process }) => await process.start()));
  await agreedLeader(placed.servers);
  await until("he may act", async () => (await store.isAuthorized(ADMIN.id, "admin")).allowed, RECOVERY_MS);
  expect(writers.flatMap(({ surprises }) => surprises)).toEqual([]);
  await expectEverywhere(
    placed,
    writers.flatMap(({ ids }) => ids),
  );
});
