import type { PinOptions } from "../cluster/pins.ts";
import { formatUtc } from "../kernel/clock.ts";
import { FulaError } from "../kernel/errors.ts";
import { parseDurationMs } from "../kernel/units.ts";

/** What an operator may say about a pin, as text from the command line. */
export interface PinSettings {
  readonly name?: string;
  readonly mode?: "recursive" | "direct";
  /** A duration from now (`30d`), a UTC time, or `never`. */
  readonly expire?: string;
  /** `all`, or how many peers. */
  readonly copies?: string;
  /** `key=value` pairs. */
  readonly metadata?: readonly string[];
}

const COPIES_MAX = 1_000;

function wrong(option: string, value: string, expected: string): FulaError {
  return new FulaError("FULA_USAGE", `${option} ${JSON.stringify(value)} is not ${expected}.`, {
    hint: "fula-master pin add --help",
  });
}

function parseExpiry(text: string, nowMs: number): string | null {
  if (text === "never") return null;
  const durationMs = parseDurationMs(text);
  const atMs = durationMs === null ? Date.parse(text) : nowMs + durationMs;
  const expected = 'a duration such as "30d", a UTC time such as "2027-01-31T00:00:00Z", or "never"';
  if (Number.isNaN(atMs) || (durationMs === null && !text.endsWith("Z"))) throw wrong("--expire", text, expected);
  if (atMs <= nowMs) throw wrong("--expire", text, "in the future");
  return formatUtc(atMs);
}

function parseCopies(text: string): number {
  if (text === "all") return -1;
  if (!/^[1-9]\d{0,3}$/.test(text) || Number(text) > COPIES_MAX) {
    throw wrong("--copies", text, `"all" or a number from 1 to ${COPIES_MAX}`);
  }
  return Number(text);
}

function parseMetadata(pairs: readonly string[]): Readonly<Record<string, string>> {
  return Object.fromEntries(
    pairs.map((pair) => {
      const at = pair.indexOf("=");
      if (at < 1) throw wrong("--metadata", pair, '"key=value"');
      return [pair.slice(0, at), pair.slice(at + 1)];
    }),
  );
}

/** Reads what was said about a pin. @throws FulaError FULA_USAGE */
export function parsePinSettings(settings: PinSettings, nowMs: number): PinOptions {
  const { name, mode, expire, copies, metadata } = settings;
  const factor = copies === undefined ? null : parseCopies(copies);
  return {
    ...(name === undefined ? {} : { name }),
    ...(mode === undefined ? {} : { mode }),
    ...(expire === undefined ? {} : { expire_at: parseExpiry(expire, nowMs) }),
    ...(factor === null ? {} : { replication_factor_min: factor, replication_factor_max: factor }),
    ...(metadata === undefined ? {} : { metadata: parseMetadata(metadata) }),
  };
}
