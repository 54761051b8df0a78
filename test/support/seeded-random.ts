import type { Random } from "../../src/lib/kernel/random.ts";

/** What is drawn follows from the seed alone (mulberry32), so that a failure can be repeated. Not for secrets. */
export function seededRandom(seed: number): Random {
  let state = Math.trunc(seed);
  const fraction = (): number => {
    state = Math.trunc(state + 0x6d2b79f5);
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
  const int = (below: number): number => Math.floor(fraction() * below);
  const bytes = (length: number): Uint8Array => Uint8Array.from({ length }, () => int(256));
  const uuid = (): string =>
    Buffer.from(bytes(16))
      .toString("hex")
      .replace(/^(.{8})(.{4})(.{4})(.{4})/, "$1-$2-$3-$4-");
  return { bytes, int, uuid };
}
