import { makePin, type Pin, type PinCluster } from "../../src/lib/cluster/pins.ts";
import { createMemoryCluster } from "./memory-cluster.ts";

/** RFC 4648 base32 in lower case, in the order of its bytes. */
const ALPHABET = "234567abcdefghijklmnopqrstuvwxyz";

/** Every group of three digits, so that a CID is put together quickly: what is measured is not the making of pins. */
const TRIPLES = Array.from({ length: 32 ** 3 }, (_, value) =>
  [value >> 10, (value >> 5) & 31, value & 31].map((digit) => ALPHABET[digit]).join(""),
);
const TRIPLES_RANDOM = 15;

/** A CID that sorts by its number and is otherwise as random as real ones, for what must be compressed realistically. */
function cidOf(number: number): string {
  let text = `bafkrei${TRIPLES[number >> 15] ?? ""}${TRIPLES[number & 0x7fff] ?? ""}`;
  let state = number + 1;
  for (let index = 0; index < TRIPLES_RANDOM; index += 1) {
    // xorshift32 (G. Marsaglia, "Xorshift RNGs", 2003)
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    text += TRIPLES[(state >>> 9) & 0x7fff] ?? "";
  }
  return text;
}

/** A pin as a gateway makes it: a name, the bucket in the metadata, a time with digits of a second. */
function syntheticPin(number: number): Pin {
  const time = new Date(Date.UTC(2026, 0, 1) + number * 977).toISOString();
  return makePin(cidOf(number), time, {
    name: `photos/2026/img-${(number * 7_919) % 1_000_003}.jpg`,
    metadata: { bucket: `bucket-${number % 97}` },
  });
}

function* ascending(count: number): Generator<number> {
  for (let number = 0; number < count; number += 1) yield number;
}

/** Every number below `count` once, in an order that looks random and needs no memory. */
function* shuffled(count: number): Generator<number> {
  const step = 7_368_787;
  for (let index = 0, at = 0; index < count; index += 1, at = (at + step) % count) yield at;
}

/** A pinset of any size that takes no memory. @param sorted false lists it in an order that has nothing to do with the CIDs */
export function createSyntheticCluster(count: number, sorted: boolean): PinCluster {
  return {
    ...createMemoryCluster({ clusterId: "synthetic", sorted }),
    count: async () => count,
    pins: async function* (signal) {
      const numbers = sorted ? ascending(count) : shuffled(count);
      for (const number of numbers) {
        if (number % 4_096 === 0) signal?.throwIfAborted();
        yield syntheticPin(number);
      }
    },
  };
}
