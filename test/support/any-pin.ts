import fc from "fast-check";
import type { Pin } from "../../src/lib/cluster/pins.ts";
import { rawCid } from "./pins.ts";

const text = (): fc.Arbitrary<string> => fc.string({ unit: "binary", maxLength: 30 });
const texts = (): fc.Arbitrary<string[]> => fc.array(text(), { maxLength: 3 });

const time = (): fc.Arbitrary<string> =>
  fc
    .tuple(
      fc.date({ min: new Date("1970-01-01"), max: new Date("9999-12-31"), noInvalidDate: true }),
      fc.constantFrom("", ".5", ".123456789"),
    )
    .map(([date, fraction]) => date.toISOString().replace(/\.\d{3}Z$/, `${fraction}Z`));

/** Any record that the rules of a pin allow, above all odd strings and metadata keys. */
export function anyPin(): fc.Arbitrary<Pin> {
  return fc.record({
    cid: fc.nat(1_000_000).map((seed) => rawCid(String(seed)).toString()),
    type: fc.constantFrom("pin", "meta-pin", "clusterdag-pin", "shard-pin"),
    mode: fc.constantFrom("recursive", "direct"),
    name: text(),
    replication_factor_min: fc.integer({ min: -1, max: 10_000 }),
    replication_factor_max: fc.integer({ min: -1, max: 10_000 }),
    shard_size: fc.oneof(fc.constant(0), fc.maxSafeNat()),
    user_allocations: texts(),
    allocations: texts(),
    expire_at: fc.option(time()),
    metadata: fc.dictionary(fc.oneof(text(), fc.nat(200).map(String), fc.constantFrom("__proto__", "")), text(), {
      maxKeys: 4,
      noNullPrototype: true,
    }),
    origins: texts(),
    max_depth: fc.integer({ min: -1, max: 1_000_000 }),
    reference: fc.option(text()),
    timestamp: time(),
  });
}
