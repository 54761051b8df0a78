import { createHash } from "node:crypto";
import type { SnapshotManifest } from "./format.ts";
import { verifyEd25519 } from "./keys.ts";

// https://jedisct1.github.io/minisign/#signature-format: "Ed" marks a public key and a signature over the message
// itself, "ED" one over its BLAKE2b-512 digest.
const PUBLIC_KEY_ALGORITHM = Buffer.from("Ed");
const PREHASHED = Buffer.from("ED");

const UNTRUSTED = "untrusted comment: ";
const TRUSTED = "trusted comment: ";

/** Signs bytes with one ed25519 key. */
export type Sign = (message: Uint8Array) => Uint8Array;

function blake2b512(message: Uint8Array): Uint8Array {
  return new Uint8Array(createHash("blake2b512").update(message).digest());
}

/**
 * The eight bytes by which minisign finds a key. Minisign draws them at random; ours are the beginning of the key's
 * SHA-256, so that the file can be made again from the key alone.
 */
function minisignKeyId(publicKey: Uint8Array): Uint8Array {
  return new Uint8Array(createHash("sha256").update(publicKey).digest().subarray(0, 8));
}

/** The key id as minisign prints it: a little-endian number in upper-case hex. */
function printedKeyId(keyId: Uint8Array): string {
  return Buffer.from(keyId.toReversed()).toString("hex").toUpperCase();
}

/** What `minisign -V -P` takes. */
export function minisignKeyLine(publicKey: Uint8Array): string {
  return Buffer.concat([PUBLIC_KEY_ALGORITHM, minisignKeyId(publicKey), publicKey]).toString("base64");
}

/** The file that `minisign -V -p` takes. */
export function renderMinisignPublicKey(publicKey: Uint8Array): string {
  return `${UNTRUSTED}minisign public key ${printedKeyId(minisignKeyId(publicKey))}\n${minisignKeyLine(publicKey)}\n`;
}

/** Reads a minisign public key: the file, or its base64 line alone. @returns the raw key, or null for anything else */
export function parseMinisignPublicKey(text: string): Uint8Array | null {
  const lines = text
    .split(/\r?\n/)
    .map((line) => line.trim())
    .filter((line) => line !== "");
  if (lines.length === 2 && lines[0]?.startsWith(UNTRUSTED) === true) lines.shift();
  const line = lines[0] ?? "";
  if (lines.length !== 1 || !/^[A-Za-z0-9+/]{56}$/.test(line)) return null;
  const bytes = Buffer.from(line, "base64");
  if (!bytes.subarray(0, 2).equals(PUBLIC_KEY_ALGORITHM)) return null;
  return new Uint8Array(bytes.subarray(10));
}

/** The signed comment of a manifest's `.minisig`: what `minisign -V` prints. */
function trustedComment(manifest: SnapshotManifest): string {
  const previous = manifest.previousManifestSha256 ?? "none";
  return `time:${manifest.time} sequence:${manifest.sequence} pins:${manifest.pinCount} cluster:${manifest.clusterId} previous:${previous}`;
}

function untrustedComment(publicKey: Uint8Array): string {
  return `fula-master snapshot manifest, key ${printedKeyId(minisignKeyId(publicKey))}`;
}

/** The `.minisig` of a manifest, in the prehashed form. */
export function renderMinisig(
  manifestBytes: Uint8Array,
  manifest: SnapshotManifest,
  publicKey: Uint8Array,
  sign: Sign,
): string {
  const comment = trustedComment(manifest);
  const signature = sign(blake2b512(manifestBytes));
  const body = Buffer.concat([PREHASHED, minisignKeyId(publicKey), signature]);
  const global = sign(Buffer.concat([signature, Buffer.from(comment)]));
  return [
    `${UNTRUSTED}${untrustedComment(publicKey)}`,
    body.toString("base64"),
    `${TRUSTED}${comment}`,
    Buffer.from(global).toString("base64"),
    "",
  ].join("\n");
}

/**
 * Checks a `.minisig` and insists on the one text that we write, the comment that is not signed included.
 * @returns what is wrong with it, or null where nothing is
 */
export function checkMinisig(
  minisig: Uint8Array,
  manifestBytes: Uint8Array,
  manifest: SnapshotManifest,
  publicKey: Uint8Array,
): string | null {
  const lines = Buffer.from(minisig).toString("latin1").split("\n");
  const [untrusted, bodyLine, trusted, globalLine, end] = lines;
  if (bodyLine === undefined || globalLine === undefined || end !== "" || lines.length !== 5) {
    return "it does not have the four lines of a minisign signature";
  }
  const body = Buffer.from(bodyLine, "base64");
  const global = Buffer.from(globalLine, "base64");
  if (body.length !== 74 || body.toString("base64") !== bodyLine) return "its second line is not a minisign signature";
  if (global.length !== 64 || global.toString("base64") !== globalLine) return "its fourth line is not a signature";
  if (!body.subarray(0, 2).equals(PREHASHED)) return "it is not in the prehashed form (ED)";
  if (!body.subarray(2, 10).equals(minisignKeyId(publicKey))) return "it names another key than the manifest";
  const signature = body.subarray(10);
  if (!verifyEd25519(publicKey, blake2b512(manifestBytes), signature)) return "it does not match the manifest";
  if (trusted !== `${TRUSTED}${trustedComment(manifest)}`)
    return "its trusted comment says something else than the manifest";
  if (!verifyEd25519(publicKey, Buffer.concat([signature, Buffer.from(trustedComment(manifest))]), global)) {
    return "its trusted comment is not signed";
  }
  if (untrusted !== `${UNTRUSTED}${untrustedComment(publicKey)}`)
    return "its untrusted comment is not the one that we write";
  return null;
}
