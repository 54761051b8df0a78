/**
 * Blocks from one directory to the next. Fewer make a cold read shorter and every flush longer: with six, a log of 96
 * blocks takes 17 reads at worst, and directories take 22 bytes a flush.
 */
export const SEGMENT_BLOCKS = 6;

/** Bytes of a key's fingerprint in a directory. */
export const PRINT_BYTES = 3;

/** True for a block that carries a directory: every sixth one. */
export function hasDirectory(ordinal: number): boolean {
  return ordinal % SEGMENT_BLOCKS === 0;
}

/** Number of segments that the `n`-th directory covers: the lowest bit of n, as in a Fenwick tree. */
export function segmentsOf(n: number): number {
  return n & -n;
}

/** Numbers of the directories inside the range of the `n`-th one, from the newest: n - 1, n - 2, n - 4, … */
export function innerOf(n: number): readonly number[] {
  const inner: number[] = [];
  for (let step = 1; step < segmentsOf(n); step *= 2) inner.push(n - step);
  return inner;
}
