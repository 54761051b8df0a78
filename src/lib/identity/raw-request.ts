import { Refusal } from "./refusal.ts";

/**
 * A request as it stood on the wire. Signatures are computed over these very bytes: a framework that has decoded the
 * path, folded `a/../k` or joined headers has already lost what was signed. Text is Latin-1, one character a byte.
 */
export interface RawRequest {
  readonly method: string;
  /** From the request line, up to the first `?`; percent-encoded as sent. */
  readonly path: string;
  /** After the first `?`, as sent; empty where there is none. */
  readonly query: string;
  readonly headers: RequestHeaders;
}

const isBlank = (char: string | undefined): boolean => char === " " || char === "\t";

/**
 * Takes spaces and tabs off both ends, as HTTP says (RFC 9110 §5.5). JavaScript's `trim` would take the byte A0 as well,
 * with which letters such as "à" end in UTF-8.
 */
function trimBlanks(text: string): string {
  let [start, end] = [0, text.length];
  while (start < end && isBlank(text[start])) start += 1;
  while (end > start && isBlank(text[end - 1])) end -= 1;
  return text.slice(start, end);
}

/** Headers in the order they came, names in lower case, values trimmed. */
export class RequestHeaders {
  readonly #values = new Map<string, string[]>();

  /** @param raw alternating names and values, as `IncomingMessage.rawHeaders` has them */
  constructor(raw: readonly string[]) {
    for (let index = 0; index + 1 < raw.length; index += 2) {
      const name = (raw[index] ?? "").toLowerCase();
      const values = this.#values.get(name) ?? [];
      values.push(trimBlanks(raw[index + 1] ?? ""));
      this.#values.set(name, values);
    }
  }

  /** Every name, once. */
  names(): readonly string[] {
    return [...this.#values.keys()];
  }

  /** All values of a header, in order; empty where it is missing. */
  all(name: string): readonly string[] {
    return this.#values.get(name) ?? [];
  }

  has(name: string): boolean {
    return this.#values.has(name);
  }

  /**
   * The value of a header that may stand there once; null where it is missing.
   * @throws Refusal InvalidRequest where it stands twice: two readers could each take another one
   */
  single(name: string): string | null {
    const values = this.all(name);
    if (values.length > 1) throw new Refusal("InvalidRequest", `The header ${name} is there more than once.`);
    return values[0] ?? null;
  }
}

/** Splits the request target at its first `?`; everything else stays as it was sent. */
export function splitTarget(target: string): { readonly path: string; readonly query: string } {
  const mark = target.indexOf("?");
  return mark === -1 ? { path: target, query: "" } : { path: target.slice(0, mark), query: target.slice(mark + 1) };
}

/**
 * Decodes %XX to bytes; every other character must be a byte already (Latin-1).
 * @throws Refusal InvalidURI for a `%` without two hex digits
 */
export function percentDecode(text: string): Uint8Array {
  if (/%(?![0-9A-Fa-f]{2})/.test(text))
    throw new Refusal("InvalidURI", "The URI has a % that is not followed by two hex digits.");
  const unescaped = text.replaceAll(/%([0-9A-Fa-f]{2})/g, (_, hex: string) =>
    String.fromCharCode(Number.parseInt(hex, 16)),
  );
  return Buffer.from(unescaped, "latin1");
}

const UNRESERVED = /^[A-Za-z0-9._~-]$/;

/** AWS's UriEncode: every byte but the unreserved ones of RFC 3986 as %XX, upper case. */
export function uriEncode(bytes: Uint8Array): string {
  let encoded = "";
  for (const byte of bytes) {
    const char = String.fromCharCode(byte);
    encoded += UNRESERVED.test(char) ? char : `%${byte.toString(16).toUpperCase().padStart(2, "0")}`;
  }
  return encoded;
}

/** One `name=value` of a query, both decoded to bytes. */
export interface QueryParameter {
  readonly name: Uint8Array;
  readonly value: Uint8Array;
}

/**
 * Takes a raw query apart. A `+` is a space, as S3 reads it; a name without `=` has an empty value.
 * @throws Refusal InvalidURI
 */
export function parseQuery(query: string): readonly QueryParameter[] {
  return query
    .split("&")
    .filter((part) => part !== "")
    .map((part) => {
      const equals = part.indexOf("=");
      const [name, value] = equals === -1 ? [part, ""] : [part.slice(0, equals), part.slice(equals + 1)];
      return { name: percentDecode(name.replaceAll("+", " ")), value: percentDecode(value.replaceAll("+", " ")) };
    });
}

/** The bytes as UTF-8 text; null where they are not UTF-8. */
export function utf8OrNull(bytes: Uint8Array): string | null {
  try {
    return new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch {
    return null;
  }
}
