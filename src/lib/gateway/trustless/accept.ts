/** What a content is answered as: one block, or a CAR file; `dups` says whether a block that occurs twice is sent twice. */
export type ContentFormat = { readonly kind: "raw" } | { readonly kind: "car"; readonly dups: boolean };

/** Content types of the formats (https://www.iana.org/assignments/media-types/). */
export const RAW_TYPE = "application/vnd.ipld.raw";
export const CAR_TYPE = "application/vnd.ipld.car";

/** The one order in which blocks are sent, and what stands for it. */
const ORDERS: ReadonlySet<string> = new Set(["dfs", "unk", ""]);
const VERSIONS: ReadonlySet<string> = new Set(["1"]);
const DUPS: ReadonlySet<string> = new Set(["y", "n"]);

/** What a client asks of a CAR file; null where it does not say. */
export interface CarWishes {
  readonly version: string | null;
  readonly order: string | null;
  readonly dups: string | null;
}

/** The CAR file that fulfils these wishes; null where there is none. */
export function carFormat({ version, order, dups }: CarWishes): ContentFormat | null {
  if (!VERSIONS.has(version ?? "1") || !ORDERS.has(order ?? "dfs") || !DUPS.has(dups ?? "n")) return null;
  return { kind: "car", dups: dups === "y" };
}

interface MediaRange {
  readonly type: string;
  readonly parameters: ReadonlyMap<string, string>;
  /** Preference, 0 to 1; 0 means "not this". */
  readonly quality: number;
}

function parseRange(text: string): MediaRange {
  const [type = "", ...rest] = text.split(";").map((part) => part.trim());
  const parameters = new Map<string, string>();
  for (const part of rest) {
    const [name = "", value = ""] = part.split("=", 2);
    parameters.set(name.trim().toLowerCase(), value.trim().replaceAll('"', ""));
  }
  const quality = Number(parameters.get("q") ?? "1");
  return { type: type.toLowerCase(), parameters, quality: Number.isNaN(quality) ? 0 : quality };
}

function formatOf({ type, parameters }: MediaRange): ContentFormat | null {
  if (type === RAW_TYPE) return { kind: "raw" };
  if (type !== CAR_TYPE) return null;
  const wish = (name: string): string | null => parameters.get(name) ?? null;
  return carFormat({ version: wish("version"), order: wish("order"), dups: wish("dups") });
}

/**
 * The formats of an `Accept` header that we have, the one that is liked most first (RFC 9110 §12.5.1). A wildcard means
 * none of them: who does not say how he would verify bytes is not given any.
 */
export function acceptedFormats(accept: string): readonly ContentFormat[] {
  return accept
    .split(",")
    .map(parseRange)
    .filter(({ quality }) => quality > 0)
    .toSorted((one, other) => other.quality - one.quality)
    .map(formatOf)
    .filter((format) => format !== null);
}

/** True where an `Accept` header names CAR files of any kind. */
export function namesCar(accept: string): boolean {
  return accept
    .split(",")
    .map(parseRange)
    .some(({ type }) => type === CAR_TYPE);
}
