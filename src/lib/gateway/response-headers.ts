import type { QueryMap } from "./query.ts";
import { S3Error } from "./s3-error.ts";

/** Headers that a GET may ask to have in another way than they were stored: links for people are made with them. */
const RESPONSE_HEADERS = [
  "content-type",
  "content-language",
  "expires",
  "cache-control",
  "content-disposition",
  "content-encoding",
] as const;

/** The query parameters that do so. */
export const RESPONSE_PARAMETERS: readonly string[] = RESPONSE_HEADERS.map((name) => `response-${name}`);

/** Headers as a query asks for them. @throws S3Error InvalidArgument for what cannot stand in a header */
export function overriddenHeaders(query: QueryMap): Readonly<Record<string, string>> {
  const headers: Record<string, string> = {};
  for (const name of RESPONSE_HEADERS) {
    const value = query.get(`response-${name}`);
    if (value === undefined) continue;
    if (!/^[\t\u0020-\u007e\u0080-\u00ff]*$/.test(value)) {
      throw new S3Error("InvalidArgument", "A header cannot have this value.", {
        fields: { ArgumentName: `response-${name}` },
      });
    }
    headers[name] = value;
  }
  return headers;
}
