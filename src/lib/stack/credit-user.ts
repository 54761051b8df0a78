import { findEmailsLike, findUserIdsLike, isUserKnown } from "../billing/account-search.ts";
import { resolveUserId } from "../identity/user-id.ts";
import { FulaError } from "../kernel/errors.ts";
import { nearest } from "../kernel/nearest.ts";
import type { Pool } from "../postgres/pool.ts";

// Shorter than an id, and long enough to be meant as one.
const CUT_ID = /^[0-9a-f]{6,63}$/i;

async function nearestUser(pool: Pool, text: string): Promise<string | null> {
  const lower = text.toLowerCase();
  return nearest(lower, lower.includes("@") ? await findEmailsLike(pool, lower) : await findUserIdsLike(pool, lower));
}

/**
 * The id of a user whom this ledger knows, by e-mail address or id. A user who is not there is never made by a command: a
 * mistyped address has an id as good as any other.
 * @throws FulaError FULA_ACCOUNT_UNKNOWN, naming who was probably meant; FULA_USER_INVALID
 */
export async function requireKnownUser(pool: Pool, emailOrId: string): Promise<string> {
  const text = emailOrId.trim();
  const userId = CUT_ID.test(text) ? null : resolveUserId(text);
  if (userId !== null && (await isUserKnown(pool, userId))) return userId;
  const meant = await nearestUser(pool, text);
  const named = userId === null || userId === text.toLowerCase() ? text : `${text} (${userId})`;
  throw new FulaError("FULA_ACCOUNT_UNKNOWN", `This ledger knows no user ${named}. Nothing was changed.`, {
    hint:
      meant === null
        ? "look at the spelling; a user is known once he has signed up, stored or paid."
        : `did you mean ${meant}?`,
    details: { user: text, meant },
  });
}
