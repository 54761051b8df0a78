import { createHash } from "node:crypto";
import { decodeProtectedHeader, errors, type JWTPayload, jwtVerify } from "jose";
import { z } from "zod";
import type { Clock } from "../kernel/clock.ts";
import { scopesOf, type Verdict, type Verifier } from "./bearer.ts";
import { ISSUER_SKEW_SECONDS } from "./issuer-clock.ts";
import type { Keyring } from "./keyring.ts";
import { parseSubject, type Subject } from "./subject.ts";

/** What the verifier of the fleet's JSON Web Tokens needs. */
export interface JwtFacts {
  readonly keyring: Pick<Keyring, "verifying">;
  readonly clock: Pick<Clock, "nowMs">;
  /** Whether a token that names no end is taken: the fleet's API keys name none. */
  readonly withoutExpiry: boolean;
  /** Whether one of these tokens was taken back, which their signatures do not tell. They are named by their SHA-256. */
  readonly isRevoked: (hashes: readonly string[]) => Promise<boolean>;
}

const headerSchema = z.object({ kid: z.string().optional() });
const hashSchema = z
  .string()
  .regex(/^[0-9a-f]{64}$/)
  .optional();
const claimsSchema = z.object({
  sub: z.string().min(1),
  scope: z.string().default(""),
  iat: z.number().optional(),
  exp: z.number().optional(),
  made_from: hashSchema,
  made_from_key: hashSchema,
  // One that names an audience is meant for somebody else.
  aud: z.undefined().optional(),
});

// Base64 has spare bits in the last character: the same signature has several spellings, and the fleet's list of deleted
// keys knows one of them.
function isCanonical(part: string): boolean {
  return Buffer.from(part, "base64url").toString("base64url") === part;
}

/** Tells a token in lists of what was revoked: by what was signed, whatever its signature is written like. */
export function digestOfJwt(token: string): string {
  return createHash("sha256")
    .update(token.slice(0, token.lastIndexOf(".")), "utf8")
    .digest("hex");
}

function refused(because: string): Extract<Verdict, { state: "refused" }> {
  return { state: "refused", because };
}

const NOT_OURS = refused("the token is not signed by this federation, or is damaged");

function subjectOf(subject: string): Subject | null {
  try {
    return parseSubject(subject);
  } catch {
    return null;
  }
}

/** The key that the header names: null where it names none, undefined where the header cannot be read. */
function kidOf(token: string): string | null | undefined {
  try {
    return headerSchema.parse(decodeProtectedHeader(token)).kid ?? null;
  } catch {
    return undefined;
  }
}

type Signed = { readonly state: "signed"; readonly payload: JWTPayload } | Extract<Verdict, { state: "refused" }>;

/** What a token says, once that one of the keys has signed it and its times are good. */
async function readSigned(token: string, { keyring, clock }: JwtFacts): Promise<Signed> {
  const kid = kidOf(token);
  if (kid === undefined) return NOT_OURS;
  for (const { secret } of await keyring.verifying(kid)) {
    try {
      const key = Buffer.from(secret.reveal(), "utf8");
      const currentDate = new Date(clock.nowMs());
      const { payload } = await jwtVerify(token, key, { algorithms: ["HS256"], currentDate });
      return { state: "signed", payload };
    } catch (error) {
      if (error instanceof errors.JWTExpired) return refused("the token has expired");
      if (!(error instanceof errors.JOSEError)) throw error;
      // Without a name it may be the next key's.
      if (!(error instanceof errors.JWSSignatureVerificationFailed)) return NOT_OURS;
    }
  }
  return NOT_OURS;
}

async function verifyJwt(token: string, facts: JwtFacts): Promise<Verdict> {
  const signed = await readSigned(token, facts);
  if (signed.state === "refused") return signed;
  const claims = claimsSchema.safeParse(signed.payload);
  const subject = claims.success ? subjectOf(claims.data.sub) : null;
  if (!claims.success || subject === null) return refused("the token names no user of this federation");
  const { scope, iat = null, exp = null, made_from: madeFrom, made_from_key: madeFromKey } = claims.data;
  if (exp === null && !facts.withoutExpiry) return refused("the token names no end (identity.jwtWithoutExpiry)");
  if (iat !== null && iat > facts.clock.nowMs() / 1_000 + ISSUER_SKEW_SECONDS) {
    // It would outlive what revokes it.
    return refused("the token says that it was issued in the future");
  }
  const keyHash = createHash("sha256").update(token, "utf8").digest("hex");
  const hashes = madeFromKey === undefined ? [keyHash] : [keyHash, madeFromKey];
  if (await facts.isRevoked(hashes)) return refused("the key was revoked");
  const credential = {
    digest: digestOfJwt(token),
    issuedMs: iat === null ? null : iat * 1_000,
    expiresMs: exp === null ? null : exp * 1_000,
    keyHash,
    ...(madeFrom !== undefined && { madeFrom }),
  };
  return { state: "accepted", identity: { subject, scopes: scopesOf(scope), by: "jwt", credential } };
}

/**
 * Verifies session tokens, and the fleet's tokens and API keys: HS256 under the key that the header names, or under any
 * that is in force where it names none; `sub` an e-mail address, a user id or a wallet, `scope` as words; one with `aud`
 * is for somebody else. No leeway for clocks, but for that of whoever issued it.
 */
export function jwtVerifier(facts: JwtFacts): Verifier {
  return {
    verify: async ({ bearer }) => {
      const parts = bearer?.split(".") ?? [];
      if (bearer === null || parts.length !== 3) return { state: "absent" };
      if (!parts.every(isCanonical)) return NOT_OURS;
      return await verifyJwt(bearer, facts);
    },
  };
}
