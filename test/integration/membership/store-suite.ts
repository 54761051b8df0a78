import { afterAll, beforeAll, beforeEach, describe, expect, test } from "vitest";
import type { MembershipSnapshot, Operator } from "../../../src/lib/membership/records.ts";
import type { MembershipStore } from "../../../src/lib/membership/store.ts";
import {
  EMPTY_SNAPSHOT,
  endpointOf,
  fakeSealed,
  newKey,
  newMember,
  newOperator,
  newPool,
  outcomesOf,
  sealedTo,
} from "../../support/membership.ts";

/** A store under test and the ways to open others. */
export interface StoreUnderTest {
  readonly store: MembershipStore;
  /** Opens the same state once more, as another process has it. */
  again(): Promise<MembershipStore>;
  /** Opens a store of the same kind that holds nothing yet. */
  another(): Promise<MembershipStore>;
  /** Ends all that was opened. */
  close(): Promise<void>;
}

/** So often each race is run. */
const ROUNDS = process.env["SOAK"] === "1" ? 100 : 5;

const WALLET = "0x52908400098527886E0F7030069857D2E4169EE7";
const USER = `user:${"ab".repeat(32)}`;
const KEY = `ed25519:${"cd".repeat(32)}`;

/** A state with something of everything: two pools with secrets, one without, and operators of all kinds. */
async function fill(store: MembershipStore): Promise<void> {
  for (const id of ["masters", "cluster"]) {
    await store.createPool(newPool(id));
    await store.addMember(newMember(id, "fula-1", { role: "owner" }), []);
    await store.rekey({ pool: id, expectedEpoch: 0, sealed: sealedTo(["fula-1"], "first") });
    await store.addMember(newMember(id, "fula-2"), [newKey(id, "fula-2", 1)]);
    await store.rekey({ pool: id, expectedEpoch: 1, sealed: sealedTo(["fula-1", "fula-2"], "second") });
    await store.noteApplied(id, endpointOf("fula-1"), 2);
  }
  await store.createPool(newPool("guests", { encrypted: false }));
  await store.addOperator(newOperator(WALLET, "admin", { name: "Ada" }));
  await store.addOperator(newOperator(USER));
  await store.addOperator(newOperator(KEY, "admin", { status: "revoked" }));
}

/**
 * What every `MembershipStore` must do. The state is emptied before each test; `open` is called once.
 */
export function describeMembershipStore(name: string, open: () => Promise<StoreUnderTest>): void {
  describe(`${name} keeps the contract of the control plane`, () => {
    let under: StoreUnderTest;
    let store: MembershipStore;
    beforeAll(async () => {
      under = await open();
      ({ store } = under);
    });
    afterAll(async () => {
      await under.close();
    });
    beforeEach(async () => {
      await store.importSnapshot(EMPTY_SNAPSHOT);
    });

    const makePool = async (id: string, names: readonly string[], epoch = 1): Promise<void> => {
      await store.createPool(newPool(id));
      for (const each of names) await store.addMember(newMember(id, each), []);
      for (let at = 0; at < epoch; at += 1) {
        await store.rekey({ pool: id, expectedEpoch: at, sealed: sealedTo(names, `secret ${at + 1}`) });
      }
    };

    const poolsOf = async (box: string): Promise<readonly string[]> =>
      (await store.listPoolsFor(endpointOf(box))).map(({ id }) => id);

    describe("pools", () => {
      test("a pool comes back as it was made, and all are listed by id", async () => {
        const pools = ["swarm", "a-1", "masters"].map((id) => newPool(id));
        for (const pool of pools) await store.createPool(pool);
        expect(await store.getPool("a-1")).toEqual(newPool("a-1"));
        expect(await store.listPools()).toEqual([newPool("a-1"), newPool("masters"), newPool("swarm")]);
      });

      test("a name in any script and of any sign comes back as it was", async () => {
        const pool = newPool("p", { name: "Ärger & 'Löwe' \"zwei\" ﷽ 🦁 $1 \\n" });
        await store.createPool(pool);
        expect(await store.getPool("p")).toEqual(pool);
      });

      test("one is not made twice, and the first one stays", async () => {
        await store.createPool(newPool("masters"));
        await expect(store.createPool(newPool("masters", { name: "Other" }))).rejects.toMatchObject({
          code: "FULA_MEMBERSHIP_EXISTS",
        });
        expect(await store.getPool("masters")).toEqual(newPool("masters"));
      });

      test("a new pool has no secret yet, whatever its maker says", async () => {
        await expect(store.createPool(newPool("masters", { epoch: 3 }))).rejects.toMatchObject({
          code: "FULA_MEMBERSHIP_INVALID",
        });
        expect(await store.listPools()).toEqual([]);
      });

      test.each([
        ["an id in capitals", newPool("Masters")],
        ["an id with a dot", newPool("a.b")],
        ["an id that is empty", newPool("")],
        ["an id that is too long", newPool("a".repeat(64))],
        ["a name of two lines", newPool("p", { name: "a\nb" })],
        ["a name with half a character", newPool("p", { name: "\ud800" })],
        ["an owner that is no endpoint", newPool("p", { owner: "fula-1" })],
        ["a time without milliseconds", newPool("p", { createdAt: "2026-11-20T03:00:00Z" })],
      ])("%s is refused", async (_what, pool) => {
        await expect(store.createPool(pool)).rejects.toMatchObject({ code: "FULA_MEMBERSHIP_INVALID" });
      });

      test("a pool goes with its members and keys; made again, it begins anew", async () => {
        await makePool("masters", ["fula-1", "fula-2"], 2);
        await makePool("swarm", ["fula-1"]);
        await store.deletePool("masters");
        expect(await store.listPools()).toEqual([newPool("swarm", { epoch: 1 })]);
        expect(await poolsOf("fula-1")).toEqual(["swarm"]);
        expect(await poolsOf("fula-2")).toEqual([]);
        await store.createPool(newPool("masters"));
        expect(await store.listMembers("masters")).toEqual([]);
        expect(await store.listSealedKeys("masters")).toEqual([]);
        expect(await store.getPool("masters")).toEqual(newPool("masters"));
        expect(await store.listMembers("swarm")).toHaveLength(1);
      });

      test("who asks for what is not there hears so, of whatever kind", async () => {
        await store.createPool(newPool("empty"));
        const box = endpointOf("fula-1");
        const outcomes = await outcomesOf([
          store.getPool("none"),
          store.deletePool("none"),
          store.listMembers("none"),
          store.listSealedKeys("none"),
          store.addMember(newMember("none", "fula-1"), []),
          store.rekey({ pool: "none", expectedEpoch: 0, sealed: sealedTo(["fula-1"]) }),
          store.getMember("empty", box),
          store.getMember("none", box),
          store.removeMember("empty", box),
          store.noteApplied("empty", box, 0),
          store.getSealedKey("empty", box),
          store.getSealedKey("empty", box, 1),
          store.getOperator("system"),
          store.changeOperator("system", { role: "admin" }),
        ]);
        expect(new Set(outcomes)).toEqual(new Set(["FULA_MEMBERSHIP_NOT_FOUND"]));
      });
    });

    describe("members", () => {
      test("a member comes back as it was added, and all are listed by endpoint", async () => {
        await store.createPool(newPool("masters"));
        const members = ["a", "b", "c", "d"].map((each) => newMember("masters", each));
        for (const member of members) await store.addMember(member, []);
        expect(await store.getMember("masters", endpointOf("c"))).toEqual(newMember("masters", "c"));
        const inOrder = members.toSorted((left, right) => (left.endpoint < right.endpoint ? -1 : 1));
        expect(await store.listMembers("masters")).toEqual(inOrder);
      });

      test("one is not added twice, and the first one stays", async () => {
        await makePool("masters", ["fula-1"]);
        const again = store.addMember(newMember("masters", "fula-1", { name: "other" }), [
          newKey("masters", "fula-1", 1, "other"),
        ]);
        await expect(again).rejects.toMatchObject({ code: "FULA_MEMBERSHIP_EXISTS" });
        expect(await store.listMembers("masters")).toEqual([newMember("masters", "fula-1")]);
        const [key] = await store.listSealedKeys("masters");
        expect(key?.sealed).toBe(fakeSealed("secret 1 for fula-1"));
      });

      test("who comes later gets the present secret, and older ones where they are given", async () => {
        await makePool("masters", ["fula-1"], 3);
        const keys = [newKey("masters", "fula-2", 3), newKey("masters", "fula-2", 1)];
        await store.addMember(newMember("masters", "fula-2"), keys);
        const box = endpointOf("fula-2");
        expect(await store.getSealedKey("masters", box)).toEqual(newKey("masters", "fula-2", 3));
        expect(await store.getSealedKey("masters", box, 1)).toEqual(newKey("masters", "fula-2", 1));
        await expect(store.getSealedKey("masters", box, 2)).rejects.toMatchObject({
          code: "FULA_MEMBERSHIP_NOT_FOUND",
        });
      });

      test("who would come without the present secret is not added", async () => {
        await makePool("masters", ["fula-1"], 2);
        const member = newMember("masters", "fula-2");
        const outcomes = [
          await outcomesOf([store.addMember(member, [])]),
          await outcomesOf([store.addMember(member, [newKey("masters", "fula-2", 1)])]),
        ];
        expect(outcomes.flat()).toEqual(["FULA_MEMBERSHIP_RACED", "FULA_MEMBERSHIP_RACED"]);
        expect(await store.listMembers("masters")).toHaveLength(1);
        expect(await poolsOf("fula-2")).toEqual([]);
      });

      test.each([
        ["of another member", [newKey("masters", "fula-3", 1)]],
        ["of another pool", [newKey("swarm", "fula-2", 1)]],
        ["of an epoch that is not there", [newKey("masters", "fula-2", 1), newKey("masters", "fula-2", 2)]],
        ["twice of one epoch", [newKey("masters", "fula-2", 1), newKey("masters", "fula-2", 1, "other")]],
        ["of epoch 0", [newKey("masters", "fula-2", 1), newKey("masters", "fula-2", 0)]],
        ["that is no base64", [{ ...newKey("masters", "fula-2", 1), sealed: "no base64!" }]],
      ])("a sealed key %s is refused", async (_what, keys) => {
        await makePool("masters", ["fula-1"]);
        await expect(store.addMember(newMember("masters", "fula-2"), keys)).rejects.toMatchObject({
          code: "FULA_MEMBERSHIP_INVALID",
        });
        expect(await store.listMembers("masters")).toHaveLength(1);
        expect(await store.listSealedKeys("masters")).toHaveLength(1);
      });

      test("who goes takes its own keys along and nobody else's, and can come again", async () => {
        await makePool("masters", ["fula-1", "fula-2"], 2);
        await store.noteApplied("masters", endpointOf("fula-2"), 2);
        await store.removeMember("masters", endpointOf("fula-2"));
        expect((await store.listMembers("masters")).map((each) => each.name)).toEqual(["fula-1"]);
        expect(await outcomesOf([store.getSealedKey("masters", endpointOf("fula-2"))])).toEqual([
          "FULA_MEMBERSHIP_NOT_FOUND",
        ]);
        expect((await store.listSealedKeys("masters")).map(({ epoch }) => epoch)).toEqual([1, 2]);
        await store.addMember(newMember("masters", "fula-2"), [newKey("masters", "fula-2", 2, "again")]);
        expect(await store.getMember("masters", endpointOf("fula-2"))).toEqual(newMember("masters", "fula-2"));
        expect((await store.listSealedKeys("masters")).length).toBe(3);
      });

      test("who has been given the newest secret again is not taken out as one who has not", async () => {
        await makePool("masters", ["fula-1", "fula-2"]);
        const box = endpointOf("fula-2");
        await expect(store.removeMember("masters", box, { withoutKeyFrom: 1 })).rejects.toMatchObject({
          code: "FULA_MEMBERSHIP_RACED",
        });
        expect(await store.listMembers("masters")).toHaveLength(2);
        await store.rekey({ pool: "masters", expectedEpoch: 1, sealed: sealedTo(["fula-1"]), without: [box] });
        await store.removeMember("masters", box, { withoutKeyFrom: 2 });
        expect(await poolsOf("fula-2")).toEqual([]);
      });

      test("the pools of a box follow every change", async () => {
        await makePool("b", ["fula-1", "fula-2"]);
        await makePool("a", ["fula-2"]);
        await makePool("c", [], 0);
        expect([await poolsOf("fula-1"), await poolsOf("fula-2"), await poolsOf("none")]).toEqual([
          ["b"],
          ["a", "b"],
          [],
        ]);
        await store.addMember(newMember("c", "fula-2"), []);
        expect(await poolsOf("fula-2")).toEqual(["a", "b", "c"]);
        await store.rekey({ pool: "a", expectedEpoch: 1, sealed: sealedTo(["fula-2"]) });
        expect((await store.listPoolsFor(endpointOf("fula-2"))).map(({ epoch }) => epoch)).toEqual([2, 1, 0]);
        await store.removeMember("b", endpointOf("fula-2"));
        expect(await poolsOf("fula-2")).toEqual(["a", "c"]);
        await store.deletePool("a");
        expect(await poolsOf("fula-2")).toEqual(["c"]);
        await store.importSnapshot(EMPTY_SNAPSHOT);
        expect(await poolsOf("fula-2")).toEqual([]);
      });

      test("what a box has put to use never goes back, and never beyond what there is", async () => {
        await makePool("masters", ["fula-1"], 3);
        const box = endpointOf("fula-1");
        await store.noteApplied("masters", box, 2);
        await store.noteApplied("masters", box, 1);
        expect((await store.getMember("masters", box)).appliedEpoch).toBe(2);
        await expect(store.noteApplied("masters", box, 4)).rejects.toMatchObject({ code: "FULA_MEMBERSHIP_INVALID" });
        await store.noteApplied("masters", box, 3);
        expect((await store.getMember("masters", box)).appliedEpoch).toBe(3);
      });
    });

    describe("secrets", () => {
      test("a rekey raises the epoch and gives everybody the new secret; old ones stay readable", async () => {
        await makePool("masters", ["fula-1", "fula-2"]);
        const pool = await store.rekey({
          pool: "masters",
          expectedEpoch: 1,
          sealed: sealedTo(["fula-2", "fula-1"], "new"),
        });
        expect(pool).toEqual(newPool("masters", { epoch: 2 }));
        expect(await store.getPool("masters")).toEqual(pool);
        const box = endpointOf("fula-2");
        expect((await store.getSealedKey("masters", box)).sealed).toBe(fakeSealed("new for fula-2"));
        expect((await store.getSealedKey("masters", box, 1)).sealed).toBe(fakeSealed("secret 1 for fula-2"));
        const keys = (await store.listSealedKeys("masters")).map(({ epoch, member }) => `${epoch} ${member}`);
        expect(keys).toEqual(keys.toSorted());
        expect(keys).toHaveLength(4);
      });

      test("ten epochs are listed in their order, as numbers", async () => {
        await makePool("masters", ["fula-1"], 11);
        const epochs = (await store.listSealedKeys("masters")).map(({ epoch }) => epoch);
        expect(epochs).toEqual([1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11]);
        expect((await store.getSealedKey("masters", endpointOf("fula-1"))).epoch).toBe(11);
      });

      test("who is about to leave gets no new secret, and its newest is the old one", async () => {
        await makePool("masters", ["fula-1", "fula-2"]);
        const leaver = endpointOf("fula-2");
        await store.rekey({ pool: "masters", expectedEpoch: 1, sealed: sealedTo(["fula-1"]), without: [leaver] });
        expect((await store.getSealedKey("masters", leaver)).epoch).toBe(1);
        expect((await store.getSealedKey("masters", endpointOf("fula-1"))).epoch).toBe(2);
      });

      test.each([
        ["an epoch that is over", { expectedEpoch: 0, sealed: sealedTo(["fula-1", "fula-2"]) }],
        ["an epoch that is not there yet", { expectedEpoch: 2, sealed: sealedTo(["fula-1", "fula-2"]) }],
        ["members without one that nobody named", { expectedEpoch: 1, sealed: sealedTo(["fula-1"]) }],
        ["somebody who is no member", { expectedEpoch: 1, sealed: sealedTo(["fula-1", "fula-2", "fula-3"]) }],
      ])("a rekey for %s comes second, and changes nothing", async (_what, change) => {
        await makePool("masters", ["fula-1", "fula-2"]);
        const before = await store.exportSnapshot();
        await expect(store.rekey({ pool: "masters", ...change })).rejects.toMatchObject({
          code: "FULA_MEMBERSHIP_RACED",
        });
        expect(await store.exportSnapshot()).toEqual(before);
      });

      test.each([
        ["to nobody", { sealed: [], without: [endpointOf("fula-1")] }],
        ["to one twice", { sealed: sealedTo(["fula-1", "fula-1"]) }],
        ["to one that leaves", { sealed: sealedTo(["fula-1"]), without: [endpointOf("fula-1")] }],
        ["as something that is no base64", { sealed: [{ member: endpointOf("fula-1"), sealed: "?" }] }],
      ])("a secret that is sealed %s is refused", async (_what, change) => {
        await makePool("masters", ["fula-1"]);
        await expect(store.rekey({ pool: "masters", expectedEpoch: 1, ...change })).rejects.toMatchObject({
          code: "FULA_MEMBERSHIP_INVALID",
        });
        expect((await store.getPool("masters")).epoch).toBe(1);
      });

      test("a pool without a secret gets none", async () => {
        await store.createPool(newPool("guests", { encrypted: false }));
        await store.addMember(newMember("guests", "fula-1"), []);
        await expect(
          store.rekey({ pool: "guests", expectedEpoch: 0, sealed: sealedTo(["fula-1"]) }),
        ).rejects.toMatchObject({ code: "FULA_MEMBERSHIP_INVALID" });
      });
    });

    describe("operators", () => {
      test("whoever is added comes back in one spelling, whatever was typed", async () => {
        await store.addOperator(newOperator(WALLET, "admin", { name: "Ada" }));
        await store.addOperator(newOperator(USER.toUpperCase()));
        const ada = newOperator(WALLET.toLowerCase(), "admin", { name: "Ada" });
        expect(await store.getOperator(WALLET)).toEqual(ada);
        expect(await store.getOperator(` ${WALLET.toLowerCase()} `)).toEqual(ada);
        expect(await store.listOperators()).toEqual([ada, newOperator(USER)]);
        expect(await store.isAuthorized(WALLET, "admin")).toMatchObject({ allowed: true, operator: ada });
      });

      test("one is not added twice, in whatever spelling, nor one who was revoked", async () => {
        await store.addOperator(newOperator(WALLET, "admin"));
        await store.addOperator(newOperator(KEY, "operator", { status: "revoked" }));
        expect(
          await outcomesOf([
            store.addOperator(newOperator(WALLET)),
            store.addOperator(newOperator(WALLET.toLowerCase())),
            store.addOperator(newOperator(KEY, "admin")),
          ]),
        ).toEqual(["FULA_MEMBERSHIP_EXISTS", "FULA_MEMBERSHIP_EXISTS", "FULA_MEMBERSHIP_EXISTS"]);
        expect((await store.getOperator(KEY)).status).toBe("revoked");
      });

      test.each(["", "ada", "0x1234", "user:ada", `ed25519:${"g".repeat(64)}`, `x25519:${"a".repeat(64)}`])(
        "“%s” is nobody's id",
        async (id) => {
          await store.addOperator(newOperator("system", "admin"));
          expect(await outcomesOf([store.addOperator(newOperator(id)), store.getOperator(id)])).toEqual([
            "FULA_MEMBERSHIP_INVALID",
            "FULA_MEMBERSHIP_INVALID",
          ]);
          expect(await store.isAuthorized(id, "operator")).toMatchObject({ allowed: false, reason: "unknown" });
        },
      );

      test("role and status change, and what is not named stays", async () => {
        await store.addOperator(newOperator("system", "admin"));
        await store.addOperator(newOperator(WALLET, "operator", { name: "Ada" }));
        const ada = newOperator(WALLET.toLowerCase(), "operator", { name: "Ada" });
        expect(await store.changeOperator(WALLET, { role: "admin" })).toEqual({ ...ada, role: "admin" });
        expect(await store.changeOperator(WALLET, { status: "revoked" })).toEqual({
          ...ada,
          role: "admin",
          status: "revoked",
        });
        expect(await store.changeOperator(WALLET, { role: "operator", status: "active" })).toEqual(ada);
        expect(await store.changeOperator(WALLET, {})).toEqual(ada);
        expect(await store.getOperator(WALLET)).toEqual(ada);
      });

      test("the last active admin stays one; who is none may go", async () => {
        await store.addOperator(newOperator(WALLET, "admin"));
        await store.addOperator(newOperator(KEY, "admin", { status: "revoked" }));
        await store.addOperator(newOperator(USER));
        expect(
          await outcomesOf([
            store.changeOperator(WALLET, { status: "revoked" }),
            store.changeOperator(WALLET, { role: "operator" }),
          ]),
        ).toEqual(["FULA_MEMBERSHIP_LAST_ADMIN", "FULA_MEMBERSHIP_LAST_ADMIN"]);
        await store.changeOperator(USER, { status: "revoked" });
        await store.changeOperator(KEY, { status: "active" });
        await store.changeOperator(WALLET, { status: "revoked" });
        expect(await store.hasAdmin()).toBe(true);
        expect((await store.getOperator(WALLET)).status).toBe("revoked");
      });

      test("there is an admin as soon as an active one is there, and not before", async () => {
        expect(await store.hasAdmin()).toBe(false);
        await store.addOperator(newOperator(USER));
        await store.addOperator(newOperator(KEY, "admin", { status: "revoked" }));
        expect(await store.hasAdmin()).toBe(false);
        await store.addOperator(newOperator(WALLET, "admin"));
        expect(await store.hasAdmin()).toBe(true);
      });

      test("while there is no active admin nobody may act, not even an operator", async () => {
        expect(await store.isAuthorized(USER, "operator")).toMatchObject({ allowed: false, reason: "no-operators" });
        await store.addOperator(newOperator(USER));
        expect(await store.isAuthorized(USER, "operator")).toMatchObject({ allowed: false, reason: "no-operators" });
      });

      test("who may act as what follows from role and status, and a denial says why", async () => {
        await store.addOperator(newOperator(WALLET, "admin"));
        await store.addOperator(newOperator(USER));
        await store.addOperator(newOperator(KEY, "admin", { status: "revoked" }));
        const answers = [];
        for (const id of [WALLET, USER, KEY, "system"]) {
          for (const role of ["operator", "admin"] as const) {
            const answer = await store.isAuthorized(id, role);
            answers.push(answer.allowed ? answer.operator.role : answer.reason);
            if (!answer.allowed) expect(answer.why).toMatch(/^The control plane .*\.$|^Operator .*\.$/);
          }
        }
        expect(answers).toEqual(["admin", "admin", "operator", "role", "revoked", "revoked", "unknown", "unknown"]);
      });

      test("who is revoked may act no more from the next question on, whoever revoked him", async () => {
        await store.addOperator(newOperator("system", "admin"));
        await store.addOperator(newOperator(WALLET, "admin"));
        const elsewhere = await under.again();
        expect((await elsewhere.isAuthorized(WALLET, "admin")).allowed).toBe(true);
        await store.changeOperator(WALLET, { status: "revoked" });
        expect(await elsewhere.isAuthorized(WALLET, "operator")).toMatchObject({ reason: "revoked" });
        await elsewhere.changeOperator(WALLET, { status: "active" });
        expect((await store.isAuthorized(WALLET, "operator")).allowed).toBe(true);
      });
    });

    describeRaces(() => under, makePool);
    describeSnapshots(() => under);
  });
}

function describeRaces(
  get: () => StoreUnderTest,
  makePool: (id: string, names: readonly string[]) => Promise<void>,
): void {
  describe("races", () => {
    /** Eight who act at once, through two openings of the store. */
    const eight = async (
      act: (store: MembershipStore, index: number) => Promise<unknown>,
    ): Promise<readonly string[]> => {
      const stores = [get().store, await get().again()];
      return await outcomesOf(Array.from({ length: 8 }, (_, index) => act(stores[index % 2] ?? get().store, index)));
    };

    test("of eight rekeys of one epoch one counts, and everybody has its secret", async () => {
      const { store } = get();
      await makePool("masters", ["fula-1", "fula-2"]);
      const outcomes = await eight((each, index) =>
        each.rekey({ pool: "masters", expectedEpoch: 1, sealed: sealedTo(["fula-1", "fula-2"], `try ${index}`) }),
      );
      const winner = outcomes.indexOf("ok");
      expect(outcomes.filter((each) => each === "FULA_MEMBERSHIP_RACED")).toHaveLength(7);
      expect((await store.getPool("masters")).epoch).toBe(2);
      for (const name of ["fula-1", "fula-2"]) {
        const { sealed } = await store.getSealedKey("masters", endpointOf(name));
        expect(sealed).toBe(fakeSealed(`try ${winner} for ${name}`));
      }
    });

    test("of eight who make one pool one does", async () => {
      const outcomes = await eight((each, index) => each.createPool(newPool("masters", { name: `Try ${index}` })));
      expect(outcomes.filter((each) => each === "FULA_MEMBERSHIP_EXISTS")).toHaveLength(7);
      expect((await get().store.getPool("masters")).name).toBe(`Try ${outcomes.indexOf("ok")}`);
    });

    test("of eight who add one member one does", async () => {
      await makePool("masters", ["fula-1"]);
      const outcomes = await eight((each, index) =>
        each.addMember(newMember("masters", "fula-2", { name: `try-${index}` }), [newKey("masters", "fula-2", 1)]),
      );
      const others = outcomes.filter((each) => each !== "ok");
      expect(others).toHaveLength(7);
      expect(others.every((each) => each === "FULA_MEMBERSHIP_EXISTS" || each === "FULA_MEMBERSHIP_RACED")).toBe(true);
      expect((await get().store.getMember("masters", endpointOf("fula-2"))).name).toBe(`try-${outcomes.indexOf("ok")}`);
    });

    test("of two spellings of one wallet at once one is taken", async () => {
      const outcomes = await eight((each, index) =>
        each.addOperator(newOperator(index % 2 === 0 ? WALLET : WALLET.toLowerCase(), "admin")),
      );
      const others = outcomes.filter((each) => each !== "ok");
      expect(others).toHaveLength(7);
      expect(others.every((each) => each === "FULA_MEMBERSHIP_EXISTS" || each === "FULA_MEMBERSHIP_RACED")).toBe(true);
      expect(await get().store.listOperators()).toHaveLength(1);
    });

    test("two admins who revoke one another at once do not both go", async () => {
      const { store } = get();
      const elsewhere = await get().again();
      await store.addOperator(newOperator(WALLET, "admin"));
      await store.addOperator(newOperator(KEY, "admin"));
      for (let round = 0; round < ROUNDS; round += 1) {
        const outcomes = await outcomesOf([
          store.changeOperator(WALLET, { status: "revoked" }),
          elsewhere.changeOperator(KEY, { status: "revoked" }),
        ]);
        expect(outcomes).toContain("ok");
        expect(await store.hasAdmin()).toBe(true);
        const revoked = (await store.listOperators()).filter(({ status }) => status === "revoked");
        expect(revoked).toHaveLength(1);
        for (const { id } of revoked) await store.changeOperator(id, { status: "active" });
      }
    });

    test("whoever is added while the pool is rekeyed has the newest secret, or is no member", async () => {
      const { store } = get();
      const elsewhere = await get().again();
      await makePool("masters", ["fula-1"]);
      for (let round = 1; round <= ROUNDS; round += 1) {
        const { epoch } = await store.getPool("masters");
        const names = (await store.listMembers("masters")).map((each) => each.name);
        const comer = `comer-${round}`;
        const outcomes = await outcomesOf([
          store.rekey({ pool: "masters", expectedEpoch: epoch, sealed: sealedTo(names, `round ${round}`) }),
          elsewhere.addMember(newMember("masters", comer), [newKey("masters", comer, epoch)]),
        ]);
        expect(outcomes.filter((each) => each === "FULA_MEMBERSHIP_RACED")).toHaveLength(1);
        expect(outcomes).toContain("ok");
        const pool = await store.getPool("masters");
        for (const { endpoint } of await store.listMembers("masters")) {
          expect((await store.getSealedKey("masters", endpoint)).epoch).toBe(pool.epoch);
        }
      }
    });

    test("a member that is taken out and added again at once is whole or gone", async () => {
      const { store } = get();
      const elsewhere = await get().again();
      await makePool("masters", ["fula-1", "fula-2"]);
      const box = endpointOf("fula-2");
      for (let round = 0; round < ROUNDS; round += 1) {
        const outcomes = await outcomesOf([
          store.removeMember("masters", box),
          elsewhere.addMember(newMember("masters", "fula-2"), [newKey("masters", "fula-2", 1, `round ${round}`)]),
        ]);
        expect(outcomes[0]).toMatch(/^ok$|RACED$/);
        expect(outcomes[1]).toMatch(/^ok$|EXISTS$|RACED$/);
        const listed = (await store.listMembers("masters")).some(({ endpoint }) => endpoint === box);
        expect((await outcomesOf([store.getSealedKey("masters", box)]))[0] === "ok").toBe(listed);
        expect((await store.listPoolsFor(box)).length === 1).toBe(listed);
        if (!listed) await store.addMember(newMember("masters", "fula-2"), [newKey("masters", "fula-2", 1)]);
      }
    });
  });
}

function describeSnapshots(get: () => StoreUnderTest): void {
  describe("snapshots", () => {
    test("a snapshot has everything, each list in its order", async () => {
      const { store } = get();
      await fill(store);
      const snapshot = await store.exportSnapshot();
      expect(snapshot.pools.map(({ id, epoch }) => `${id} ${epoch}`)).toEqual(["cluster 2", "guests 0", "masters 2"]);
      expect(snapshot.members).toEqual([
        ...(await store.listMembers("cluster")),
        ...(await store.listMembers("masters")),
      ]);
      expect(snapshot.sealedKeys).toEqual([
        ...(await store.listSealedKeys("cluster")),
        ...(await store.listSealedKeys("masters")),
      ]);
      expect(snapshot.sealedKeys).toHaveLength(8);
      expect(snapshot.operators).toEqual(await store.listOperators());
    });

    test("it makes another store the same, one that holds nothing and one that holds something else", async () => {
      const { store } = get();
      await fill(store);
      const snapshot = await store.exportSnapshot();
      await using other = await get().another();
      await other.createPool(newPool("masters", { name: "Other" }));
      await other.addMember(newMember("masters", "fula-9"), []);
      await other.createPool(newPool("stray"));
      await other.addMember(newMember("stray", "fula-1"), []);
      await other.addOperator(newOperator("system", "admin"));
      await other.importSnapshot(snapshot);
      expect(JSON.stringify(await other.exportSnapshot())).toBe(JSON.stringify(snapshot));
      await other.importSnapshot(snapshot);
      expect(JSON.stringify(await other.exportSnapshot())).toBe(JSON.stringify(snapshot));
      expect((await other.listPoolsFor(endpointOf("fula-1"))).map(({ id }) => id)).toEqual(["cluster", "masters"]);
      expect(await other.listPoolsFor(endpointOf("fula-9"))).toEqual([]);
      expect((await other.isAuthorized(WALLET, "admin")).allowed).toBe(true);
      expect(await other.isAuthorized("system", "operator")).toMatchObject({ reason: "unknown" });
    });

    test("what was brought back can be changed like everything else", async () => {
      const { store } = get();
      await fill(store);
      await store.importSnapshot(await store.exportSnapshot());
      const pool = await store.rekey({
        pool: "masters",
        expectedEpoch: 2,
        sealed: sealedTo(["fula-1", "fula-2"], "third"),
      });
      expect(pool.epoch).toBe(3);
      await store.addMember(newMember("masters", "fula-3"), [newKey("masters", "fula-3", 3)]);
      await expect(store.changeOperator(WALLET, { status: "revoked" })).rejects.toMatchObject({
        code: "FULA_MEMBERSHIP_LAST_ADMIN",
      });
      await store.removeMember("masters", endpointOf("fula-3"));
      expect(await store.listPoolsFor(endpointOf("fula-3"))).toEqual([]);
    });

    test("its progress is told, and ends with all", async () => {
      const { store } = get();
      await fill(store);
      const snapshot = await store.exportSnapshot();
      const told: (readonly [number, number])[] = [];
      await store.importSnapshot(snapshot, { onProgress: (done, total) => told.push([done, total]) });
      expect(told.at(-1)).toEqual([18, 18]);
      expect(told.map(([done]) => done)).toEqual(told.map(([done]) => done).toSorted((left, right) => left - right));
    });

    test.each<[string, (store: MembershipStore) => Promise<unknown>]>([
      ["revoked somebody", async (store) => await store.changeOperator(WALLET, { status: "revoked" })],
      ["added a pool", async (store) => await store.createPool(newPool("stray"))],
      ["rekeyed", async (store) => await store.rekey({ pool: "masters", expectedEpoch: 1, sealed: sealedTo(["a"]) })],
      ["noted an epoch", async (store) => await store.noteApplied("masters", endpointOf("a"), 1)],
    ])("an import over a state in which another has %s since writes nothing", async (_what, change) => {
      const { store } = get();
      await store.createPool(newPool("masters"));
      await store.addMember(newMember("masters", "a"), []);
      await store.rekey({ pool: "masters", expectedEpoch: 0, sealed: sealedTo(["a"]) });
      await store.addOperator(newOperator("system", "admin"));
      await store.addOperator(newOperator(WALLET));
      const over = await store.exportSnapshot();
      await change(store);
      const changed = await store.exportSnapshot();
      const next = { ...EMPTY_SNAPSHOT, pools: [newPool("another")], operators: over.operators };
      await expect(store.importSnapshot(next, { over })).rejects.toMatchObject({ code: "FULA_MEMBERSHIP_RACED" });
      expect(await store.exportSnapshot()).toEqual(changed);
      await store.importSnapshot(next, { over: changed });
      expect(await store.exportSnapshot()).toEqual(next);
    });

    test("an import that was interrupted can be run again", async () => {
      const { store } = get();
      await fill(store);
      const snapshot = await store.exportSnapshot();
      await using other = await get().another();
      await other.createPool(newPool("stray"));
      const onProgress = (): void => {
        throw new Error("cut off");
      };
      const cut = other.importSnapshot(snapshot, { onProgress });
      await expect(cut).rejects.toThrow("cut off");
      await other.importSnapshot(snapshot);
      expect(await other.exportSnapshot()).toEqual(snapshot);
    });

    const operator: Operator = newOperator("system", "admin");
    test.each<[string, Partial<MembershipSnapshot>]>([
      ["names a pool twice", { pools: [newPool("a"), newPool("a")] }],
      ["names a member twice", { pools: [newPool("a")], members: [newMember("a", "x"), newMember("a", "x")] }],
      ["names an operator twice", { operators: [operator, operator] }],
      ["has a member without its pool", { members: [newMember("a", "x")] }],
      ["has a key without its member", { pools: [newPool("a", { epoch: 1 })], sealedKeys: [newKey("a", "x", 1)] }],
      [
        "has a key of an epoch that is not there yet",
        { pools: [newPool("a")], members: [newMember("a", "x")], sealedKeys: [newKey("a", "x", 1)] },
      ],
      [
        "has an epoch put to use that is not there yet",
        { pools: [newPool("a")], members: [newMember("a", "x", { appliedEpoch: 1 })] },
      ],
      ["has an operator's id in another spelling", { operators: [newOperator(WALLET)] }],
    ])("one that %s is refused, and changes nothing", async (_what, part) => {
      const { store } = get();
      await store.createPool(newPool("masters"));
      await expect(store.importSnapshot({ ...EMPTY_SNAPSHOT, ...part })).rejects.toMatchObject({
        code: "FULA_MEMBERSHIP_INVALID",
      });
      expect(await store.listPools()).toEqual([newPool("masters")]);
    });
  });
}
