import { join } from "node:path";
import fc from "fast-check";
import { expect, test } from "vitest";
import { systemClock } from "../../../src/lib/kernel/clock.ts";
import { isFulaError } from "../../../src/lib/kernel/errors.ts";
import { openSqliteStore } from "../../../src/lib/membership/sqlite/sqlite-store.ts";
import type { MembershipStore } from "../../../src/lib/membership/store.ts";
import {
  EMPTY_SNAPSHOT,
  endpointOf,
  fakeSealed,
  newKey,
  newMember,
  newOperator,
  newPool,
} from "../../support/membership.ts";
import { openTestKv } from "../../support/kv-stores.ts";
import { MemoryMembership } from "../../support/memory-membership.ts";
import { startNatsServers } from "../../support/nats-servers.ts";
import { property, PROPERTY_TIMEOUT_MS } from "../../support/property.ts";
import { tempDir } from "../../support/temp-dir.ts";

/** One thing that somebody does to a store; its text is what a failure shows. */
interface Act {
  readonly what: string;
  readonly run: (store: MembershipStore) => Promise<unknown>;
}

const BOXES = ["fula-1", "fula-2", "fula-3"];
const IDS = ["system", `0x${"ab".repeat(20)}`, `0x${"AB".repeat(20)}`, `ed25519:${"cd".repeat(32)}`, "nobody"];

// `a` is there from the beginning and stays: most acts are to meet something.
const pool = fc.constantFrom("a", "a", "a", "a", "a", "b", "b", "none");
const box = fc.constantFrom(...BOXES);
const id = fc.constantFrom(...IDS);
const epoch = fc.integer({ min: 0, max: 4 });
const boxes = fc.uniqueArray(box, { maxLength: 3 });
const text = fc.constantFrom("x", "y");

function act<T extends readonly unknown[]>(
  name: string,
  parts: { readonly [Index in keyof T]: fc.Arbitrary<T[Index]> },
  run: (store: MembershipStore, ...given: T) => Promise<unknown>,
): fc.Arbitrary<Act> {
  // oxlint-disable-next-line typescript/no-unsafe-type-assertion -- fc.tuple gives what the parts give, in their order
  const tuples = fc.tuple(...parts) as unknown as fc.Arbitrary<T>;
  return tuples.map((given) => ({
    what: `${name}(${JSON.stringify(given).slice(1, -1)})`,
    run: async (store) => await run(store, ...given),
  }));
}

const acts: fc.Arbitrary<Act> = fc.oneof(
  act(
    "createPool",
    [fc.constantFrom("a", "b", "b", "b", "B?"), fc.boolean(), epoch],
    async (store, name, encrypted, at) => {
      await store.createPool(newPool(name, { encrypted, epoch: at > 3 ? 1 : 0 }));
    },
  ),
  act("getPool", [pool], async (store, name) => await store.getPool(name)),
  act("deletePool", [fc.constantFrom("b", "none")], async (store, name) => {
    await store.deletePool(name);
  }),
  act(
    "addMember",
    [pool, box, fc.uniqueArray(epoch, { maxLength: 5 }), epoch],
    async (store, name, who, epochs, at) => {
      const member = newMember(name, who, { appliedEpoch: at > 2 ? at : 0 });
      await store.addMember(
        member,
        epochs.map((each) => newKey(name, who, each)),
      );
    },
  ),
  // Changes that are put together by chance are mostly refused; these two are what a careful caller does.
  act("admit", [pool, box], async (store, name, who) => {
    const { epoch: present } = await store.getPool(name);
    await store.addMember(newMember(name, who), present === 0 ? [] : [newKey(name, who, present)]);
  }),
  act("rotate", [pool, fc.uniqueArray(box, { maxLength: 1 }), text], async (store, name, leavers, secret) => {
    const { epoch: expectedEpoch } = await store.getPool(name);
    const without = leavers.map(endpointOf);
    const staying = (await store.listMembers(name)).filter(({ endpoint }) => !without.includes(endpoint));
    const sealed = staying.map(({ endpoint }) => ({ member: endpoint, sealed: fakeSealed(secret) }));
    return await store.rekey({ pool: name, expectedEpoch, sealed, without });
  }),
  act("rekey", [pool, epoch, boxes, boxes], async (store, name, expectedEpoch, to, without) => {
    const sealed = to.map((who) => ({ member: endpointOf(who), sealed: fakeSealed("z") }));
    return await store.rekey({ pool: name, expectedEpoch, sealed, without: without.map(endpointOf) });
  }),
  act("removeMember", [pool, box, epoch], async (store, name, who, from) => {
    await store.removeMember(name, endpointOf(who), ...(from === 0 ? [] : [{ withoutKeyFrom: from }]));
  }),
  act("noteApplied", [pool, box, epoch], async (store, name, who, at) => {
    await store.noteApplied(name, endpointOf(who), at);
  }),
  act("getSealedKey", [pool, box, epoch], async (store, name, who, at) => {
    return await store.getSealedKey(name, endpointOf(who), ...(at === 0 ? [] : [at]));
  }),
  act("listSealedKeys", [pool], async (store, name) => await store.listSealedKeys(name)),
  act("listPoolsFor", [box], async (store, who) => await store.listPoolsFor(endpointOf(who))),
  act("addOperator", [id, fc.boolean(), fc.boolean()], async (store, who, isAdmin, isActive) => {
    const status = isActive ? "active" : "revoked";
    await store.addOperator(newOperator(who, isAdmin ? "admin" : "operator", { status }));
  }),
  act(
    "changeOperator",
    [id, fc.constantFrom("admin", "operator", undefined), fc.constantFrom("active", "revoked", undefined)],
    async (store, who, role, status) => {
      return await store.changeOperator(who, {
        ...(role === undefined ? {} : { role }),
        ...(status === undefined ? {} : { status }),
      });
    },
  ),
  act("isAuthorized", [id, fc.constantFrom("admin", "operator")], async (store, who, role) => {
    const answer = await store.isAuthorized(who, role);
    return answer.allowed ? answer.operator : answer.reason;
  }),
  act("import of its own export", [], async (store) => {
    await store.importSnapshot(await store.exportSnapshot());
  }),
);

// Without the bias of fast-check towards what stands first and last: most would ask for a pool that is not there.
const sequences = fc.noBias(fc.array(acts, { minLength: 10, maxLength: 60, size: "max" }));

/** What is there from the beginning, so that most acts meet something. */
async function begin(store: MembershipStore): Promise<void> {
  await store.createPool(newPool("a"));
  await store.addMember(newMember("a", "fula-1"), []);
  await store.addOperator(newOperator("system", "admin"));
}

async function outcomeOf(store: MembershipStore, { run }: Act): Promise<unknown> {
  try {
    return { gives: await run(store) };
  } catch (error) {
    if (isFulaError(error)) return { refuses: error.code };
    throw error;
  }
}

/** Does arbitrary acts to a store and to plain lists. @returns how many were not refused: steps that all are prove little */
async function compare(store: MembershipStore, runs: number, soakRuns: number): Promise<number> {
  let done = 0;
  await fc.assert(
    fc.asyncProperty(sequences, async (steps) => {
      await store.importSnapshot(EMPTY_SNAPSHOT);
      const model = new MemoryMembership();
      for (const each of [store, model]) await begin(each);
      for (const step of steps) {
        const [actual, expected] = [await outcomeOf(store, step), await outcomeOf(model, step)];
        expect({ [step.what]: actual }).toEqual({ [step.what]: expected });
        if (Object.hasOwn(Object(actual), "gives")) done += 1;
      }
      expect(JSON.stringify(await store.exportSnapshot())).toBe(JSON.stringify(await model.exportSnapshot()));
    }),
    property<[Act[]]>(runs, soakRuns),
  );
  return done;
}

test("whatever is done to a SQLite store, it answers and ends as plain lists do", {
  timeout: PROPERTY_TIMEOUT_MS,
}, async () => {
  const path = join(tempDir(), "control-plane.sqlite");
  await using store = await openSqliteStore(path, { clock: systemClock, timeoutMs: 60_000, create: true });
  expect(await compare(store, 25, 2_000)).toBeGreaterThan(250);
});

test("whatever is done to a store on NATS, it answers and ends as plain lists do", {
  timeout: PROPERTY_TIMEOUT_MS,
}, async () => {
  await using servers = await startNatsServers(1);
  await using store = await openTestKv(servers, { prefix: "MODEL", replicas: 1 });
  expect(await compare(store, 8, 500)).toBeGreaterThan(60);
});
