import { createPrivateKey, createPublicKey, generateKeyPairSync, type KeyObject, sign } from "node:crypto";
import { join } from "node:path";
import { FulaError, isFulaError } from "../kernel/errors.ts";
import { closeToOthers, createSecretOnce, ensureDir, readTextIfExists, writeFileAtomic } from "../kernel/files.ts";
import { type KeyId, keyIdOf, publicKeyObject } from "./keys.ts";
import { unreadable } from "./manifest-check.ts";
import { renderMinisignPublicKey } from "./minisign.ts";

/** This box's snapshot key. The private half never leaves it. */
export interface SigningKey {
  readonly keyId: KeyId;
  /** 32 raw bytes. */
  readonly publicKey: Uint8Array;
  /** True where this call made it. */
  readonly created: boolean;
  /** Raw ed25519, 64 bytes. */
  sign(message: Uint8Array): Uint8Array;
}

/** Where the three forms of the key lie. */
export interface SigningKeyFiles {
  /** PKCS#8 PEM, 0600. */
  readonly private: string;
  /** SubjectPublicKeyInfo PEM: what `openssl pkeyutl -pubin -inkey` takes. */
  readonly public: string;
  /** What `minisign -V -p` takes. */
  readonly minisign: string;
}

/** Public keys may be read by whoever gets into the directory. */
const PUBLIC_FILE_MODE = 0o644;

/** Names of the key files in `keys/`. */
export function signingKeyFiles(keysDir: string): SigningKeyFiles {
  return {
    private: join(keysDir, "snapshot-ed25519.pem"),
    public: join(keysDir, "snapshot-ed25519.pub.pem"),
    minisign: join(keysDir, "snapshot-minisign.pub"),
  };
}

/**
 * Loads this box's snapshot key, without changing anything; null where there is none.
 * @throws FulaError FULA_SIGNING_KEY_INVALID
 */
export async function readSigningKey(keysDir: string): Promise<SigningKey | null> {
  const path = signingKeyFiles(keysDir).private;
  const pem = await readTextIfExists(path);
  return pem === null ? null : toSigningKey(loadPrivateKey(pem, path), false);
}

/**
 * The public half of this box's snapshot key, from the private key or, where that is not readable here, from the public
 * file; null where there is neither.
 * @throws FulaError FULA_SIGNING_KEY_INVALID, FULA_SNAPSHOT_UNREADABLE
 */
export async function readOwnPublicKey(keysDir: string): Promise<Uint8Array | null> {
  const files = signingKeyFiles(keysDir);
  try {
    const key = await readSigningKey(keysDir);
    if (key !== null) return key.publicKey;
  } catch (error) {
    if (isFulaError(error)) throw error;
  }
  try {
    const pem = await readTextIfExists(files.public);
    return pem === null ? null : publicKeyFromPem(pem, files.public);
  } catch (error) {
    throw isFulaError(error) ? error : unreadable(files.public, error);
  }
}

/**
 * Loads this box's snapshot key and makes one where there never was one. The public files are made again where they are
 * missing or say something else, and a private key that others may read is closed to them.
 * @throws FulaError FULA_SIGNING_KEY_INVALID, FULA_SIGNING_KEY_LOST, FULA_PATH_NOT_WRITABLE, FULA_DISK_FULL
 */
export async function ensureSigningKey(keysDir: string): Promise<SigningKey> {
  const files = signingKeyFiles(keysDir);
  await ensureDir(keysDir);
  const existing = await readSigningKey(keysDir);
  const key = existing ?? (await createSigningKey(keysDir));
  if (existing !== null) await closeToOthers(files.private);
  await replaceIfDifferent(
    files.public,
    publicKeyObject(key.publicKey).export({ format: "pem", type: "spki" }).toString(),
  );
  await replaceIfDifferent(files.minisign, renderMinisignPublicKey(key.publicKey));
  return key;
}

/** The raw public key in a SubjectPublicKeyInfo PEM. @throws FulaError FULA_SIGNING_KEY_INVALID */
export function publicKeyFromPem(pem: string, path: string): Uint8Array {
  try {
    return rawPublicKey(createPublicKey(pem));
  } catch (cause) {
    throw invalidKey(path, "it is not an ed25519 public key in PEM", cause);
  }
}

async function createSigningKey(keysDir: string): Promise<SigningKey> {
  const files = signingKeyFiles(keysDir);
  if ((await readTextIfExists(files.public)) !== null) {
    throw new FulaError(
      "FULA_SIGNING_KEY_LOST",
      `The private snapshot key ${files.private} is gone, but its public half is still there. No new key was made.`,
      {
        hint:
          "put the private key back from your backup. To begin with a new key and still trust the old snapshots: " +
          `fula-master key trust ${files.public}, move that file away, then run the command again.`,
        details: { path: files.private },
      },
    );
  }
  const { privateKey } = generateKeyPairSync("ed25519");
  const pem = privateKey.export({ format: "pem", type: "pkcs8" }).toString();
  const isOurs = await createSecretOnce(files.private, pem);
  if (isOurs) return toSigningKey(privateKey, true);
  const winner = await readSigningKey(keysDir);
  if (winner === null) throw invalidKey(files.private, "it vanished while it was read");
  return winner;
}

async function replaceIfDifferent(path: string, content: string): Promise<void> {
  if ((await readTextIfExists(path)) !== content) await writeFileAtomic(path, content, { mode: PUBLIC_FILE_MODE });
}

function loadPrivateKey(pem: string, path: string): KeyObject {
  let key: KeyObject;
  try {
    key = createPrivateKey(pem);
  } catch (cause) {
    throw invalidKey(path, "it is not a private key in PKCS#8 PEM", cause);
  }
  if (key.asymmetricKeyType !== "ed25519") throw invalidKey(path, `it is a ${key.asymmetricKeyType ?? "strange"} key`);
  return key;
}

function rawPublicKey(key: KeyObject): Uint8Array {
  const { x } = key.export({ format: "jwk" });
  if (key.asymmetricKeyType !== "ed25519" || x === undefined) throw new Error("not an ed25519 key");
  return new Uint8Array(Buffer.from(x, "base64url"));
}

function toSigningKey(privateKey: KeyObject, created: boolean): SigningKey {
  const publicKey = rawPublicKey(createPublicKey(privateKey));
  return {
    keyId: keyIdOf(publicKey),
    publicKey,
    created,
    sign: (message) => new Uint8Array(sign(null, message, privateKey)),
  };
}

function invalidKey(path: string, what: string, cause?: unknown): FulaError {
  return new FulaError("FULA_SIGNING_KEY_INVALID", `The snapshot key ${path} cannot be used: ${what}.`, {
    cause,
    hint: "put the key back from your backup; it is never replaced silently.",
    details: { path },
  });
}
