import { FulaError } from "../kernel/errors.ts";

/** An hour of UTC, as the number of hours from 1970 to its start: the next one is `hour + 1`. */
export type Hour = number;

const HOUR_MS = 3_600_000;
const KEY = /^hour:(\d{4}-\d{2}-\d{2}T\d{2})$/;
const TEXT = /^(\d{4}-\d{2}-\d{2}T\d{2})(?:(?::00)?(?::00)?Z?)$/;

/** The hour that a time lies in. @param ms milliseconds since the Unix epoch */
export function hourOf(ms: number): Hour {
  return Math.floor(ms / HOUR_MS);
}

/** The hour's start as `2026-06-12T14:00:00Z`: for messages and JSON, and for parameters of type `timestamptz`. */
export function formatHour(hour: Hour): string {
  return `${new Date(hour * HOUR_MS).toISOString().slice(0, 19)}Z`;
}

/** The hour that a `timestamptz` of the ledger, which gives the start of an hour, stands for. */
export function hourFromSql(start: Date): Hour {
  return hourOf(start.getTime());
}

/** The reference of the hour's fees in the ledger: `hour:2026-06-12T14`. */
export function hourKey(hour: Hour): string {
  return `hour:${formatHour(hour).slice(0, 13)}`;
}

function hourOfPrefix(prefix: string | undefined): Hour | null {
  if (prefix === undefined) return null;
  const ms = Date.parse(`${prefix}:00:00Z`);
  // Date.parse takes February 30 for March 2.
  return Number.isNaN(ms) || formatHour(hourOf(ms)).slice(0, 13) !== prefix ? null : hourOf(ms);
}

/** The hour of a reference as `hourKey` writes it; null for any other text. */
export function parseHourKey(key: string): Hour | null {
  return hourOfPrefix(KEY.exec(key)?.[1]);
}

/**
 * Reads an hour as an operator writes it: `2026-06-12T14`, `2026-06-12T14:00Z`, `2026-06-12T14:00:00Z`. Always UTC.
 * @throws FulaError FULA_HOUR_INVALID
 */
export function parseHour(text: string): Hour {
  const hour = hourOfPrefix(TEXT.exec(text)?.[1]);
  if (hour === null) {
    throw new FulaError("FULA_HOUR_INVALID", `${JSON.stringify(text.slice(0, 100))} is not the start of an hour.`, {
      hint: "write it in UTC as 2026-06-12T14.",
    });
  }
  return hour;
}
