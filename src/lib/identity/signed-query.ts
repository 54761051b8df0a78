import { parseQuery, type RawRequest, RequestHeaders, utf8OrNull } from "./raw-request.ts";
import { Refusal } from "./refusal.ts";
import { parseCredential, parseSignedHeaders, type SignatureHeader } from "./signature-header.ts";
import { ALGORITHM } from "./signature.ts";

/** What a presigned URL says about itself. */
export interface SignedQuery extends SignatureHeader {
  /** `X-Amz-Date`, as it was written. */
  readonly timestamp: string;
  /** For how long after that it is good. */
  readonly expiresSeconds: number;
  /** `X-Amz-Content-Sha256`; null where the URL has none. */
  readonly payloadHash: string | null;
  /** The request's query without the signature: what was signed. */
  readonly canonicalQuery: string;
  /** The request as its operation is to see it: see `parseSignedQuery`. */
  readonly request: RawRequest;
}

const EXPIRES_SECONDS_MAX = 604_800;
const SIGNATURE = "x-amz-signature";
const REQUIRED = ["x-amz-algorithm", "x-amz-credential", "x-amz-date", "x-amz-expires", "x-amz-signedheaders"] as const;
/** Parameters that say how the URL is signed; no operation sees them. */
const OF_SIGNATURE: ReadonlySet<string> = new Set([...REQUIRED, SIGNATURE, "x-amz-content-sha256"]);

function malformed(why: string): never {
  throw new Refusal("AuthorizationQueryParametersError", `The presigned URL is malformed: ${why}.`);
}

interface Parameter {
  /** `name=value` as it was sent. */
  readonly raw: string;
  /** In lower case where it begins with `x-amz-`: SDKs write them in either. */
  readonly name: string;
  /** Latin-1, one character a byte, as headers are. */
  readonly value: string;
}

function parametersOf(query: string): readonly Parameter[] {
  return query
    .split("&")
    .filter((raw) => raw !== "")
    .map((raw) => {
      const [parameter] = parseQuery(raw);
      const name = utf8OrNull(parameter?.name ?? new Uint8Array(0)) ?? "";
      const lower = name.toLowerCase();
      const value = Buffer.from(parameter?.value ?? []).toString("latin1");
      return { raw, name: lower.startsWith("x-amz-") ? lower : name, value };
    });
}

function parseExpires(text: string): number {
  if (!/^\d{1,9}$/.test(text)) malformed("X-Amz-Expires is not a number of seconds");
  const seconds = Number(text);
  if (seconds < 1 || seconds > EXPIRES_SECONDS_MAX) {
    malformed(`X-Amz-Expires must be from 1 to ${EXPIRES_SECONDS_MAX} seconds, a week`);
  }
  return seconds;
}

/** What HTTP takes as the name and as the value of a header (RFC 9110 §5.6.2, §5.5). */
const HEADER_NAME = /^[!#$%&'*+.^_`|~0-9a-z-]+$/;
const HEADER_VALUE = /^[\t\u0020-\u007e\u0080-\u00ff]*$/;

/** A parameter may hold what no header can; kept with an object, it would come back with every answer about it. */
function checkHeader({ name, value }: Parameter): void {
  if (HEADER_NAME.test(name) && HEADER_VALUE.test(value)) return;
  throw new Refusal("InvalidArgument", "A parameter of the presigned URL stands for a header, and cannot be one.", {
    ArgumentName: name,
  });
}

/**
 * The request that the parameters of a presigned URL make of it: SDKs move `x-amz-*` headers into the query when they
 * presign, where they mean what they mean as headers (`x-amz-meta-*`, checksums).
 */
function hoisted(request: RawRequest, parameters: readonly Parameter[]): RawRequest {
  const others = parameters.filter(({ name }) => !OF_SIGNATURE.has(name));
  const moved = others.filter(({ name }) => name.startsWith("x-amz-"));
  for (const parameter of moved) checkHeader(parameter);
  const { headers } = request;
  const present = headers.names().flatMap((name) => headers.all(name).flatMap((value) => [name, value]));
  return {
    ...request,
    headers: new RequestHeaders([...present, ...moved.flatMap(({ name, value }) => [name, value])]),
    query: others
      .filter((parameter) => !moved.includes(parameter))
      .map(({ raw }) => raw)
      .join("&"),
  };
}

/**
 * Reads the signature of a presigned URL
 * (https://docs.aws.amazon.com/AmazonS3/latest/API/sigv4-query-string-auth.html); null where the query has none.
 * @throws Refusal AuthorizationQueryParametersError, InvalidURI
 */
export function parseSignedQuery(request: RawRequest): SignedQuery | null {
  const parameters = parametersOf(request.query);
  const ofSignature = parameters.filter(({ name }) => OF_SIGNATURE.has(name));
  if (!ofSignature.some(({ name }) => name === SIGNATURE || name === "x-amz-algorithm")) return null;
  const values = new Map(ofSignature.map(({ name, value }) => [name, value]));
  if (values.size !== ofSignature.length) malformed("a parameter of the signature is there more than once");
  const missing = [...REQUIRED, SIGNATURE].filter((name) => !values.has(name));
  if (missing.length > 0) malformed(`it needs ${missing.join(", ")}`);
  if (values.get("x-amz-algorithm") !== ALGORITHM) malformed(`X-Amz-Algorithm must be ${ALGORITHM}`);
  const signature = values.get(SIGNATURE) ?? "";
  if (!/^[0-9a-f]{64}$/.test(signature)) malformed("X-Amz-Signature is not 64 lower-case hex digits");
  return {
    ...parseCredential(values.get("x-amz-credential") ?? "", malformed),
    signedHeaders: parseSignedHeaders(values.get("x-amz-signedheaders") ?? "", malformed),
    signature,
    timestamp: values.get("x-amz-date") ?? "",
    expiresSeconds: parseExpires(values.get("x-amz-expires") ?? ""),
    payloadHash: values.get("x-amz-content-sha256") ?? null,
    canonicalQuery: parameters
      .filter(({ name }) => name !== SIGNATURE)
      .map(({ raw }) => raw)
      .join("&"),
    request: hoisted(request, parameters),
  };
}
