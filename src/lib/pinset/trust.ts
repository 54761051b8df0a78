import { FulaError } from "../kernel/errors.ts";
import { type KeyId, isKeyId, isUsablePublicKey, keyIdOf, rawKeyOf, type TrustedKey } from "./keys.ts";
import { readOwnPublicKey } from "./signing.ts";

/**
 * The keys whose signatures count on this box: its own, and those of `snapshot.trustedKeys`.
 * @throws FulaError FULA_SIGNING_KEY_INVALID, FULA_KEY_UNUSABLE
 */
export async function loadTrustedKeys(
  keysDir: string,
  fromSettings: readonly string[],
): Promise<readonly TrustedKey[]> {
  const own = await readOwnPublicKey(keysDir);
  const keys = new Map<KeyId, TrustedKey>();
  if (own !== null) keys.set(keyIdOf(own), { keyId: keyIdOf(own), source: "own" });
  for (const text of fromSettings) {
    const keyId = checkedKeyId(text);
    if (!keys.has(keyId)) keys.set(keyId, { keyId, source: "settings" });
  }
  return [...keys.values()];
}

/** A key id that stands for a real public key. @throws FulaError FULA_KEY_UNUSABLE */
export function checkedKeyId(text: string): KeyId {
  const raw = rawKeyOf(text);
  if (raw !== null && isKeyId(text) && isUsablePublicKey(raw)) return text;
  throw new FulaError(
    "FULA_KEY_UNUSABLE",
    `"${text}" is not an ed25519 public key that signatures can be trusted by.`,
    {
      hint: "a key is written ed25519:<64 hex digits>; the other box prints its own with fula-master key trusted.",
      details: { key: text },
    },
  );
}
