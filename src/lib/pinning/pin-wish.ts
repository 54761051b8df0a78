import { multiaddr } from "@multiformats/multiaddr";
import { FulaError } from "../kernel/errors.ts";
import { contentKey } from "./content-key.ts";

/** What a user asks to be kept: the `Pin` of the Pinning Service API. */
export interface PinWish {
  /** As the user wrote it. */
  readonly cid: string;
  /** The content, as `contentKey` gives it. */
  readonly content: string;
  /** Empty where he gave none. */
  readonly name: string;
  /** Multiaddresses that the content may be fetched from. */
  readonly origins: readonly string[];
  readonly meta: Readonly<Record<string, string>>;
}

/** A wish as it came, its types checked and nothing else. */
export interface RawPinWish {
  readonly cid: string;
  readonly name?: string | undefined;
  readonly origins?: readonly string[] | undefined;
  readonly meta?: Readonly<Record<string, string>> | undefined;
}

/** The API's own limits; of `meta` it says nothing that a database can live with. */
const NAME_CHARACTERS_MAX = 255;
const ORIGINS_MAX = 20;
const ORIGIN_CHARACTERS_MAX = 512;
const META_KEYS_MAX = 64;
const META_BYTES_MAX = 8 * 1_024;

function invalid(what: string): FulaError {
  return new FulaError("FULA_PIN_REQUEST", what, {
    hint: "see docs/pinning.md for what a request may say.",
  });
}

/** PostgreSQL takes no NUL, and half of a surrogate pair would come back as another character. */
function isStorable(text: string): boolean {
  return text.isWellFormed() && !text.includes("\0");
}

/**
 * A name as it may be stored and looked for: any Unicode but NUL; it comes back byte for byte.
 * @throws FulaError FULA_PIN_REQUEST
 */
export function checkPinName(name: string): string {
  if (Array.from(name).length > NAME_CHARACTERS_MAX) {
    throw invalid(`The name has more than ${NAME_CHARACTERS_MAX} characters.`);
  }
  if (!isStorable(name)) throw invalid("The name has a NUL, or half of a character.");
  return name;
}

/**
 * Metadata as it may be stored and looked for.
 * @throws FulaError FULA_PIN_REQUEST
 */
export function checkPinMeta(meta: Readonly<Record<string, string>>): Readonly<Record<string, string>> {
  const entries = Object.entries(meta);
  if (entries.length > META_KEYS_MAX) throw invalid(`meta has more than ${META_KEYS_MAX} keys.`);
  if (Buffer.byteLength(JSON.stringify(meta)) > META_BYTES_MAX) {
    throw invalid(`meta is longer than ${META_BYTES_MAX} bytes of JSON.`);
  }
  if (!entries.every(([key, value]) => isStorable(key) && isStorable(value))) {
    throw invalid("meta has a NUL, or half of a character.");
  }
  return meta;
}

function isMultiaddress(text: string): boolean {
  if (!text.startsWith("/") || text.length > ORIGIN_CHARACTERS_MAX) return false;
  try {
    return multiaddr(text).getComponents().length > 0;
  } catch {
    return false;
  }
}

function checkOrigins(origins: readonly string[]): readonly string[] {
  if (origins.length > ORIGINS_MAX) throw invalid(`There are more than ${ORIGINS_MAX} origins.`);
  const wrong = origins.find((origin) => !isMultiaddress(origin));
  if (wrong !== undefined) throw invalid(`The origin ${JSON.stringify(wrong.slice(0, 100))} is no multiaddress.`);
  return [...new Set(origins)];
}

/**
 * Checks what a user asks for, before anything is stored of it.
 * @throws FulaError FULA_PIN_REQUEST, FULA_CID_INVALID
 */
export function checkPinWish({ cid, name = "", origins = [], meta = {} }: RawPinWish): PinWish {
  return {
    cid,
    content: contentKey(cid),
    name: checkPinName(name),
    origins: checkOrigins(origins),
    meta: checkPinMeta(meta),
  };
}
