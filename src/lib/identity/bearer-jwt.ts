import { errors, jwtVerify } from "jose";
import { z } from "zod";
import type { Clock } from "../kernel/clock.ts";
import type { Secret } from "../kernel/secret.ts";
import { scopesOf, type Verdict, type Verifier } from "./bearer.ts";
import { resolveUserId } from "./user-id.ts";

/** What the verifier of the fleet's JSON Web Tokens needs. */
export interface JwtFacts {
  /** JWT_SECRET. */
  readonly secret: Secret;
  readonly clock: Clock;
  /** Whether a token was taken back, which its signature does not tell. */
  readonly isRevoked: (token: string) => Promise<boolean>;
}

const claimsSchema = z.object({
  sub: z.string().min(1),
  scope: z.string().default(""),
  // One that names an audience is meant for somebody else.
  aud: z.undefined().optional(),
});

// Base64 has spare bits in the last character: the same signature has several spellings, and a list of revoked tokens
// knows one of them.
function isCanonical(part: string): boolean {
  return Buffer.from(part, "base64url").toString("base64url") === part;
}

function refused(because: string): Verdict {
  return { state: "refused", because };
}

function subjectOf(subject: string): string | null {
  try {
    return resolveUserId(subject);
  } catch {
    return null;
  }
}

async function verifyJwt(token: string, { secret, clock, isRevoked }: JwtFacts): Promise<Verdict> {
  let payload: unknown;
  try {
    const key = Buffer.from(secret.reveal(), "utf8");
    ({ payload } = await jwtVerify(token, key, { algorithms: ["HS256"], currentDate: new Date(clock.nowMs()) }));
  } catch (error) {
    if (error instanceof errors.JWTExpired) return refused("the token has expired");
    if (error instanceof errors.JOSEError) return refused("the token is not signed by this federation, or is damaged");
    throw error;
  }
  const claims = claimsSchema.safeParse(payload);
  const userId = claims.success ? subjectOf(claims.data.sub) : null;
  if (!claims.success || userId === null) return refused("the token names no user of this federation");
  if (await isRevoked(token)) return refused("the key was revoked");
  return { state: "accepted", caller: { userId, scopes: scopesOf(claims.data.scope), by: "jwt" } };
}

/**
 * Verifies the fleet's tokens and API keys: HS256 under JWT_SECRET, `sub` an e-mail address or a user id, `exp` optional,
 * `scope` as words; one with `aud` is for somebody else. No leeway for clocks.
 */
export function jwtVerifier(facts: JwtFacts): Verifier {
  return {
    verify: async ({ bearer }) => {
      const parts = bearer?.split(".") ?? [];
      if (bearer === null || parts.length !== 3) return { state: "absent" };
      if (!parts.every(isCanonical)) return refused("the token is not signed by this federation, or is damaged");
      return await verifyJwt(bearer, facts);
    },
  };
}
