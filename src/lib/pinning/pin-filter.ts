import { FulaError } from "../kernel/errors.ts";
import { PIN_STATUSES, type PinStatusWord } from "./pin-record.ts";
import { checkPinMeta, checkPinName } from "./pin-wish.ts";
import { contentKey } from "./content-key.ts";
import { spellingsOf } from "./pin-spellings.ts";

/** How a name is compared: as a whole or a part of it, with or without regard to upper and lower case. */
export const NAME_MATCHES = ["exact", "iexact", "partial", "ipartial"] as const;
/** One of `NAME_MATCHES`. */
export type NameMatch = (typeof NAME_MATCHES)[number];

/** Which of a user's requests are asked for. */
export interface PinFilter {
  /** Null for all. */
  readonly contents: { readonly keys: readonly string[]; readonly spellings: readonly string[] } | null;
  readonly name: { readonly text: string; readonly match: NameMatch } | null;
  readonly statuses: readonly PinStatusWord[];
  /** Created before and after: RFC 3339, UTC, with at most six digits of a second. */
  readonly before: string | null;
  readonly after: string | null;
  /** Of a page. */
  readonly limit: number;
  /** Every one of these must be there. */
  readonly meta: Readonly<Record<string, string>> | null;
}

/** A question as it came, its types checked and nothing else. */
export interface RawPinFilter {
  readonly cid: readonly string[];
  readonly name?: string | undefined;
  readonly match: NameMatch;
  readonly status: readonly string[];
  readonly before?: string | undefined;
  readonly after?: string | undefined;
  readonly limit: number;
  /** JSON. */
  readonly meta?: string | undefined;
}

/** The API allows ten; who asks for a few more at once does no harm. */
const CIDS_MAX = 100;

function invalid(what: string): FulaError {
  return new FulaError("FULA_PIN_REQUEST", what, { hint: "see docs/pinning.md for the filters." });
}

function isStatus(word: string): word is PinStatusWord {
  return PIN_STATUSES.some((status) => status === word);
}

function statusesOf(words: readonly string[]): readonly PinStatusWord[] {
  const wrong = words.find((word) => !isStatus(word));
  if (wrong !== undefined) {
    throw invalid(`${JSON.stringify(wrong.slice(0, 50))} is no status; there are ${PIN_STATUSES.join(", ")}.`);
  }
  // As the API has it: who does not ask for others sees what is really kept.
  return words.length === 0 ? ["pinned"] : [...new Set(words.filter(isStatus))];
}

const TIME = /^(\d{4}-\d\d-\d\d[Tt]\d\d:\d\d:\d\d)(?:\.(\d{1,6})\d*)?([Zz]|[ +-]\d\d:\d\d)$/;

/** In UTC: PostgreSQL knows no zones beyond 16 hours, which RFC 3339 has. @throws FulaError FULA_PIN_REQUEST */
function timeOf(text: string, what: string): string {
  const [, seconds = "", fraction = "0", zone = ""] = TIME.exec(text) ?? [];
  // A plus that was not encoded arrives as a space.
  const time = Date.parse(`${seconds}${zone.replace(" ", "+")}`.toUpperCase());
  const utc = Number.isNaN(time) ? "" : new Date(time).toISOString();
  // JavaScript takes 30 February for 2 March, and counts a year 0, which PostgreSQL does not.
  if (!/^(?!0000)\d{4}-/.test(utc) || !isDay(seconds.slice(0, 10))) {
    throw invalid(`${what} is no time such as 2026-11-21T20:00:00.000000Z (RFC 3339).`);
  }
  return `${utc.slice(0, 19)}.${fraction}Z`;
}

function isDay(text: string): boolean {
  return new Date(`${text}T00:00:00Z`).toISOString().startsWith(text);
}

function contentsOf(cids: readonly string[]): PinFilter["contents"] {
  if (cids.length === 0) return null;
  if (cids.length > CIDS_MAX) throw invalid(`There are more than ${CIDS_MAX} CIDs.`);
  return {
    keys: [...new Set(cids.map(contentKey))],
    spellings: [...new Set(cids.flatMap(spellingsOf))],
  };
}

function metaOf(text: string): PinFilter["meta"] {
  let json: unknown;
  try {
    json = JSON.parse(text);
  } catch {
    json = null;
  }
  const entries = typeof json === "object" && json !== null && !Array.isArray(json) ? Object.entries(json) : null;
  if (entries === null || !entries.every((entry): entry is [string, string] => typeof entry[1] === "string")) {
    throw invalid("meta is no JSON object of texts.");
  }
  return checkPinMeta(Object.fromEntries(entries));
}

/**
 * Checks a question before the ledger is asked.
 * @throws FulaError FULA_PIN_REQUEST, FULA_CID_INVALID
 */
export function checkPinFilter(raw: RawPinFilter): PinFilter {
  const { cid, name = "", match, status, before, after, limit, meta } = raw;
  return {
    contents: contentsOf(cid),
    name: name === "" ? null : { text: checkPinName(name), match },
    statuses: statusesOf(status),
    before: before === undefined ? null : timeOf(before, "before"),
    after: after === undefined ? null : timeOf(after, "after"),
    limit,
    meta: meta === undefined ? null : metaOf(meta),
  };
}
