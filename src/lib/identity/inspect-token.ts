import { decodeJwt, decodeProtectedHeader } from "jose";
import { formatUtc } from "../kernel/clock.ts";
import { isKeyId } from "./access-key.ts";
import { deniableOf } from "./credential-digest.ts";
import { parseEip712Token, type WalletToken } from "./eip712/token.ts";
import { checkSignature } from "./eip712/verify.ts";

/** What a bearer token says by itself. Nothing of it is trusted, and what opens anything is left out. */
export interface InspectedToken {
  readonly kind: "wallet" | "jwt" | "access-key" | "unknown";
  /** What is wrong with its form; null where nothing is. */
  readonly problem: string | null;
  /** Its own words, as they stand there. */
  readonly says: Readonly<Record<string, unknown>>;
  /** RFC 3339, UTC; null where it does not say. */
  readonly issuedAt: string | null;
  readonly expiresAt: string | null;
  /** By this box's clock; null where it says nothing of its time, or has none. */
  readonly time: "not-yet" | "good" | "expired" | null;
  /** What `auth deny` takes; null where the token is malformed. */
  readonly digest: string | null;
  /** What can be told of its signature without asking anybody; null where it has none, or only masters can check it. */
  readonly signature: string | null;
}

const UNKNOWN: InspectedToken = {
  kind: "unknown",
  problem:
    "it is no wallet token, no JSON Web Token and no access key; a session of the web UI cannot be told by its text",
  says: {},
  issuedAt: null,
  expiresAt: null,
  time: null,
  digest: null,
  signature: null,
};

/** Claims that are shown; whatever else somebody wrote into a token is his, and may be a secret. */
const SHOWN_CLAIMS = ["sub", "scope", "iat", "exp", "nbf", "aud", "iss", "jti", "made_from"];
/** So much of a payload that cannot be read is shown. */
const SHOWN_LENGTH_MAX = 1_024;
/** RFC 3339 has no later year than 9999. */
const SECONDS_MAX = 253_402_300_799;

function utc(seconds: unknown): string | null {
  const isTime = typeof seconds === "number" && seconds >= 0 && seconds <= SECONDS_MAX;
  return isTime ? formatUtc(seconds * 1_000) : null;
}

function timesOf(
  issued: unknown,
  expires: unknown,
  nowMs: number,
): Pick<InspectedToken, "issuedAt" | "expiresAt" | "time"> {
  const [issuedAt, expiresAt] = [utc(issued), utc(expires)];
  const isOver = typeof expires === "number" && expires * 1_000 <= nowMs;
  const isEarly = typeof issued === "number" && issued * 1_000 > nowMs;
  const isTold = issuedAt !== null || expiresAt !== null;
  return { issuedAt, expiresAt, time: isTold ? (isOver ? "expired" : isEarly ? "not-yet" : "good") : null };
}

function signatureOf(token: WalletToken): string {
  const checked = checkSignature(token);
  if (checked.state === "accepted") return `${token.signature.length} bytes, of ${token.claims.wallet}`;
  const contract = checked.state === "contract" ? "; a contract at its address may know it" : "";
  return `${token.signature.length} bytes, but ${checked.because}${contract}`;
}

function inspectWalletToken(text: string, token: WalletToken, nowMs: number): InspectedToken {
  const { issued: iat, expires: exp, ...others } = token.claims;
  return {
    kind: "wallet",
    problem: null,
    says: { ...others, iat, exp },
    ...timesOf(iat, exp, nowMs),
    digest: deniableOf(text).digest,
    signature: signatureOf(token),
  };
}

function inspectBrokenWalletToken(text: string, because: string): InspectedToken {
  const [, payload = ""] = text.split(".");
  const shown = Buffer.from(payload, "base64url").toString("utf8").slice(0, SHOWN_LENGTH_MAX);
  return { ...UNKNOWN, kind: "wallet", problem: because, says: { payload: shown } };
}

function inspectJwt(text: string, nowMs: number): InspectedToken | null {
  if (text.split(".").length !== 3) return null;
  try {
    const { alg, kid } = decodeProtectedHeader(text);
    const claims = decodeJwt(text);
    const shown = SHOWN_CLAIMS.flatMap((name) => (claims[name] === undefined ? [] : [[name, claims[name]] as const]));
    return {
      kind: "jwt",
      problem: null,
      says: { alg, ...(kid === undefined ? {} : { kid }), ...Object.fromEntries(shown) },
      ...timesOf(claims.iat, claims.exp, nowMs),
      digest: deniableOf(text).digest,
      signature: null,
    };
  } catch {
    return { ...UNKNOWN, kind: "jwt", problem: "its parts are not those of a JSON Web Token" };
  }
}

function inspectAccessKey(text: string): InspectedToken | null {
  const [keyId = "", secret] = text.split(".");
  if (!isKeyId(keyId)) return null;
  const problem = secret === undefined || secret === "" ? "it has no secret behind its id" : null;
  return { ...UNKNOWN, kind: "access-key", problem, says: { keyId }, digest: deniableOf(text).digest };
}

/** Says what a bearer token says, and what is wrong with its form. */
export function inspectToken(text: string, nowMs: number): InspectedToken {
  const parsed = parseEip712Token(text);
  if (parsed.state === "parsed") return inspectWalletToken(text, parsed.token, nowMs);
  if (parsed.state === "malformed") return inspectBrokenWalletToken(text, parsed.because);
  return inspectAccessKey(text) ?? inspectJwt(text, nowMs) ?? UNKNOWN;
}
