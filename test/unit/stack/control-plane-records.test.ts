import { describe, expect, test } from "vitest";
import type { Authorization, Member, Operator, Pool } from "../../../src/lib/membership/records.ts";
import {
  judgeAuthorization,
  judgePools,
  laggardsOf,
  type PoolView,
  type RecordsView,
} from "../../../src/lib/stack/control-plane-records.ts";

const OWN = `x25519:${"a".repeat(64)}`;
const OTHER = `x25519:${"b".repeat(64)}`;
const createdAt = "2026-11-20T03:00:00.000Z";
const ADMIN: Operator = { id: `ed25519:${"1".repeat(64)}`, role: "admin", status: "active", name: "a", createdAt };
const ALLOWED: Authorization = { allowed: true, operator: ADMIN, ageMs: 120 };

function member(pool: string, endpoint: string, appliedEpoch: number): Member {
  const name = endpoint === OWN ? "own" : "other";
  return { pool, endpoint, name, role: "member", joinedAt: createdAt, appliedEpoch };
}

function poolOf(id: string, epoch: number, applied: readonly (readonly [string, number])[]): PoolView {
  const pool: Pool = { id, name: id, encrypted: true, owner: OWN, epoch, createdAt };
  return { pool, members: applied.map(([endpoint, at]) => member(id, endpoint, at)) };
}

const WELL: RecordsView = {
  operators: [ADMIN],
  pools: ["cluster", "masters", "swarm"].map((id) =>
    poolOf(id, 1, [
      [OWN, 1],
      [OTHER, 1],
    ]),
  ),
  ownAuthorization: ALLOWED,
  ownEndpoint: OWN,
};

test("a box that may act and uses the newest secrets has nothing against it", () => {
  expect([judgeAuthorization(WELL), judgePools(WELL)]).toEqual([[], []]);
});

function denied(reason: Extract<Authorization, { allowed: false }>["reason"]): Authorization {
  return { allowed: false, reason, why: "That is why." };
}

describe("who may act is judged by what an operator has to do:", () => {
  test.each([
    ["nobody is admin", { operators: [{ ...ADMIN, status: "revoked" as const }] }, "bad", /^There is no admin/],
    ["an operator is no admin", { operators: [{ ...ADMIN, role: "operator" as const }] }, "bad", /^There is no admin/],
    ["the box has no key", { ownAuthorization: null }, "bad", /no key to act with/],
    ["the box was revoked", { ownAuthorization: denied("revoked") }, "attention", /may not act as admin: That is why/],
    ["the box is operator alone", { ownAuthorization: denied("role") }, "attention", /may not act as admin/],
    ["nobody knows the box", { ownAuthorization: denied("unknown") }, "bad", /is no operator/],
    ["the servers have no quorum", { ownAuthorization: denied("no-quorum") }, "bad", /^Nobody can be asked/],
    ["the servers are silent", { ownAuthorization: denied("unreachable") }, "bad", /^Nobody can be asked/],
    ["the answer is old", { ownAuthorization: denied("stale") }, "bad", /^Nobody can be asked/],
  ])("%s", (_title, change, severity, message) => {
    const problems = judgeAuthorization({ ...WELL, ...change });
    expect(problems).toHaveLength(1);
    expect(problems[0]).toMatchObject({ severity, message: expect.stringMatching(message) });
    expect(problems[0]?.remedy).not.toBe("");
  });
});

describe("pools are judged by what a box has to do:", () => {
  test.each([
    ["the box has no key", { ownEndpoint: null }, "bad", /no key that secrets/],
    ["there is no pool of the masters", { pools: [] }, "attention", /are not in the control plane yet/],
    [
      "the box is outside of two that there are",
      { pools: [poolOf("cluster", 1, [[OTHER, 1]]), poolOf("masters", 1, [[OTHER, 1]])] },
      "bad",
      /2 pools of the masters: masters, cluster\.$/,
    ],
    [
      "another box uses an old secret",
      {
        pools: [
          poolOf("masters", 3, [
            [OWN, 3],
            [OTHER, 2],
          ]),
        ],
      },
      "attention",
      /^other uses the secret of epoch 2 of pool masters, whose newest is of epoch 3\.$/,
    ],
    [
      "this box uses none",
      { pools: [poolOf("masters", 3, [[OWN, 0]])] },
      "attention",
      /^own uses no secret of pool masters/,
    ],
  ])("%s", (_title, change, severity, message) => {
    const problems = judgePools({ ...WELL, ...change });
    expect(problems).toHaveLength(1);
    expect(problems[0]).toMatchObject({ severity, message: expect.stringMatching(message) });
  });
});

test("a box that has only its own blocks and pins needs none but the pool of the masters", () => {
  expect(judgePools({ ...WELL, pools: [poolOf("masters", 1, [[OWN, 1]])] })).toEqual([]);
});

test("members of a pool without a secret lag behind nothing", () => {
  expect(laggardsOf([poolOf("friends", 0, [[OTHER, 0]])])).toEqual([]);
});
