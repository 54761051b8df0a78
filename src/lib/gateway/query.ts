import { parseQuery, utf8OrNull } from "../identity/raw-request.ts";
import { S3Error } from "./s3-error.ts";

/** Query parameters by name; a flag such as `?location` has an empty value. */
export type QueryMap = ReadonlyMap<string, string>;

/**
 * Reads a raw query. Every name may stand there once: of two values each reader could take another one.
 * @throws S3Error InvalidURI, InvalidArgument
 */
export function readQuery(rawQuery: string): QueryMap {
  const parameters = new Map<string, string>();
  for (const parameter of parseQuery(rawQuery)) {
    const [name, value] = [utf8OrNull(parameter.name), utf8OrNull(parameter.value)];
    if (name === null || value === null) throw new S3Error("InvalidURI", "The query is not UTF-8.");
    if (`${name}${value}`.includes("\0")) throw new S3Error("InvalidArgument", "The query has a NUL character.");
    if (parameters.has(name)) {
      throw new S3Error("InvalidArgument", "A query parameter is there more than once.", {
        fields: { ArgumentName: name },
      });
    }
    parameters.set(name, value);
  }
  return parameters;
}
