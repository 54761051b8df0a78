import { describe, expect, test } from "vitest";
import { compareSnapshots, lossesByImport, writeWholeState } from "../../../src/lib/membership/migrate.ts";
import type { MembershipSnapshot } from "../../../src/lib/membership/records.ts";
import { MemoryMembership } from "../../support/memory-membership.ts";

const ENDPOINT = `x25519:${"ab".repeat(32)}`;
const WALLET = `0x${"cd".repeat(20)}`;
const SINCE = "2026-11-20T03:00:00.000Z";

const STATE: MembershipSnapshot = {
  format: 1,
  pools: [{ id: "cluster", name: "Cluster", encrypted: true, owner: ENDPOINT, epoch: 2, createdAt: SINCE }],
  members: [{ pool: "cluster", endpoint: ENDPOINT, name: "master-1", role: "owner", joinedAt: SINCE, appliedEpoch: 1 }],
  sealedKeys: [
    { pool: "cluster", epoch: 1, member: ENDPOINT, sealed: "b25l" },
    { pool: "cluster", epoch: 2, member: ENDPOINT, sealed: "dHdv" },
  ],
  operators: [{ id: WALLET, role: "operator", status: "active", name: "Alice", createdAt: SINCE }],
};
const EMPTY: MembershipSnapshot = { format: 1, pools: [], members: [], sealedKeys: [], operators: [] };

function withPool(change: object): MembershipSnapshot {
  return { ...STATE, pools: STATE.pools.map((pool) => ({ ...pool, ...change })) };
}
function withMember(change: object): MembershipSnapshot {
  return { ...STATE, members: STATE.members.map((member) => ({ ...member, ...change })) };
}
function withOperator(change: object): MembershipSnapshot {
  return { ...STATE, operators: STATE.operators.map((operator) => ({ ...operator, ...change })) };
}

describe("what two states differ in", () => {
  test("equal ones differ in nothing, in whatever order their fields stand", () => {
    const pools = STATE.pools.map(({ createdAt, epoch, owner, encrypted, name, id }) => {
      return { createdAt, epoch, owner, encrypted, name, id };
    });
    expect(compareSnapshots(STATE, { ...STATE, pools }).count).toBe(0);
  });

  test("a record that is missing, one beside, and a field that differs are each named", () => {
    expect(compareSnapshots(STATE, { ...STATE, sealedKeys: STATE.sealedKeys.slice(1) }).first).toEqual([
      `sealed key of cluster, epoch 1, for ${ENDPOINT} is missing`,
    ]);
    expect(compareSnapshots(EMPTY, { ...EMPTY, operators: STATE.operators }).first).toEqual([
      `operator ${WALLET} is there beside`,
    ]);
    expect(compareSnapshots(STATE, withPool({ epoch: 1, name: "Other" })).first).toEqual([
      'pool cluster differs: name is "Other", not "Cluster", epoch is 1, not 2',
    ]);
  });

  test("all are counted, the first twenty told", () => {
    const operators = Array.from({ length: 25 }, (_, index) =>
      STATE.operators.map((operator) => ({ ...operator, id: `user:${String(index).padStart(64, "0")}` })),
    ).flat();
    const found = compareSnapshots({ ...EMPTY, operators }, EMPTY);
    expect(found.count).toBe(25);
    expect(found.first).toHaveLength(20);
  });
});

describe("what an import would take away", () => {
  const cases: readonly [string, MembershipSnapshot, number][] = [
    ["an empty store has nothing to lose", EMPTY, 0],
    ["nor has one with the same state", STATE, 0],
    ["nor what an interrupted run has left", { ...EMPTY, members: STATE.members, operators: STATE.operators }, 0],
    ["an earlier epoch gives way", withPool({ epoch: 1 }), 0],
    ["a later epoch would be set back", withPool({ epoch: 3 }), 1],
    ["a pool of the same name that somebody else made", withPool({ owner: `x25519:${"ef".repeat(32)}` }), 1],
    ["an older note of what a box has put to use gives way", withMember({ appliedEpoch: 0 }), 0],
    ["a newer one would be set back", withMember({ appliedEpoch: 2 }), 1],
    ["one who was revoked would act again", withOperator({ status: "revoked" }), 1],
    ["another role", withOperator({ role: "admin" }), 1],
    ["an operator whom the source does not have", withOperator({ id: "system" }), 1],
  ];
  for (const [title, present, count] of cases) {
    test(title, () => {
      expect(lossesByImport(present, STATE).count).toBe(count);
    });
  }

  test("a revocation is carried over one who is still active", () => {
    expect(lossesByImport(STATE, withOperator({ status: "revoked" })).count).toBe(0);
  });
});

describe("writing a whole state over another", () => {
  test("leaves somebody who may act where there is one, also where overwriting is asked for", async () => {
    const store = new MemoryMembership();
    const present = withOperator({ role: "admin" });
    await store.importSnapshot(present);
    for (const next of [EMPTY, withOperator({ role: "admin", status: "revoked" })]) {
      await expect(writeWholeState(next, store, { overwrite: true })).rejects.toMatchObject({
        code: "FULA_MEMBERSHIP_LAST_ADMIN",
      });
    }
    expect(await store.exportSnapshot()).toEqual(present);
  });

  test("takes nothing away that its maker has not seen", async () => {
    const store = new MemoryMembership();
    await store.importSnapshot(STATE);
    const over = await store.exportSnapshot();
    await store.changeOperator(WALLET, { status: "revoked" });
    await expect(writeWholeState(STATE, store, { overwrite: true, over })).rejects.toMatchObject({
      code: "FULA_MEMBERSHIP_RACED",
    });
    expect(await store.getOperator(WALLET)).toMatchObject({ status: "revoked" });
  });
});
