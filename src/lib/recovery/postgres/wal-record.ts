import { type Lsn, parseLsn, segmentOf, segmentStart } from "../lsn.ts";

/** A record of the WAL as `pg_waldump` prints it. */
export interface WalRecord {
  readonly lsn: Lsn;
  /** With its header, without those of the pages that it crosses. */
  readonly bytes: number;
  readonly manager: string;
  /** `CHECKPOINT_ONLINE redo 0/1000028; tli 1; …` */
  readonly description: string;
}

const RECORD =
  /^rmgr: (\S+) +len \(rec\/tot\): +\d+\/ *(\d+), tx: +\d+, lsn: ([0-9A-F]+\/[0-9A-F]+), prev [0-9A-F]+\/[0-9A-F]+, desc: (.*)$/;

/** Reads a line of `pg_waldump`; null for every other line. */
export function parseWalRecord(line: string): WalRecord | null {
  const [, manager, bytes, lsn, description] = RECORD.exec(line) ?? [];
  if (manager === undefined || lsn === undefined || description === undefined) return null;
  return { lsn: parseLsn(lsn), bytes: Number(bytes), manager, description };
}

// src/include/access/xlog_internal.h: XLogPageHeaderData, and XLogLongPageHeaderData at the beginning of a segment.
const PAGE_HEADER_BYTES = 24n;
const LONG_PAGE_HEADER_BYTES = 40n;
const ALIGNMENT = 8n;

/** How a server's WAL is laid out. */
export interface WalLayout {
  readonly segmentBytes: number;
  readonly walBlockBytes: number;
}

/** The position after a record: the end of the log, where it is the last one. */
export function endOfRecord(record: WalRecord, { segmentBytes, walBlockBytes }: WalLayout): Lsn {
  // Nothing else goes into its segment.
  if (record.manager === "XLOG" && record.description.startsWith("SWITCH")) {
    return segmentStart(segmentOf(record.lsn, segmentBytes) + 1n, segmentBytes);
  }
  const block = BigInt(walBlockBytes);
  let left = BigInt(record.bytes);
  let at = record.lsn;
  for (;;) {
    const room = block - (at % block);
    if (left <= room) return aligned(at + left);
    left -= room;
    at += room;
    at += at % BigInt(segmentBytes) === 0n ? LONG_PAGE_HEADER_BYTES : PAGE_HEADER_BYTES;
  }
}

function aligned(lsn: Lsn): Lsn {
  return ((lsn + ALIGNMENT - 1n) / ALIGNMENT) * ALIGNMENT;
}

const CHECKPOINT = /^CHECKPOINT_(?:ONLINE|SHUTDOWN) redo ([0-9A-F]+\/[0-9A-F]+);/;

/** Where the replay from a checkpoint begins; null for every other record. */
export function redoOfCheckpoint({ manager, description }: WalRecord): Lsn | null {
  const redo = manager === "XLOG" ? CHECKPOINT.exec(description)?.[1] : undefined;
  return redo === undefined ? null : parseLsn(redo);
}
