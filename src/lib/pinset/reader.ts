import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Pin } from "../cluster/pins.ts";
import { FulaError, isFulaError, messageOf } from "../kernel/errors.ts";
import { explainWriteError } from "../kernel/files.ts";
import { canonicalPin } from "./canonical.ts";
import { decompress } from "./data-file.ts";
import { type KeyedLine, sortLines } from "./external-sort.ts";
import { filesOf, RECORD_BYTES_MAX } from "./format.ts";
import { readLegacyPins } from "./legacy.ts";
import { isLegacyFile } from "./manifest-check.ts";
import { parseRecord } from "./record-check.ts";

/** How `readSnapshotPins` reads. */
export interface ReadOptions {
  readonly signal?: AbortSignal | undefined;
  /** Where a legacy file, whose pins have no order, is sorted; default the system's directory for temporary files. */
  readonly tempDir?: string;
}

/**
 * Gives the pins of a snapshot in ascending order of their CIDs, old format too, with flat memory. For files that
 * `verifySnapshot` found good; a record that is none ends the stream with an error. A CID comes once, but for old-format
 * files that have it several times with different records.
 * @param file path of any of its files
 * @throws FulaError FULA_SNAPSHOT_RECORD, FULA_SNAPSHOT_ORDER, FULA_SNAPSHOT_DIGEST, FULA_DISK_FULL
 */
export async function* readSnapshotPins(file: string, options: ReadOptions = {}): AsyncGenerator<Pin> {
  const files = filesOf(file);
  const isLegacy = await isLegacyFile(files);
  const batches = isLegacy ? sortedLegacy(files.manifest, options) : readRecords(files.data, options.signal);
  let previous = "";
  for await (const batch of batches) {
    for (const pin of batch) {
      if (pin.cid < previous || (pin.cid === previous && !isLegacy)) {
        const how = pin.cid === previous ? "is there twice" : `comes after ${previous}`;
        throw new FulaError("FULA_SNAPSHOT_ORDER", `${file} is not in order: ${pin.cid} ${how}.`);
      }
      previous = pin.cid;
      yield pin;
    }
  }
}

async function* readRecords(path: string, signal: AbortSignal | undefined): AsyncGenerator<readonly Pin[]> {
  let rest = Buffer.alloc(0);
  let line = 0;
  const parse = (bytes: Buffer): Pin => {
    line += 1;
    try {
      return parseRecord(bytes);
    } catch (cause) {
      throw new FulaError("FULA_SNAPSHOT_RECORD", `Line ${line} of ${path} is not a record: ${messageOf(cause)}.`, {
        cause,
      });
    }
  };
  try {
    for await (const chunk of decompress(path, signal)) {
      const bytes = rest.length === 0 ? chunk : Buffer.concat([rest, chunk]);
      const pins: Pin[] = [];
      let start = 0;
      for (let end = bytes.indexOf(0x0a); end !== -1; end = bytes.indexOf(0x0a, start)) {
        pins.push(parse(bytes.subarray(start, end)));
        start = end + 1;
      }
      rest = Buffer.from(bytes.subarray(start));
      if (rest.length > RECORD_BYTES_MAX) throw new Error(`line ${line + 1} is longer than ${RECORD_BYTES_MAX} bytes`);
      yield pins;
    }
  } catch (cause) {
    if (isFulaError(cause) || signal?.aborted === true) throw cause;
    throw new FulaError("FULA_SNAPSHOT_DIGEST", `${path} cannot be read: ${messageOf(cause)}.`, { cause });
  }
  if (rest.length > 0) throw new FulaError("FULA_SNAPSHOT_RECORD", `The last line of ${path} has no end.`);
}

async function* sortedLegacy(path: string, { signal, tempDir }: ReadOptions): AsyncGenerator<readonly Pin[]> {
  const dir = await mkdtemp(join(tempDir ?? tmpdir(), "fula-master-sort-"));
  try {
    let previous: KeyedLine | null = null;
    for await (const batch of sortLines(keyed(path, signal), { dir, signal })) {
      // An entry that is there twice and says the same both times is one pin.
      const kept: Pin[] = [];
      for (const entry of batch) {
        if (previous !== null && entry.key === previous.key && entry.line === previous.line) continue;
        previous = entry;
        kept.push(parseRecord(Buffer.from(entry.line)));
      }
      yield kept;
    }
  } catch (error) {
    throw explainWriteError(error, dir);
  } finally {
    await rm(dir, { recursive: true, force: true });
  }
}

async function* keyed(path: string, signal: AbortSignal | undefined): AsyncGenerator<KeyedLine> {
  for await (const pin of readLegacyPins(path, signal)) yield { key: pin.cid, line: canonicalPin(pin) };
}
