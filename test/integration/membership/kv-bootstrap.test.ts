import { inspect } from "node:util";
import { expect, test } from "vitest";
import { Secret } from "../../../src/lib/kernel/secret.ts";
import { openKvStore } from "../../../src/lib/membership/kv/kv-store.ts";
import { KV_DEPS, kvTarget } from "../../support/kv-stores.ts";
import { ManualClock } from "../../support/manual-clock.ts";
import { newPool } from "../../support/membership.ts";
import { newNatsUser, startNatsServers } from "../../support/nats-servers.ts";
import { until } from "../../support/until.ts";

const LEADER = "waiting for the NATS servers to elect a leader";

/** What is left for the last attempt: less than any other has. */
const LAST_ATTEMPT_MS = 250;

test("opening waits for servers that come one after the other, and says each time for what", async () => {
  await using servers = await startNatsServers(3, { start: false });
  const said: string[] = [];
  const target = kvTarget(servers, { replicas: 3, bootstrapTimeoutMs: 600_000 });
  const opening = openKvStore(target, { ...KV_DEPS, onWait: (sentence) => said.push(sentence) });
  await until("it waits for a server", async () => said.length > 0);
  expect(said).toEqual([expect.stringMatching(/^waiting for a NATS server to answer at nats:/)]);
  await servers.servers[0]?.process.start();
  await until("it waits for a leader", async () => said.includes(LEADER));
  await Promise.all(servers.servers.slice(1).map(async ({ process }) => await process.start()));
  await using store = await opening;
  await store.createPool(newPool("masters"));
  await expect(store.getPool("masters")).resolves.toMatchObject({ id: "masters" });
  // Once for each change of what it waits for, not for each attempt.
  expect(said.filter((sentence, at) => sentence === said[at - 1])).toEqual([]);
});

test("opening ends when its time is over, and says what it waited for, though nobody answers the last attempt", async () => {
  await using servers = await startNatsServers(3, { start: false });
  await servers.servers[0]?.process.start();
  const clock = new ManualClock();
  const endMs = clock.monotonicMs() + 60_000;
  const said: string[] = [];
  const opening = openKvStore(kvTarget(servers, { bootstrapTimeoutMs: 60_000 }), {
    ...KV_DEPS,
    clock,
    onWait: (sentence) => said.push(sentence),
  });
  const refused = opening.catch((error: unknown) => error);
  await until("it waits for a leader", async () => {
    await clock.step(10);
    return said.at(-1) === LEADER;
  });
  await servers.servers[0]?.process.kill();
  await clock.step(endMs - clock.monotonicMs() - LAST_ATTEMPT_MS);
  await expect(refused).resolves.toMatchObject({
    code: "FULA_CONTROL_PLANE_UNREACHABLE",
    message: expect.stringMatching(/is not ready after 60 s: waiting for the NATS servers to elect a leader/),
    details: { silence: "no-quorum" },
  });
});

test("a server that does not let this box in is not waited for, and the seed is in no message", async () => {
  await using servers = await startNatsServers(1);
  const strangers = [newNatsUser().seed, "SUNOKEY", null];
  for (const seed of strangers) {
    const nkeySeed = seed === null ? null : new Secret(seed);
    const target = { ...kvTarget(servers, { bootstrapTimeoutMs: 3_600_000 }), nkeySeed };
    const refused = await openKvStore(target, KV_DEPS).catch((error: unknown) => error);
    expect(refused).toMatchObject({
      code: "FULA_CONTROL_PLANE_UNREACHABLE",
      message: expect.stringMatching(seed === "SUNOKEY" ? /is no seed of an NKey/ : /does not let this box in/),
    });
    expect(inspect(refused)).not.toContain(seed ?? "no seed");
  }
});

test("nobody listens: the address is named", async () => {
  await using servers = await startNatsServers(1, { start: false });
  await expect(openKvStore(kvTarget(servers, { bootstrapTimeoutMs: 600 }), KV_DEPS)).rejects.toMatchObject({
    code: "FULA_CONTROL_PLANE_UNREACHABLE",
    message: expect.stringContaining(servers.urls[0] ?? ""),
    details: { silence: "unreachable" },
  });
});
