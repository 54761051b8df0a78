import { SignJWT } from "jose";
import type { CallerScope } from "./bearer.ts";
import type { TokenKey } from "./keyring.ts";
import { type Subject, subjectText } from "./subject.ts";

/** What a session token says. */
export interface SessionClaims {
  readonly subject: Subject;
  readonly scopes: ReadonlySet<CallerScope>;
  /** Milliseconds since 1970. */
  readonly issuedMs: number;
  /** Milliseconds since 1970. */
  readonly expiresMs: number;
  /** The digest of the credential that asks for it; null where an operator does. */
  readonly madeFrom: string | null;
  /** Its SHA-256, where it may be an API key of the fleet's web UI. */
  readonly madeFromKey: string | null;
  /** Tells one token from another that says the same. */
  readonly id: string;
}

/** The longest life of a session token that was made with another credential. */
export const SESSION_LIFETIME_MAX_MS = 86_400_000;

const WORDS = { read: "storage:read", write: "storage:write", admin: "admin" } as const satisfies Record<
  CallerScope,
  string
>;

/** The fleet's words for rights, with spaces between them. */
export function scopeText(scopes: ReadonlySet<CallerScope>): string {
  return Array.from(scopes, (scope) => WORDS[scope]).join(" ");
}

/** Signs a session token: a JSON Web Token as the fleet's services read it, HS256 and without `aud`. */
export async function signSessionToken(
  { kid, secret }: TokenKey,
  { subject, scopes, issuedMs, expiresMs, madeFrom, madeFromKey, id }: SessionClaims,
): Promise<string> {
  const claims = {
    scope: scopeText(scopes),
    ...(madeFrom !== null && { made_from: madeFrom }),
    ...(madeFromKey !== null && { made_from_key: madeFromKey }),
  };
  return await new SignJWT(claims)
    .setProtectedHeader({ alg: "HS256", typ: "JWT", kid })
    .setSubject(subjectText(subject))
    .setIssuedAt(Math.floor(issuedMs / 1_000))
    .setExpirationTime(Math.floor(expiresMs / 1_000))
    .setJti(id)
    .sign(Buffer.from(secret.reveal(), "utf8"));
}
