import { createCipheriv, createDecipheriv, hkdfSync } from "node:crypto";
import { FulaError } from "../kernel/errors.ts";
import type { Random } from "../kernel/random.ts";
import { Secret } from "../kernel/secret.ts";

/** Seals what the database keeps and nobody may read in a dump, and opens it again. */
export interface SecretSealer {
  /** @param context names the row, so that a sealed secret copied into another row does not open */
  seal(secret: Secret, context: string, random: Random): Uint8Array;
  /** @throws FulaError FULA_ENCRYPTION_KEY_WRONG when it was sealed under another key, for another row, or damaged */
  open(sealed: Uint8Array, context: string): Secret;
}

// Layout: version (1), nonce (12), ciphertext, tag (16).
const VERSION = 1;
const NONCE_BYTES = 12;
const TAG_BYTES = 16;

/** What is sealed; each use has a key of its own, derived from ENCRYPTION_KEY (RFC 5869). */
export type SealedUse = "access key secrets" | "wallet addresses" | "signing keys";

function wrongKey(context: string): FulaError {
  return new FulaError("FULA_ENCRYPTION_KEY_WRONG", `The secret of ${context} does not open with ENCRYPTION_KEY.`, {
    hint: "put the ENCRYPTION_KEY back that was in .env when the key was made; without it, revoke an access key and make a new one; for a signing key, fula-master key rotate --overlap 0s.",
  });
}

function keyFor(encryptionKey: Secret | null, use: SealedUse): Uint8Array {
  const hex = encryptionKey?.reveal() ?? "";
  if (!/^[0-9a-f]{64}$/i.test(hex)) {
    const what = encryptionKey === null ? "is not set" : `is not 64 hex digits (it has ${hex.length} characters)`;
    throw new FulaError("FULA_ENCRYPTION_KEY_INVALID", `ENCRYPTION_KEY ${what}; ${use} are sealed under it.`, {
      hint: "fula-master join writes one to .env; on a further master use the same as on the first.",
    });
  }
  return new Uint8Array(hkdfSync("sha256", Buffer.from(hex, "hex"), Buffer.alloc(0), `fula-master ${use} v1`, 32));
}

/** What was sealed under this key for this row; null where it was not, or is damaged. */
function opened(sealed: Uint8Array, context: string, key: Uint8Array): Secret | null {
  const nonce = sealed.subarray(1, 1 + NONCE_BYTES);
  const decipher = createDecipheriv("aes-256-gcm", key, nonce, { authTagLength: TAG_BYTES });
  decipher.setAAD(Buffer.from(context, "utf8"));
  decipher.setAuthTag(sealed.subarray(-TAG_BYTES));
  try {
    const body = sealed.subarray(1 + NONCE_BYTES, -TAG_BYTES);
    return new Secret(Buffer.concat([decipher.update(body), decipher.final()]).toString("utf8"));
  } catch {
    return null;
  }
}

/**
 * Makes a sealer from ENCRYPTION_KEY for one use.
 * @param others keys of other epochs, under which nothing is sealed and everything opens
 * @throws FulaError FULA_ENCRYPTION_KEY_INVALID when one is missing or is not 32 bytes in hex
 */
export function createSecretSealer(
  encryptionKey: Secret | null,
  use: SealedUse = "access key secrets",
  others: readonly Secret[] = [],
): SecretSealer {
  const key = keyFor(encryptionKey, use);
  const keys = [key, ...others.map((other) => keyFor(other, use))];
  return {
    seal: (secret, context, random) => {
      const nonce = random.bytes(NONCE_BYTES);
      const cipher = createCipheriv("aes-256-gcm", key, nonce, { authTagLength: TAG_BYTES });
      cipher.setAAD(Buffer.from(context, "utf8"));
      const body = Buffer.concat([cipher.update(secret.reveal(), "utf8"), cipher.final()]);
      return Buffer.concat([Buffer.of(VERSION), nonce, body, cipher.getAuthTag()]);
    },
    open: (sealed, context) => {
      const isWhole = sealed[0] === VERSION && sealed.byteLength >= 1 + NONCE_BYTES + TAG_BYTES;
      for (const each of isWhole ? keys : []) {
        const secret = opened(sealed, context, each);
        if (secret !== null) return secret;
      }
      throw wrongKey(context);
    },
  };
}
