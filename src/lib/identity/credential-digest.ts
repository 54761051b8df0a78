import { createHash } from "node:crypto";
import { FulaError } from "../kernel/errors.ts";
import { digestOfKey, isKeyId } from "./access-key.ts";
import { digestOfJwt } from "./bearer-jwt.ts";
import { digestOf } from "./eip712/claims.ts";
import { parseEip712Token } from "./eip712/token.ts";

/** What a credential is denied by. */
export interface DeniableCredential {
  /** Hex; the one that its verifier gives. */
  readonly digest: string;
  /** Milliseconds since 1970: from then on it is refused by itself; null where it does not say. */
  readonly expiresMs: number | null;
}

/** When a JSON Web Token ends by its own words; they are what its digest is of. */
function expiryOf(payload: string): number | null {
  try {
    const claims: unknown = JSON.parse(Buffer.from(payload, "base64url").toString("utf8"));
    const has = typeof claims === "object" && claims !== null && "exp" in claims;
    return has && typeof claims.exp === "number" && Number.isFinite(claims.exp) ? claims.exp * 1_000 : null;
  } catch {
    return null;
  }
}

/**
 * Works out what a bearer token is denied by. Whether it is good is not looked at: one that is not is refused anyhow.
 * @throws FulaError FULA_DENIAL_TARGET for a wallet token that is damaged: what was signed cannot be told from it
 */
export function deniableOf(token: string): DeniableCredential {
  const wallet = parseEip712Token(token);
  if (wallet.state === "malformed") {
    throw new FulaError("FULA_DENIAL_TARGET", `This is no wallet token that anybody would take: ${wallet.because}.`, {
      hint: "give the token as it was sent; or deny everything of the wallet: --wallet <address>.",
    });
  }
  if (wallet.state === "parsed") {
    const { claims } = wallet.token;
    return { digest: Buffer.from(digestOf(claims)).toString("hex"), expiresMs: claims.expires * 1_000 };
  }
  const [first = "", payload = "", ...rest] = token.split(".");
  if (isKeyId(first)) return { digest: digestOfKey(first), expiresMs: null };
  // A JSON Web Token is known by what was signed; a session of the fleet's by all of it.
  if (rest.length === 1) return { digest: digestOfJwt(token), expiresMs: expiryOf(payload) };
  return { digest: createHash("sha256").update(token, "utf8").digest("hex"), expiresMs: null };
}
