import { ownerIdOf, resolveUserId } from "../identity/user-id.ts";
import { FulaError, isFulaError } from "../kernel/errors.ts";
import type { BucketName } from "../buckets/roots/root-pointer.ts";

const OWNER_ID = /^[0-9a-f]{32}$/i;

/**
 * The owner id that an operator means: itself, or that of a user by his e-mail address or user id.
 * @throws FulaError FULA_USAGE
 */
export function parseOwner(text: string): string {
  if (OWNER_ID.test(text)) return text.toLowerCase();
  try {
    return ownerIdOf(resolveUserId(text));
  } catch (error) {
    if (!isFulaError(error)) throw error;
    throw new FulaError("FULA_USAGE", `${JSON.stringify(text)} is no owner of buckets.`, {
      hint: "give an owner id (32 hex digits), a user id (64 hex digits) or an e-mail address.",
      cause: error,
    });
  }
}

/** Reads `<owner>/<bucket>`. @throws FulaError FULA_USAGE */
export function parseBucketName(text: string): BucketName {
  // E-mail addresses may hold a slash in theory; names of buckets never do.
  const slash = text.lastIndexOf("/");
  const bucket = text.slice(slash + 1);
  if (slash > 0 && bucket !== "") return { ownerId: parseOwner(text.slice(0, slash)), bucket };
  throw new FulaError("FULA_USAGE", `${JSON.stringify(text)} names no bucket.`, {
    hint: "give <owner>/<bucket>, such as alice@example.com/photos; fula-master buckets list shows them.",
  });
}
