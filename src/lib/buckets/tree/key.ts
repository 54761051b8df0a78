import { FulaError } from "../../kernel/errors.ts";

/** Longest key of an index, in bytes of UTF-8 (that of S3). */
export const KEY_BYTES_MAX = 1024;

/** Where surrogates begin: below, a code unit's order is that of its UTF-8. */
const SURROGATES_BEGIN = 0xd8_00;
const SURROGATES_END = 0xe0_00;

/** Surrogates stand for characters beyond the BMP, so in UTF-8 they come after all that is in it. */
function rank(codeUnit: number): number {
  if (codeUnit < SURROGATES_BEGIN) return codeUnit;
  return codeUnit < SURROGATES_END ? codeUnit + 0x20_00 : codeUnit - 0x08_00;
}

/** Orders keys by the bytes of their UTF-8, which is not how JavaScript orders texts. */
export function compareKeys(a: string, b: string): number {
  const length = Math.min(a.length, b.length);
  for (let index = 0; index < length; index += 1) {
    const ours = a.charCodeAt(index);
    const theirs = b.charCodeAt(index);
    if (ours !== theirs) return rank(ours) - rank(theirs);
  }
  return a.length - b.length;
}

/** Why a text cannot be a key of an index, or null. */
export function keyFault(key: string): string | null {
  if (key === "") return "it is empty";
  if (!key.isWellFormed()) return "it holds half a surrogate pair";
  // Three bytes a code unit is the most that UTF-8 takes.
  if (key.length * 3 <= KEY_BYTES_MAX) return null;
  const bytes = Buffer.byteLength(key);
  return bytes > KEY_BYTES_MAX ? `it has ${bytes} bytes of UTF-8, more than ${KEY_BYTES_MAX}` : null;
}

/** @throws FulaError FULA_INDEX_KEY where a text cannot be a key of an index */
export function checkKey(key: string): void {
  const fault = keyFault(key);
  if (fault === null) return;
  throw new FulaError("FULA_INDEX_KEY", `${JSON.stringify(key.slice(0, 80))} cannot be a key of a bucket: ${fault}.`, {
    hint: `give the object a name of 1 to ${KEY_BYTES_MAX} bytes of UTF-8.`,
  });
}
