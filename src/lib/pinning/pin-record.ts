import { z } from "zod";

/** Where a request stands, in the words of the Pinning Service API. */
export const PIN_STATUSES = ["queued", "pinning", "pinned", "failed"] as const;
/** One of `PIN_STATUSES`. */
export type PinStatusWord = (typeof PIN_STATUSES)[number];

/** A user's request as the ledger has it. */
export interface PinRecord {
  readonly requestId: string;
  readonly status: PinStatusWord;
  /** RFC 3339, UTC, always with six digits of a second, so that texts sort as times do. */
  readonly created: string;
  /** As the user wrote it. */
  readonly cid: string;
  /** Empty where he gave none. */
  readonly name: string;
  readonly origins: readonly string[];
  readonly meta: Readonly<Record<string, string>>;
  /** Where clients may connect to, as it was when the request came. */
  readonly delegates: readonly string[];
  /** What is told about the status. */
  readonly info: Readonly<Record<string, string>>;
}

/** A row of `pins` as `PIN_COLUMNS` gives it. */
export interface PinRow {
  readonly requestid: string;
  readonly status: PinStatusWord;
  readonly created: string;
  readonly cid: string;
  readonly name: string | null;
  readonly origins: string | null;
  readonly meta: string | null;
  readonly delegates: string | null;
  readonly info: string | null;
}

/** What a `PinRow` is made of. `to_char` alone gives every time as many digits. */
export const PIN_COLUMNS = `
  requestid, status, to_char(created_at at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') as created,
  cid, name, origins, meta, delegates, info`;

// Other software has written rows, too: what cannot be read of them is left out, and the rest is shown.
const listSchema = z.array(z.string()).catch([]);
const entriesSchema = z.record(z.string(), z.unknown()).catch({});

function parseJson(text: string | null): unknown {
  try {
    return JSON.parse(text ?? "null");
  } catch {
    return null;
  }
}

function textsOf(json: string | null): Readonly<Record<string, string>> {
  const entries = Object.entries(entriesSchema.parse(parseJson(json)));
  return Object.fromEntries(
    entries.map(([key, value]) => [key, typeof value === "string" ? value : JSON.stringify(value)]),
  );
}

/** Reads a row, whoever wrote it. */
export function pinRecordOf(row: PinRow): PinRecord {
  return {
    requestId: row.requestid,
    status: row.status,
    created: row.created,
    cid: row.cid,
    name: row.name ?? "",
    origins: listSchema.parse(parseJson(row.origins)),
    meta: textsOf(row.meta),
    delegates: listSchema.parse(parseJson(row.delegates)),
    info: textsOf(row.info),
  };
}
