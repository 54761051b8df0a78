import type { RawRequest, RequestHeaders } from "../identity/raw-request.ts";
import type { Wire } from "./exchange.ts";
import { S3Error } from "./s3-error.ts";

/** What a page may ask for once it has asked whether it may. */
const METHODS = "GET, HEAD, PUT, POST, DELETE";
/** How long a browser may remember the answer to a preflight. */
const MAX_AGE_SECONDS = 3_600;
const HEADER_NAMES = /^[\w!#$%&'*+.^`|~-]+(?:[\t ]*,[\t ]*[\w!#$%&'*+.^`|~-]+)*$/;

/**
 * Lets the page that a request comes from read the answer, whatever it will be
 * (https://fetch.spec.whatwg.org/#http-cors-protocol). A browser is never asked to send credentials of its own: who has
 * no key gets nothing, from whatever page.
 * @param origins that are let; `*` stands for all
 */
export function openToPage(headers: RequestHeaders, wire: Wire, origins: readonly string[]): void {
  if (origins.length === 0) return;
  // Even an answer to nobody's page differs from that to a page, so that no cache may give one for the other.
  wire.tell("vary", "Origin");
  const [origin, ...others] = headers.all("origin");
  if (origin === undefined || others.length > 0) return;
  if (origins.includes("*")) wire.openTo("*");
  else if (origins.includes(origin)) wire.openTo(origin);
}

/** True for the question of a browser whether a page may send a request; it cannot be signed. */
export function isPreflight({ method, headers }: RawRequest): boolean {
  return method === "OPTIONS" && headers.has("origin") && headers.has("access-control-request-method");
}

/** Answers a preflight. @throws S3Error AccessForbidden where pages of this origin are not let */
export function answerPreflight({ headers }: RawRequest, wire: Wire): void {
  if (!wire.isOpen) {
    throw new S3Error("AccessForbidden", "Pages of this origin may not send requests here (gateway.corsOrigins).");
  }
  const asked = headers.all("access-control-request-headers").join(", ").trim();
  wire.empty(200, {
    "access-control-allow-methods": METHODS,
    "access-control-max-age": MAX_AGE_SECONDS,
    // Told by name: `*` would not stand for Authorization.
    ...(HEADER_NAMES.test(asked) && { "access-control-allow-headers": asked }),
    vary: "Origin, Access-Control-Request-Headers",
  });
}
