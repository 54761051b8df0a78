const HIGH_SURROGATES_BEGIN = 0xd8_00;
const HIGH_SURROGATES_END = 0xdc_00;

/** How many code units two keys have in common at their beginning, in whole characters. */
export function sharedUnits(a: string, b: string): number {
  const length = Math.min(a.length, b.length);
  let shared = 0;
  while (shared < length && a.charCodeAt(shared) === b.charCodeAt(shared)) shared += 1;
  if (shared === 0) return 0;
  // Characters beyond the BMP are two code units, of which the first may be common and the second not.
  const last = a.charCodeAt(shared - 1);
  return last >= HIGH_SURROGATES_BEGIN && last < HIGH_SURROGATES_END ? shared - 1 : shared;
}

/**
 * The shortest beginning of `right`, in whole characters, that comes after `left`: between the two, and no longer than
 * it must be to tell them apart. Empty where there is nothing on the left.
 */
export function shortestSeparator(left: string | null, right: string): string {
  if (left === null) return "";
  const shared = sharedUnits(left, right);
  const next = right.codePointAt(shared) ?? 0;
  return right.slice(0, shared + (next > 0xff_ff ? 2 : 1));
}
