import { Refusal } from "./refusal.ts";

/** How the body of a request is protected, as `x-amz-content-sha256` says. */
export type PayloadForm =
  /** The header holds the SHA-256 of the body. */
  | { readonly kind: "hashed"; readonly sha256: string }
  /** Nothing is said about the body. */
  | { readonly kind: "unsigned" }
  /** The body is framed in chunks (`aws-chunked`), each signed or not, followed by trailing headers or not. */
  | { readonly kind: "chunked"; readonly signed: boolean; readonly trailer: boolean };

/** What stands in place of the body's hash where nothing is said about the body. */
export const UNSIGNED_PAYLOAD = "UNSIGNED-PAYLOAD";

const NAMED_FORMS: ReadonlyMap<string, PayloadForm> = new Map([
  [UNSIGNED_PAYLOAD, { kind: "unsigned" }],
  ["STREAMING-UNSIGNED-PAYLOAD-TRAILER", { kind: "chunked", signed: false, trailer: true }],
  ["STREAMING-AWS4-HMAC-SHA256-PAYLOAD", { kind: "chunked", signed: true, trailer: false }],
  ["STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER", { kind: "chunked", signed: true, trailer: true }],
]);

/** Reads `x-amz-content-sha256`. @throws Refusal InvalidArgument, NotImplemented */
export function parsePayloadForm(value: string): PayloadForm {
  const named = NAMED_FORMS.get(value);
  if (named !== undefined) return named;
  if (/^[0-9a-f]{64}$/i.test(value)) return { kind: "hashed", sha256: value.toLowerCase() };
  if (value.startsWith("STREAMING-")) {
    throw new Refusal("NotImplemented", `The body encoding ${value.slice(0, 80)} is not supported.`);
  }
  throw new Refusal(
    "InvalidArgument",
    "x-amz-content-sha256 must be UNSIGNED-PAYLOAD, a STREAMING-… form or the SHA-256 of the body in hex.",
    { ArgumentName: "x-amz-content-sha256" },
  );
}
