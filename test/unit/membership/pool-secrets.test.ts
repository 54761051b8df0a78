import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { systemClock } from "../../../src/lib/kernel/clock.ts";
import { FulaError } from "../../../src/lib/kernel/errors.ts";
import { Secret } from "../../../src/lib/kernel/secret.ts";
import {
  admitMember,
  createEncryptedPool,
  openSecret,
  openSecrets,
  type PoolSecretsDeps,
  rekeyPool,
  removeMemberAndRekey,
} from "../../../src/lib/membership/pool-secrets.ts";
import { type BoxKey, ensureBoxKey } from "../../../src/lib/membership/sealed/box-key.ts";
import type { MembershipStore } from "../../../src/lib/membership/store.ts";
import { newPool, outcomesOf } from "../../support/membership.ts";
import { MemoryMembership } from "../../support/memory-membership.ts";
import { seededRandom } from "../../support/seeded-random.ts";
import { tempDir } from "../../support/temp-dir.ts";

interface Box {
  readonly key: BoxKey;
  readonly candidate: { readonly endpoint: string; readonly name: string };
}

async function newBox(name: string): Promise<Box> {
  const key = await ensureBoxKey(join(tempDir(), "box.pem"));
  return { key, candidate: { endpoint: key.endpoint, name } };
}

function depsOf(store: MembershipStore): PoolSecretsDeps {
  return { store, clock: systemClock, random: seededRandom(7) };
}

const next = (text: string) => async (): Promise<Secret> => new Secret(text);

/** Dies with the call of this number, which is done first or not at all; nothing works afterwards. */
class Killed extends Error {}

function dying(store: MembershipStore, callOfDeath: number, isDone: boolean): MembershipStore {
  let calls = 0;
  return new Proxy(store, {
    get(target, name) {
      const value: unknown = Reflect.get(target, name, target);
      if (typeof value !== "function") return value;
      return async (...given: readonly unknown[]) => {
        calls += 1;
        if (calls > callOfDeath) throw new Killed("dead");
        if (calls < callOfDeath) return await value.apply(target, given);
        if (isDone) await value.apply(target, given);
        throw new Killed("killed");
      };
    },
  });
}

/** Kills the act at each of its calls, before and after it, and runs it again; each time on a state of its own. */
async function killedEverywhere(
  prepare: () => Promise<MembershipStore>,
  act: (store: MembershipStore) => Promise<unknown>,
  check: (store: MembershipStore, when: string) => Promise<void>,
): Promise<number> {
  for (let call = 1; ; call += 1) {
    for (const isDone of [false, true]) {
      const store = await prepare();
      const killed = await act(dying(store, call, isDone)).then(
        () => false,
        (error: unknown) => {
          if (!(error instanceof Killed)) throw error;
          return true;
        },
      );
      if (!killed) return call - 1;
      await act(store);
      await check(store, `killed ${isDone ? "after" : "before"} call ${call}`);
    }
  }
}

/** Everybody on the list can open the newest secret. */
async function expectEverybodyHas(store: MembershipStore, boxes: readonly Box[], secret?: string): Promise<void> {
  const { epoch } = await store.getPool("masters");
  const members = (await store.listMembers("masters")).map(({ endpoint }) => endpoint);
  expect(members.toSorted()).toEqual(boxes.map(({ key }) => key.endpoint).toSorted());
  const opened = await Promise.all(boxes.map(async ({ key }) => await openSecret(store, key, "masters")));
  expect(opened.every((each) => each.epoch === epoch)).toBe(true);
  const [text = ""] = opened.map((each) => each.secret.reveal());
  expect(opened.every((each) => each.secret.reveal() === text)).toBe(true);
  if (secret !== undefined) expect(text).toBe(secret);
}

async function poolOf(boxes: readonly Box[], secret = "first"): Promise<MembershipStore> {
  const store = new MemoryMembership();
  const [owner, ...others] = boxes;
  if (owner === undefined) return store;
  const deps = depsOf(store);
  await createEncryptedPool(deps, {
    id: "masters",
    name: "Masters",
    owner: owner.candidate,
    secret: new Secret(secret),
  });
  for (const { candidate } of others) {
    await admitMember(deps, {
      pool: "masters",
      candidate,
      secretsFor: async () => await openSecrets(store, owner.key, "masters"),
    });
  }
  return store;
}

describe("a pool with a secret", () => {
  test("has its owner as first member, who opens it", async () => {
    const owner = await newBox("fula-1");
    const store = await poolOf([owner], "swordfish");
    expect(await store.getPool("masters")).toMatchObject({ epoch: 1, encrypted: true, owner: owner.key.endpoint });
    expect(await store.listMembers("masters")).toMatchObject([{ name: "fula-1", role: "owner", appliedEpoch: 0 }]);
    await expectEverybodyHas(store, [owner], "swordfish");
  });

  test("is made whole by whoever runs it again, wherever it was killed", async () => {
    const owner = await newBox("fula-1");
    const calls = await killedEverywhere(
      async () => new MemoryMembership(),
      async (store) =>
        await createEncryptedPool(depsOf(store), {
          id: "masters",
          name: "Masters",
          owner: owner.candidate,
          secret: new Secret("swordfish"),
        }),
      async (store) => {
        expect((await store.getPool("masters")).epoch).toBe(1);
        await expectEverybodyHas(store, [owner], "swordfish");
      },
    );
    expect(calls).toBeGreaterThanOrEqual(6);
  });

  test("keeps its secret when its maker comes again with another one", async () => {
    const owner = await newBox("fula-1");
    const store = await poolOf([owner], "swordfish");
    await createEncryptedPool(depsOf(store), {
      id: "masters",
      name: "Masters",
      owner: owner.candidate,
      secret: new Secret("other"),
    });
    await expectEverybodyHas(store, [owner], "swordfish");
  });

  test("that somebody else made is not taken over", async () => {
    const [owner, other] = [await newBox("fula-1"), await newBox("fula-2")];
    const store = await poolOf([owner]);
    const request = { id: "masters", name: "Masters", owner: other.candidate, secret: new Secret("other") };
    await expect(createEncryptedPool(depsOf(store), request)).rejects.toMatchObject({ code: "FULA_MEMBERSHIP_EXISTS" });
    await store.createPool(newPool("guests", { encrypted: false, owner: other.key.endpoint }));
    await expect(createEncryptedPool(depsOf(store), { ...request, id: "guests" })).rejects.toMatchObject({
      code: "FULA_MEMBERSHIP_EXISTS",
    });
  });

  test("is made once by eight who make it at once", async () => {
    const owner = await newBox("fula-1");
    const store = new MemoryMembership();
    const request = { id: "masters", name: "Masters", owner: owner.candidate, secret: new Secret("swordfish") };
    const pools = await Promise.all(
      Array.from({ length: 8 }, async () => await createEncryptedPool(depsOf(store), request)),
    );
    expect(pools.every(({ epoch }) => epoch === 1)).toBe(true);
    await expectEverybodyHas(store, [owner], "swordfish");
  });
});

describe("admitting", () => {
  test("gives the secrets of all epochs that the admitter has", async () => {
    const [owner, comer] = [await newBox("fula-1"), await newBox("fula-2")];
    const store = await poolOf([owner], "first");
    await rekeyPool(depsOf(store), { pool: "masters", nextSecret: next("second") });
    await admitMember(depsOf(store), {
      pool: "masters",
      candidate: comer.candidate,
      secretsFor: async () => await openSecrets(store, owner.key, "masters"),
    });
    const opened = (await openSecrets(store, comer.key, "masters")).map(({ epoch, secret }) => [
      epoch,
      secret.reveal(),
    ]);
    expect(opened).toEqual([
      [2, "second"],
      [1, "first"],
    ]);
    expect((await openSecret(store, comer.key, "masters", 1)).secret.reveal()).toBe("first");
  });

  test("can be killed anywhere and run again", async () => {
    const [owner, comer] = [await newBox("fula-1"), await newBox("fula-2")];
    const calls = await killedEverywhere(
      async () => await poolOf([owner], "swordfish"),
      async (store) =>
        await admitMember(depsOf(store), {
          pool: "masters",
          candidate: comer.candidate,
          secretsFor: async () => await openSecrets(store, owner.key, "masters"),
        }),
      async (store) => await expectEverybodyHas(store, [owner, comer], "swordfish"),
    );
    expect(calls).toBeGreaterThanOrEqual(4);
  });

  test("asks for the secrets again where the pool was rekeyed meanwhile", async () => {
    const [owner, comer] = [await newBox("fula-1"), await newBox("fula-2")];
    const store = await poolOf([owner], "first");
    let asked = 0;
    await admitMember(depsOf(store), {
      pool: "masters",
      candidate: comer.candidate,
      secretsFor: async () => {
        const secrets = await openSecrets(store, owner.key, "masters");
        asked += 1;
        if (asked === 1) await rekeyPool(depsOf(store), { pool: "masters", nextSecret: next("second") });
        return secrets;
      },
    });
    expect(asked).toBe(2);
    await expectEverybodyHas(store, [owner, comer], "second");
  });

  test("whoever has no present secret admits nobody", async () => {
    const [owner, comer] = [await newBox("fula-1"), await newBox("fula-2")];
    const store = await poolOf([owner], "first");
    await rekeyPool(depsOf(store), { pool: "masters", nextSecret: next("second") });
    const secrets = [{ epoch: 1, secret: new Secret("first") }];
    const clock = { ...systemClock, sleep: async () => {} };
    const admitting = admitMember(
      { ...depsOf(store), clock },
      {
        pool: "masters",
        candidate: comer.candidate,
        secretsFor: async () => secrets,
      },
    );
    await expect(admitting).rejects.toMatchObject({ code: "FULA_MEMBERSHIP_RACED" });
    await expectEverybodyHas(store, [owner], "second");
  });

  test("a member that a rekey has left out is admitted anew", async () => {
    const [owner, leaver] = [await newBox("fula-1"), await newBox("fula-2")];
    const store = await poolOf([owner, leaver], "first");
    const without = [leaver.key.endpoint];
    await rekeyPool(depsOf(store), { pool: "masters", nextSecret: next("second"), without });
    await admitMember(depsOf(store), {
      pool: "masters",
      candidate: leaver.candidate,
      secretsFor: async () => await openSecrets(store, owner.key, "masters"),
    });
    await expectEverybodyHas(store, [owner, leaver], "second");
  });
});

describe("a rekey", () => {
  test("gives everybody the new secret, once more each time it is run", async () => {
    const boxes = [await newBox("fula-1"), await newBox("fula-2")];
    const store = await poolOf(boxes);
    const calls = await killedEverywhere(
      async () => await poolOf(boxes),
      async (each) => await rekeyPool(depsOf(each), { pool: "masters", nextSecret: next("second") }),
      async (each) => await expectEverybodyHas(each, boxes, "second"),
    );
    expect(calls).toBeGreaterThanOrEqual(3);
    expect(await rekeyPool(depsOf(store), { pool: "masters", nextSecret: next("third") })).toMatchObject({ epoch: 2 });
    await expectEverybodyHas(store, boxes, "third");
  });

  test("of eight at once all come through, and everybody has the newest", async () => {
    const boxes = [await newBox("fula-1"), await newBox("fula-2")];
    const store = await poolOf(boxes);
    await Promise.all(
      Array.from({ length: 8 }, async (_, index) => {
        const deps = { ...depsOf(store), random: seededRandom(index) };
        return await rekeyPool(deps, { pool: "masters", nextSecret: next(`try ${index}`) });
      }),
    );
    expect((await store.getPool("masters")).epoch).toBe(9);
    await expectEverybodyHas(store, boxes);
  });

  test("while others are admitted leaves nobody without the newest", async () => {
    const boxes = [await newBox("fula-1"), await newBox("fula-2"), await newBox("fula-3"), await newBox("fula-4")];
    const [owner] = boxes;
    if (owner === undefined) throw new Error("There is no box");
    const store = await poolOf([owner]);
    await Promise.all([
      ...[1, 2, 3].map(
        async (each) => await rekeyPool(depsOf(store), { pool: "masters", nextSecret: next(`round ${each}`) }),
      ),
      ...boxes.slice(1).map(
        async ({ candidate }) =>
          await admitMember(depsOf(store), {
            pool: "masters",
            candidate,
            secretsFor: async () => await openSecrets(store, owner.key, "masters"),
          }),
      ),
    ]);
    await expectEverybodyHas(store, boxes);
  });

  test("seals to somebody, or is refused", async () => {
    const owner = await newBox("fula-1");
    const store = await poolOf([owner]);
    const without = [owner.key.endpoint];
    await expect(
      rekeyPool(depsOf(store), { pool: "masters", nextSecret: next("second"), without }),
    ).rejects.toMatchObject({ code: "FULA_MEMBERSHIP_LAST_MEMBER" });
  });

  test("gives up after a while where somebody is always quicker", async () => {
    const owner = await newBox("fula-1");
    const store = await poolOf([owner]);
    const waited: number[] = [];
    const clock = { ...systemClock, sleep: async (ms: number) => void waited.push(ms) };
    const raced = new Proxy(store, {
      get: (target, name) =>
        name === "rekey"
          ? async () => await Promise.reject(new FulaError("FULA_MEMBERSHIP_RACED", "Somebody was quicker."))
          : Reflect.get(target, name, target).bind(target),
    });
    await expect(
      rekeyPool({ ...depsOf(raced), clock }, { pool: "masters", nextSecret: next("second") }),
    ).rejects.toMatchObject({ code: "FULA_MEMBERSHIP_RACED" });
    const total = waited.reduce((sum, each) => sum + each, 0);
    expect(waited.length).toBeGreaterThanOrEqual(8);
    expect(total).toBeLessThan(3_000);
    expect(new Set(waited).size).toBeGreaterThan(4);
  });
});

describe("taking a member out", () => {
  const removing = async (store: MembershipStore, leaver: Box): Promise<{ removed: boolean }> =>
    await removeMemberAndRekey(depsOf(store), {
      pool: "masters",
      endpoint: leaver.key.endpoint,
      nextSecret: next("after"),
    });

  test("gives those who stay a secret that it never sees, wherever it is killed", async () => {
    const [owner, stayer, leaver] = [await newBox("fula-1"), await newBox("fula-2"), await newBox("fula-3")];
    const calls = await killedEverywhere(
      async () => await watched(await poolOf([owner, stayer, leaver], "before"), leaver),
      async (store) => await removing(store, leaver),
      async (store, when) => {
        await expectEverybodyHas(store, [owner, stayer], "after");
        expect(`${when}: epoch ${(await store.getPool("masters")).epoch}`).toBe(`${when}: epoch 2`);
        expect(await store.listPoolsFor(leaver.key.endpoint)).toEqual([]);
        expect(await outcomesOf([openSecret(store, leaver.key, "masters")])).toEqual(["FULA_MEMBERSHIP_NOT_FOUND"]);
      },
    );
    expect(calls).toBeGreaterThanOrEqual(6);
  });

  /** The same store; whatever is sealed to the leaver beyond epoch 1 fails the test. */
  async function watched(store: MembershipStore, leaver: Box): Promise<MembershipStore> {
    return new Proxy(store, {
      get(target, name) {
        const value: unknown = Reflect.get(target, name, target);
        if (typeof value !== "function") return value;
        if (name !== "rekey") return value.bind(target);
        return async (change: Parameters<MembershipStore["rekey"]>[0]) => {
          expect(change.sealed.map(({ member }) => member)).not.toContain(leaver.key.endpoint);
          return await target.rekey(change);
        };
      },
    });
  }

  test("that is not there changes nothing, and says so", async () => {
    const [owner, stranger] = [await newBox("fula-1"), await newBox("fula-9")];
    const store = await poolOf([owner], "before");
    expect(await removing(store, stranger)).toMatchObject({ removed: false, pool: { epoch: 1 } });
    await expectEverybodyHas(store, [owner], "before");
  });

  test("the last one stays", async () => {
    const owner = await newBox("fula-1");
    const store = await poolOf([owner], "before");
    await expect(removing(store, owner)).rejects.toMatchObject({ code: "FULA_MEMBERSHIP_LAST_MEMBER" });
    await expectEverybodyHas(store, [owner], "before");
  });

  test("out of a pool without a secret needs none", async () => {
    const leaver = await newBox("fula-2");
    const store = new MemoryMembership();
    await store.createPool(newPool("masters", { encrypted: false }));
    await admitMember(depsOf(store), { pool: "masters", candidate: leaver.candidate, secretsFor: async () => [] });
    expect(await removing(store, leaver)).toMatchObject({ removed: true, pool: { epoch: 0 } });
  });

  test("that is admitted again between the rekey and the end is rekeyed away once more", async () => {
    const [owner, leaver] = [await newBox("fula-1"), await newBox("fula-2")];
    const store = await poolOf([owner, leaver], "before");
    let again = 0;
    const meddled = new Proxy(store, {
      get(target, name) {
        const value: unknown = Reflect.get(target, name, target);
        if (typeof value !== "function") return value;
        if (name !== "removeMember") return value.bind(target);
        return async (...given: readonly unknown[]) => {
          again += 1;
          if (again === 1) {
            await admitMember(depsOf(target), {
              pool: "masters",
              candidate: leaver.candidate,
              secretsFor: async () => await openSecrets(target, owner.key, "masters"),
            });
          }
          return await value.apply(target, given);
        };
      },
    });
    expect(await removing(meddled, leaver)).toMatchObject({ removed: true, pool: { epoch: 3 } });
    await expectEverybodyHas(store, [owner], "after");
  });
});
