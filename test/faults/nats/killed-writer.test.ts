import { execFile } from "node:child_process";
import { join } from "node:path";
import { promisify } from "node:util";
import { afterAll, beforeAll, beforeEach, expect, test } from "vitest";
import { PROJECT_ROOT } from "../../../src/lib/kernel/project.ts";
import type { MembershipSnapshot } from "../../../src/lib/membership/records.ts";
import type { MembershipStore } from "../../../src/lib/membership/store.ts";
import { openTestKv } from "../../support/kv-stores.ts";
import { EMPTY_SNAPSHOT, endpointOf, newKey, newMember, newPool, sealedTo } from "../../support/membership.ts";
import { type NatsServers, startNatsServers } from "../../support/nats-servers.ts";

const WRITER = join(PROJECT_ROOT, "test/support/children/kv-writer.ts");
const run = promisify(execFile);

let servers: NatsServers;
let store: MembershipStore;
let before: MembershipSnapshot;

beforeAll(async () => {
  servers = await startNatsServers(1);
  store = await openTestKv(servers);
  await store.createPool(newPool("masters"));
  for (const name of ["fula-1", "fula-2"]) await store.addMember(newMember("masters", name), []);
  for (const epoch of [0, 1]) {
    const sealed = sealedTo(["fula-1", "fula-2"], `epoch ${epoch + 1}`);
    await store.rekey({ pool: "masters", expectedEpoch: epoch, sealed });
  }
  before = await store.exportSnapshot();
});

beforeEach(async () => {
  await store.importSnapshot(before);
});

afterAll(async () => {
  await store.close();
  await servers[Symbol.asyncDispose]();
});

/** Lets a process of its own do it. @returns its writes; null where it was killed */
async function write(act: string, at: number, when: "before" | "after"): Promise<number | null> {
  const order = { url: servers.urls[0], seed: servers.user.seed, act, write: at, when };
  try {
    const { stdout } = await run(process.execPath, [WRITER, JSON.stringify(order)]);
    return Number(stdout);
  } catch (error) {
    if (error instanceof Error && "signal" in error && error.signal === "SIGKILL") return null;
    throw error;
  }
}

/** What everybody can see of the pool, asked in the ways in which one would miss half of a change. */
async function seen(): Promise<unknown> {
  const boxes = ["fula-1", "fula-2", "fula-3"].map(endpointOf);
  // First: whoever looks at the pool itself mends what the index lacks.
  const byBox: (readonly string[])[] = [];
  for (const box of boxes.toReversed()) byBox.push((await store.listPoolsFor(box)).map(({ id }) => id));
  const pools = await store.listPools();
  return {
    byBox,
    members: pools.length === 0 ? [] : (await store.listMembers("masters")).map(({ endpoint }) => endpoint),
    snapshot: await store.exportSnapshot(),
  };
}

async function doWhole(act: string): Promise<void> {
  if (act === "add") {
    const keys = [newKey("masters", "fula-3", 1), newKey("masters", "fula-3", 2)];
    await store.addMember(newMember("masters", "fula-3"), keys);
  } else if (act === "remove") await store.removeMember("masters", endpointOf("fula-2"));
  else if (act === "rekey") {
    await store.rekey({ pool: "masters", expectedEpoch: 2, sealed: sealedTo(["fula-1", "fula-2"], "third") });
  } else await store.deletePool("masters");
}

/** Each trial is a process; the soak takes all of them. */
const ACTS = process.env["SOAK"] === "1" ? ["add", "remove", "rekey", "delete"] : ["add", "remove"];

test.each(ACTS)("whoever is killed between any two writes of %s has done all of it or nothing", async (act) => {
  const nothing = await seen();
  await doWhole(act);
  const all = await seen();
  await store.importSnapshot(before);
  const writes = await write(act, 0, "before");
  await store.importSnapshot(before);
  expect(writes).toBeGreaterThan(2);
  const outcomes: string[] = [];
  for (let at = 0; at <= (writes ?? 0); at += 1) {
    // Before the first one is sent, and as soon as each is acknowledged.
    expect(await write(act, Math.max(1, at), at === 0 ? "before" : "after")).toBeNull();
    const now = await seen();
    expect([nothing, all]).toContainEqual(now);
    outcomes.push(JSON.stringify(now) === JSON.stringify(all) ? "all" : "nothing");
    await store.importSnapshot(before);
  }
  // Not all of one kind, else the kills hit nothing that mattered.
  expect(new Set(outcomes)).toEqual(new Set(["nothing", "all"]));
});

test("what a killed one has left is written to the end by whoever opens next, before anybody asks", async () => {
  const writes = (await write("rekey", 0, "before")) ?? 0;
  await store.importSnapshot(before);
  // The decision is its first write.
  expect(await write("rekey", 1, "after")).toBeNull();
  await using again = await openTestKv(servers);
  expect(writes).toBe(3);
  await expect(again.getSealedKey("masters", endpointOf("fula-1"))).resolves.toMatchObject({ epoch: 3 });
});

test("of several who find the same change unfinished, nobody undoes what came after it", async () => {
  expect(await write("remove", 1, "after")).toBeNull();
  const others = await Promise.all(Array.from({ length: 6 }, async () => await openTestKv(servers)));
  const box = endpointOf("fula-2");
  await Promise.all([
    ...others.map(async (other) => await other.listMembers("masters")),
    store.addMember(newMember("masters", "fula-2", { name: "again" }), [newKey("masters", "fula-2", 2)]),
  ]);
  await Promise.all(others.map(async (other) => await other.close()));
  await expect(store.getMember("masters", box)).resolves.toMatchObject({ name: "again" });
  await expect(store.listPoolsFor(box)).resolves.toMatchObject([{ id: "masters" }]);
  await store.importSnapshot(EMPTY_SNAPSHOT);
});
