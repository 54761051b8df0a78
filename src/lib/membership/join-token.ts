import { createHash, timingSafeEqual } from "node:crypto";
import { FulaError } from "../kernel/errors.ts";
import { Secret } from "../kernel/secret.ts";
import type { NodeRole } from "./federation.ts";

/**
 * A join token, read from its text. That of a master names a sealed bundle in the ledger and carries the key that opens
 * it; a storage node has no way to the ledger, so that its token carries everything itself.
 */
export interface JoinToken {
  readonly role: NodeRole;
  /** UUID; no secret. */
  readonly id: string;
  /** Milliseconds since the epoch, whole seconds. */
  readonly expiresAtMs: number;
  /** Master: 32 random bytes in hex. Storage: the signed grant as JSON. */
  readonly body: Secret;
}

const PREFIX = "fula-join1.";
const ROLE_BYTES: Readonly<Record<NodeRole, number>> = { master: 1, storage: 2 };
// Layout: role (1), id (16), expiry in seconds (6, big-endian), body, checksum (4).
const ID_BYTES = 16;
const EXPIRY_BYTES = 6;
const HEAD_BYTES = 1 + ID_BYTES + EXPIRY_BYTES;
const CHECKSUM_BYTES = 4;
/** Bytes of the key in a master's token. */
export const TOKEN_KEY_BYTES = 32;
/** A storage token names every master with its addresses; far more than any real one takes. */
const TEXT_LENGTH_MAX = 262_144;

/** Tells a mistyped or cut token from one that is merely refused. It proves nothing about who made it. */
function checksumOf(payload: Uint8Array): Uint8Array {
  return createHash("sha256")
    .update("fula-master join token v1\n")
    .update(payload)
    .digest()
    .subarray(0, CHECKSUM_BYTES);
}

function bodyBytes({ role, body }: JoinToken): Buffer {
  return Buffer.from(body.reveal(), role === "master" ? "hex" : "utf8");
}

/** The text of a token. It is a secret: whoever has it can join. */
export function renderJoinToken(token: JoinToken): Secret {
  const expiry = Buffer.alloc(EXPIRY_BYTES);
  expiry.writeUIntBE(Math.floor(token.expiresAtMs / 1_000), 0, EXPIRY_BYTES);
  const payload = Buffer.concat([
    Buffer.of(ROLE_BYTES[token.role]),
    Buffer.from(token.id.replaceAll("-", ""), "hex"),
    expiry,
    bodyBytes(token),
  ]);
  return new Secret(`${PREFIX}${Buffer.concat([payload, checksumOf(payload)]).toString("base64url")}`);
}

function invalid(why: string): FulaError {
  // The text itself is never repeated.
  return new FulaError("FULA_TOKEN_INVALID", `This is no usable join token: ${why}.`, {
    hint: "copy the whole token as fula-master token create printed it, or make a new one on a master.",
  });
}

function uuidOf(bytes: Uint8Array): string {
  return Buffer.from(bytes)
    .toString("hex")
    .replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, "$1-$2-$3-$4-$5");
}

/**
 * Reads the text of a token. White space around and within it, as a mail programme adds it, does not matter.
 * @throws FulaError FULA_TOKEN_INVALID for anything else than what `renderJoinToken` gave
 */
export function parseJoinToken(text: Secret): JoinToken {
  const joined = text.reveal().replaceAll(/\s+/g, "");
  if (joined === "") throw invalid("it is empty");
  if (!joined.startsWith(PREFIX)) {
    throw invalid(
      joined.startsWith("fula-join")
        ? "it is of a version that this fula-master does not know"
        : `it does not begin with ${PREFIX}`,
    );
  }
  const encoded = joined.slice(PREFIX.length);
  if (encoded.length > TEXT_LENGTH_MAX || !/^[A-Za-z0-9_-]+$/.test(encoded))
    throw invalid("it has characters that no token has");
  const bytes = Buffer.from(encoded, "base64url");
  if (bytes.length <= HEAD_BYTES + CHECKSUM_BYTES) throw invalid("a part of it is missing");
  const payload = bytes.subarray(0, -CHECKSUM_BYTES);
  if (!timingSafeEqual(checksumOf(payload), bytes.subarray(-CHECKSUM_BYTES))) {
    throw invalid("its checksum does not match: it is mistyped, or a part of it is missing");
  }
  const role = payload[0] === ROLE_BYTES.master ? "master" : payload[0] === ROLE_BYTES.storage ? "storage" : null;
  if (role === null) throw invalid("it is for a kind of box that this fula-master does not know");
  const body = payload.subarray(HEAD_BYTES);
  if (role === "master" && body.length !== TOKEN_KEY_BYTES) throw invalid("its key has the wrong length");
  return {
    role,
    id: uuidOf(payload.subarray(1, 1 + ID_BYTES)),
    expiresAtMs: payload.readUIntBE(1 + ID_BYTES, EXPIRY_BYTES) * 1_000,
    body: new Secret(body.toString(role === "master" ? "hex" : "utf8")),
  };
}
