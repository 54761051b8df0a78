import { FulaError } from "../kernel/errors.ts";

/** A position in the WAL, in bytes from its beginning. 0 is no position: nothing was ever written there. */
export type Lsn = bigint;

const XLOG_ID_BITS = 32n;
const XLOG_ID_BYTES = 1n << XLOG_ID_BITS;
const LSN_TEXT = /^([0-9a-fA-F]{1,8})\/([0-9a-fA-F]{1,8})$/;
const WAL_FILE_NAME = /^([0-9A-F]{8})([0-9A-F]{8})([0-9A-F]{8})$/;

/** A WAL file as its name tells it. */
export interface WalFile {
  readonly timeline: number;
  /** The segment's number: its first byte's position, divided by the segments' size. */
  readonly segment: bigint;
  readonly startLsn: Lsn;
}

/**
 * Reads a position as PostgreSQL writes it: `16/B374D848`.
 * @throws FulaError `FULA_RECOVERY_WAL_POSITION` for anything else
 */
export function parseLsn(text: string): Lsn {
  const match = LSN_TEXT.exec(text.trim());
  if (match?.[1] === undefined || match[2] === undefined) {
    throw new FulaError(
      "FULA_RECOVERY_WAL_POSITION",
      `"${text}" is no position in the WAL: expected, as an example, 16/B374D848`,
      {
        hint: "Look at what the server or tool printed there: it is one that this version does not know, or it failed.",
      },
    );
  }
  return (BigInt(`0x${match[1]}`) << XLOG_ID_BITS) | BigInt(`0x${match[2]}`);
}

/** Renders a position as PostgreSQL does: `16/B374D848`. */
export function formatLsn(lsn: Lsn): string {
  return `${hex(lsn / XLOG_ID_BYTES)}/${hex(lsn % XLOG_ID_BYTES)}`;
}

/** The number of the segment that holds the byte at `lsn`. `segmentBytes` is the server's `wal_segment_size`. */
export function segmentOf(lsn: Lsn, segmentBytes: number): bigint {
  return lsn / BigInt(segmentBytes);
}

/** The position of a segment's first byte. */
export function segmentStart(segment: bigint, segmentBytes: number): Lsn {
  return segment * BigInt(segmentBytes);
}

/** The name of the WAL file that holds the byte at `lsn` on a timeline: `000000010000001600000059`. */
export function walFileName(timeline: number, lsn: Lsn, segmentBytes: number): string {
  const segment = segmentOf(lsn, segmentBytes);
  const perId = XLOG_ID_BYTES / BigInt(segmentBytes);
  return [BigInt(timeline), segment / perId, segment % perId].map((part) => hex(part).padStart(8, "0")).join("");
}

/**
 * Reads the name of a whole WAL file. `.partial`, `.history` and `.backup` files are none.
 * @returns null for every other name, and for one that cannot be with segments of that size
 */
export function parseWalFileName(name: string, segmentBytes: number): WalFile | null {
  const match = WAL_FILE_NAME.exec(name);
  if (match?.[1] === undefined || match[2] === undefined || match[3] === undefined) return null;
  const perId = XLOG_ID_BYTES / BigInt(segmentBytes);
  const low = BigInt(`0x${match[3]}`);
  if (low >= perId) return null;
  const segment = BigInt(`0x${match[2]}`) * perId + low;
  return { timeline: Number.parseInt(match[1], 16), segment, startLsn: segmentStart(segment, segmentBytes) };
}

function hex(value: bigint): string {
  return value.toString(16).toUpperCase();
}
