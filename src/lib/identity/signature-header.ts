import { Refusal } from "./refusal.ts";
import { ALGORITHM, type CredentialScope } from "./signature.ts";

/** What stands in an `Authorization: AWS4-HMAC-SHA256 …` header. */
export interface SignatureHeader {
  readonly keyId: string;
  readonly scope: CredentialScope;
  /** Lower-case names, ascending, each once. */
  readonly signedHeaders: readonly string[];
  /** 64 lower-case hex digits. */
  readonly signature: string;
}

const PARTS = ["Credential", "SignedHeaders", "Signature"] as const;

function malformed(why: string): never {
  throw new Refusal("AuthorizationHeaderMalformed", `The authorization header is malformed: ${why}.`);
}

function splitParts(text: string): ReadonlyMap<string, string> {
  const parts = new Map<string, string>();
  for (const piece of text.split(",")) {
    const equals = piece.indexOf("=");
    const name = piece.slice(0, equals).trim();
    if (equals === -1 || parts.has(name)) malformed("it is not Credential=…, SignedHeaders=…, Signature=…");
    parts.set(name, piece.slice(equals + 1).trim());
  }
  if (parts.size !== PARTS.length || !PARTS.every((name) => parts.has(name))) {
    malformed(`it needs exactly ${PARTS.join(", ")}`);
  }
  return parts;
}

/** Reads a Credential. @param refuse throws for what is none, in the code of the place that it stands in */
export function parseCredential(
  text: string,
  refuse: (why: string) => never,
): { readonly keyId: string; readonly scope: CredentialScope } {
  const [keyId, date, region, service, terminator, ...rest] = text.split("/");
  if (keyId === undefined || keyId === "" || date === undefined || region === undefined || service === undefined) {
    return refuse("the Credential is not <key id>/<date>/<region>/s3/aws4_request");
  }
  if (terminator !== "aws4_request" || rest.length > 0) return refuse('the Credential does not end in "aws4_request"');
  if (!/^\d{8}$/.test(date)) return refuse("the date of the Credential is not YYYYMMDD");
  return { keyId, scope: { date, region, service } };
}

/** Reads a list of signed headers. @param refuse as in `parseCredential` */
export function parseSignedHeaders(text: string, refuse: (why: string) => never): readonly string[] {
  const names = text.split(";");
  const ascending = names.every((name, index) => index === 0 || (names[index - 1] ?? "") < name);
  if (!ascending || !names.every((name) => /^[!#$%&'*+.^_`|~0-9a-z-]+$/.test(name))) {
    refuse("SignedHeaders must be lower-case names in ascending order");
  }
  return names;
}

/** Reads an authorization header that begins with `AWS4-HMAC-SHA256`. @throws Refusal AuthorizationHeaderMalformed */
export function parseSignatureHeader(header: string): SignatureHeader {
  const parts = splitParts(header.slice(ALGORITHM.length));
  const signature = parts.get("Signature") ?? "";
  if (!/^[0-9a-f]{64}$/.test(signature)) malformed("the Signature is not 64 lower-case hex digits");
  return {
    ...parseCredential(parts.get("Credential") ?? "", malformed),
    signedHeaders: parseSignedHeaders(parts.get("SignedHeaders") ?? "", malformed),
    signature,
  };
}
