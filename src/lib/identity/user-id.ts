import { createHash } from "node:crypto";
import { blake3 } from "@noble/hashes/blake3.js";
import { bytesToHex, utf8ToBytes } from "@noble/hashes/utils.js";
import { FulaError } from "../kernel/errors.ts";

const USER_ID = /^[0-9a-f]{64}$/;
// Not a check of e-mail addresses, which only their mail server can make: it tells an address from a mistyped id.
const EMAIL_SHAPE = /^[^\s@]+@[^\s@]+$/;

/**
 * The fleet's id of a user: lower-case hex SHA-256 of the lower-case e-mail address. An id is given back as it is,
 * because hashing one twice is how the fleet came to have users that nobody could find.
 * @throws FulaError FULA_USER_INVALID
 */
export function resolveUserId(emailOrId: string): string {
  const text = emailOrId.trim();
  if (USER_ID.test(text.toLowerCase())) return text.toLowerCase();
  if (EMAIL_SHAPE.test(text)) return createHash("sha256").update(text.toLowerCase(), "utf8").digest("hex");
  throw new FulaError("FULA_USER_INVALID", `"${emailOrId}" is neither an e-mail address nor a user id.`, {
    hint: "give the e-mail address, or the id: 64 hex digits, the SHA-256 of the lower-case address.",
  });
}

/**
 * The owner id under which the gateway keeps a user's buckets: hex of the first 16 bytes of
 * BLAKE3("fula:user_id:" + user id). The fleet's gateway uses the same one in `bucket_roots` and in XML.
 */
export function ownerIdOf(userId: string): string {
  return bytesToHex(blake3(utf8ToBytes(`fula:user_id:${userId}`)).subarray(0, 16));
}
