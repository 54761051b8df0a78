import { FulaError } from "../kernel/errors.ts";
import { fieldsOf, fleetCid, fleetFault, type FleetPair } from "./import-fleet-node.ts";
import { KEY_BYTES_MAX, keyFault } from "./tree/key.ts";
import type { ObjectEntry, Texts } from "./tree/object-entry.ts";

/** What the fleet's gateway keeps of an object and S3 clients get back as a header. */
const HEADER_FIELDS: readonly (readonly [string, string])[] = [
  ["content_type", "content-type"],
  ["content_encoding", "content-encoding"],
  ["cache_control", "cache-control"],
  ["content_disposition", "content-disposition"],
];

/** Storage class of an object for which none was asked. */
const STANDARD = "STANDARD";

function textOf(fields: FleetPair["value"], name: string, where: string): string | null {
  const value = fields.get(name) ?? null;
  if (value === null || typeof value === "string") return value;
  throw fleetFault(where, `its ${name} is no text`);
}

/** A map of texts, or a list of {key, value}. */
function textsOf(value: unknown, what: string, where: string): Texts {
  if (value === null || value === undefined) return {};
  const pairs: (readonly [unknown, unknown])[] = Array.isArray(value)
    ? value.map((item: unknown) => [fieldsOf(item)?.get("key"), fieldsOf(item)?.get("value")] as const)
    : [...(fieldsOf(value) ?? [])];
  if (!Array.isArray(value) && fieldsOf(value) === null) throw fleetFault(where, `its ${what} is no map`);
  return Object.fromEntries(
    pairs.map(([name, text]): [string, string] => {
      if (typeof name !== "string" || typeof text !== "string") throw fleetFault(where, `its ${what} holds no texts`);
      return [name, text];
    }),
  );
}

function lowerCased(texts: Texts): Texts {
  return Object.fromEntries(Object.entries(texts).map(([name, text]) => [name.toLowerCase(), text]));
}

function timeOf(value: unknown, where: string): number {
  // RFC 3339 with nanoseconds, which Date reads to the millisecond; some versions wrote seconds since the epoch.
  const ms = typeof value === "string" ? Date.parse(value) : typeof value === "number" ? value * 1_000 : Number.NaN;
  if (Number.isFinite(ms) && ms >= 0) return Math.floor(ms);
  throw fleetFault(where, "its last_modified is no time");
}

function sizeOf(value: unknown, where: string): number {
  if (typeof value === "number" && Number.isSafeInteger(value) && value >= 0) return value;
  throw fleetFault(where, "its size is no number of bytes");
}

function unquoted(etag: string): string {
  return /^".*"$/.test(etag) ? etag.slice(1, -1) : etag;
}

/** An object as the fleet has it, as an entry of ours. */
export interface FleetObject {
  readonly key: string;
  readonly entry: ObjectEntry;
  /** What the fleet kept of it that an entry has no place for, by name. */
  readonly leftBehind: readonly string[];
}

/**
 * Makes an entry of what the fleet's gateway kept of an object; null for a marker of a deleted one.
 * @throws FulaError FULA_FLEET_INDEX
 */
export function fleetObject(pair: FleetPair, node: string): FleetObject | null {
  const { key, value } = pair;
  const where = `The object ${JSON.stringify(key)} in ${node}`;
  if (value.get("is_delete_marker") === true) return null;
  const content = fleetCid(value.get("cid"), where);
  const etag = unquoted(textOf(value, "etag", where) ?? content.toString());
  const headers = Object.fromEntries(
    HEADER_FIELDS.flatMap(([name, header]) => {
      const text = textOf(value, name, where);
      return text === null ? [] : [[header, text] as const];
    }),
  );
  const storageClass = textOf(value, "storage_class", where);
  const leftBehind = ["encryption_info", "bao_outboard_cid", "version_id"].filter(
    (name) => (value.get(name) ?? null) !== null,
  );
  if (storageClass !== null && storageClass.toUpperCase() !== STANDARD) leftBehind.push("storage_class");
  return {
    key,
    entry: {
      content,
      sizeBytes: sizeOf(value.get("size"), where),
      modifiedMs: timeOf(value.get("last_modified"), where),
      etag: etag === content.toString() ? null : etag,
      headers,
      metadata: lowerCased(textsOf(value.get("user_metadata"), "user_metadata", where)),
      checksums: {},
      tags: textsOf(value.get("tags"), "tags", where),
      partSizes: [],
    },
    leftBehind,
  };
}

/** @throws FulaError FULA_BUCKET_IMPORT_REFUSED for a key that no index of ours takes */
export function assertImportableKey(key: string, bucket: string): void {
  if (keyFault(key) === null) return;
  const bytes = Buffer.byteLength(key, "utf8");
  throw new FulaError(
    "FULA_BUCKET_IMPORT_REFUSED",
    `Bucket ${bucket} has an object whose key has ${bytes} bytes; 1 to ${KEY_BYTES_MAX} of well-formed text are allowed.`,
    { hint: "copy that object to another key on its own gateway, then import again.", details: { bucket, key } },
  );
}
