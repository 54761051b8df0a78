import { createPrivateKey, generateKeyPairSync, type KeyObject } from "node:crypto";
import { dirname } from "node:path";
import { FulaError } from "../../kernel/errors.ts";
import { closeToOthers, createSecretOnce, ensureDir, readTextIfExists } from "../../kernel/files.ts";
import { Secret } from "../../kernel/secret.ts";

/** The key that this box's sealed secrets open with. The private half never leaves the box. */
export interface BoxKey {
  /** `x25519:<64 hex digits>`: the box's public identity, and what others seal to. */
  readonly endpoint: string;
  /** 32 raw bytes (RFC 7748), as hex. */
  readonly privateKey: Secret;
  /** True where this call made it. */
  readonly created: boolean;
}

/**
 * Loads this box's key, without changing anything; null where there is none.
 * @param path PKCS#8 PEM, `keys/box-x25519.pem`
 * @throws FulaError FULA_BOX_KEY_INVALID
 */
export async function readBoxKey(path: string): Promise<BoxKey | null> {
  const pem = await readTextIfExists(path);
  return pem === null ? null : toBoxKey(loadPrivateKey(pem, path), path, false);
}

/**
 * Loads this box's key and makes one where there is none; one that others may read is closed to them.
 * @throws FulaError FULA_BOX_KEY_INVALID, FULA_PATH_NOT_WRITABLE, FULA_DISK_FULL
 */
export async function ensureBoxKey(path: string): Promise<BoxKey> {
  await ensureDir(dirname(path));
  const existing = await readBoxKey(path);
  if (existing !== null) {
    await closeToOthers(path);
    return existing;
  }
  const { privateKey } = generateKeyPairSync("x25519");
  const pem = privateKey.export({ format: "pem", type: "pkcs8" }).toString();
  if (await createSecretOnce(path, pem)) return toBoxKey(privateKey, path, true);
  const winner = await readBoxKey(path);
  if (winner === null) throw invalidKey(path, "it vanished while it was read");
  return winner;
}

function loadPrivateKey(pem: string, path: string): KeyObject {
  try {
    return createPrivateKey(pem);
  } catch {
    // What OpenSSL says may quote the file.
    throw invalidKey(path, "it is not a private key in PKCS#8 PEM");
  }
}

function hex(base64url: string): string {
  return Buffer.from(base64url, "base64url").toString("hex");
}

function toBoxKey(key: KeyObject, path: string, created: boolean): BoxKey {
  if (key.asymmetricKeyType !== "x25519") throw invalidKey(path, `it is a ${key.asymmetricKeyType ?? "strange"} key`);
  const { x = "", d = "" } = key.export({ format: "jwk" });
  return { endpoint: `x25519:${hex(x)}`, privateKey: new Secret(hex(d)), created };
}

function invalidKey(path: string, what: string): FulaError {
  return new FulaError("FULA_BOX_KEY_INVALID", `The key ${path} of this box cannot be used: ${what}.`, {
    hint: "put the key back from your backup; it is never replaced silently.",
    details: { path },
  });
}
