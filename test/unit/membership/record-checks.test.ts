import { describe, expect, test } from "vitest";
import { normalOperatorId } from "../../../src/lib/membership/record-checks.ts";
import { memberSchema, operatorSchema, poolSchema, sealedKeySchema } from "../../../src/lib/membership/records.ts";
import { checkSnapshot, countRecords, orderSnapshot } from "../../../src/lib/membership/snapshot.ts";
import { EMPTY_SNAPSHOT, newKey, newMember, newOperator, newPool } from "../../support/membership.ts";

describe("an operator's id", () => {
  test.each([
    ["0x52908400098527886E0F7030069857D2E4169EE7", "0x52908400098527886e0f7030069857d2e4169ee7"],
    [`0X${"AB".repeat(20)}`, `0x${"ab".repeat(20)}`],
    [`ED25519:${"Cd".repeat(32)}`, `ed25519:${"cd".repeat(32)}`],
    [`user:${"EF".repeat(32)}`, `user:${"ef".repeat(32)}`],
    ["System", "system"],
    ["  system\n", "system"],
  ])("%j has one spelling", (typed, normal) => {
    expect(normalOperatorId(typed)).toBe(normal);
    expect(normalOperatorId(normal)).toBe(normal);
  });

  test.each([
    "",
    " ",
    "root",
    "ada@example.org",
    "0x",
    `0x${"ab".repeat(21)}`,
    `0x${"ag".repeat(20)}`,
    "ab".repeat(20),
    `ed25519:${"ab".repeat(31)}`,
    `user:${"ab".repeat(32)} system`,
    `system\u0000`,
    "sys tem",
    `0x${"ａ".repeat(40)}`,
  ])("%j is none, and what one looks like is said", (typed) => {
    expect(() => normalOperatorId(typed)).toThrow(
      expect.objectContaining({ code: "FULA_MEMBERSHIP_INVALID", hint: expect.stringContaining("0x5290") }),
    );
  });
});

describe("a record", () => {
  test.each([
    ["a pool", poolSchema, newPool("p")],
    ["a member", memberSchema, newMember("p", "fula-1")],
    ["a sealed key", sealedKeySchema, newKey("p", "fula-1", 1)],
    ["an operator", operatorSchema, newOperator("system")],
  ])("of %s is taken whole, and with nothing missing or more", (_what, schema, record) => {
    expect(schema.safeParse(record).data).toEqual(record);
    expect(schema.safeParse({ ...record, more: 1 }).success).toBe(false);
    for (const field of Object.keys(record)) {
      expect([field, schema.safeParse({ ...record, [field]: undefined }).success]).toEqual([field, false]);
      expect([field, schema.safeParse({ ...record, [field]: null }).success]).toEqual([field, false]);
    }
  });

  test.each(["2026-11-20T03:00:00Z", "2026-13-20T03:00:00.000Z", "2026-11-20T03:00:00.000+00:00", "2026-11-20"])(
    "has no time such as %s",
    (createdAt) => {
      expect(poolSchema.safeParse(newPool("p", { createdAt })).success).toBe(false);
    },
  );

  test.each(["a\u001b[31m", "a\nb", "a\u2028b", "\udc00", "x".repeat(201)])("has no name such as %j", (name) => {
    expect(operatorSchema.safeParse(newOperator("system", "admin", { name })).success).toBe(false);
  });
});

describe("a snapshot", () => {
  test("is put in one order, whatever order its records came in, and epochs count as numbers", () => {
    const pools = [newPool("a", { epoch: 11 }), newPool("b", { epoch: 11 })];
    const members = ["a", "b"].flatMap((pool) => [newMember(pool, "x"), newMember(pool, "y")]);
    const sealedKeys = [11, 2, 10, 1].flatMap((epoch) => [newKey("b", "y", epoch), newKey("a", "x", epoch)]);
    const operators = [newOperator("system", "admin"), newOperator(`0x${"1".repeat(40)}`)];
    const snapshot = { format: 1 as const, pools, members, sealedKeys, operators };
    const reversed = {
      format: 1 as const,
      pools: pools.toReversed(),
      members: members.toReversed(),
      sealedKeys: sealedKeys.toReversed(),
      operators: operators.toReversed(),
    };
    const ordered = orderSnapshot(snapshot);
    expect(JSON.stringify(orderSnapshot(reversed))).toBe(JSON.stringify(ordered));
    expect(ordered.sealedKeys.map(({ pool, epoch }) => `${pool}${epoch}`)).toEqual([
      "a1",
      "a2",
      "a10",
      "a11",
      "b1",
      "b2",
      "b10",
      "b11",
    ]);
    expect(checkSnapshot(ordered)).toEqual(ordered);
    expect(countRecords(ordered)).toBe(16);
  });

  test.each([
    ["nothing", null],
    ["another format", { ...EMPTY_SNAPSHOT, format: 2 }],
    ["a list that is missing", { format: 1, pools: [], members: [], operators: [] }],
    ["more than it should", { ...EMPTY_SNAPSHOT, secrets: [] }],
  ])("with %s is none", (_what, value) => {
    expect(() => checkSnapshot(value)).toThrow(expect.objectContaining({ code: "FULA_MEMBERSHIP_INVALID" }));
  });
});
