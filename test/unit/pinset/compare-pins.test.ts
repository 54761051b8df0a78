import { describe, expect, test } from "vitest";
import type { Pin } from "../../../src/lib/cluster/pins.ts";
import { differingFields, PIN_FIELDS } from "../../../src/lib/pinset/compare-pins.ts";
import { fullPin } from "../../support/pins.ts";

const pin = fullPin(3, { expire_at: "2999-01-02T03:04:05Z", origins: ["/a", "/b"], allocations: ["p1", "p2"] });

const other: { readonly [Field in (typeof PIN_FIELDS)[number]]: Pin[Field] } = {
  type: "meta-pin",
  mode: "direct",
  name: "another",
  replication_factor_min: 17,
  replication_factor_max: 17,
  shard_size: 17,
  user_allocations: ["x"],
  allocations: ["p1"],
  expire_at: null,
  metadata: { bucket: "b4" },
  origins: [],
  max_depth: 3,
  reference: "bafy",
  timestamp: "2026-01-01T00:00:00Z",
};

describe("differingFields", () => {
  test("finds no difference between a record and its copy", () => {
    expect(differingFields(pin, structuredClone(pin))).toEqual([]);
  });

  for (const field of PIN_FIELDS) {
    test(`finds another ${field}, and not where it is left out of account`, () => {
      const changed = { ...pin, [field]: other[field] };
      expect(differingFields(pin, changed)).toEqual([field]);
      expect(differingFields(pin, changed, [field])).toEqual([]);
    });
  }

  test("looks at every field that a pin has", () => {
    expect([...PIN_FIELDS, "cid"].toSorted()).toEqual(Object.keys(pin).toSorted());
  });

  test.each([
    ["another order of peers", { allocations: ["p2", "p1"] }],
    ["another order of origins", { origins: ["/b", "/a"] }],
    ["another order of metadata keys", { metadata: Object.fromEntries(Object.entries(pin.metadata).toReversed()) }],
    ["the same instant in other digits", { expire_at: "2999-01-02T03:04:05.000Z" }],
  ])("takes %s for the same", (_what, change) => {
    expect(differingFields(pin, { ...pin, ...change })).toEqual([]);
  });

  test("tells instants apart that differ by one nanosecond", () => {
    const a = { ...pin, timestamp: "2026-01-01T00:00:00.123456789Z" };
    expect(differingFields(a, { ...a, timestamp: "2026-01-01T00:00:00.123456788Z" })).toEqual(["timestamp"]);
  });
});
