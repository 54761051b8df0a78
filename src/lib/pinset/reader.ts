import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Pin } from "../cluster/pins.ts";
import { FulaError, isFulaError, messageOf } from "../kernel/errors.ts";
import { explainWriteError } from "../kernel/files.ts";
import { canonicalPin } from "./canonical.ts";
import { decompress } from "./data-file.ts";
import { type KeyedLine, sortLines } from "./external-sort.ts";
import { filesOf } from "./format.ts";
import { readLegacyPins } from "./legacy.ts";
import { isLegacyFile } from "./manifest-check.ts";
import { parseRecord, RecordCheck } from "./record-check.ts";

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
  const check = new RecordCheck();
  const assertSound = (problem = check.problems[0]): void => {
    if (problem !== undefined) throw new FulaError(problem.code, `${path} cannot be read. ${problem.message}`);
  };
  let rest = Buffer.alloc(0);
  try {
    for await (const chunk of decompress(path, signal)) {
      check.add(chunk);
      assertSound();
      const bytes = rest.length === 0 ? chunk : Buffer.concat([rest, chunk]);
      const end = bytes.lastIndexOf(0x0a);
      rest = Buffer.from(bytes.subarray(end + 1));
      // oxlint-disable-next-line typescript/no-unsafe-type-assertion -- the check has seen that each line is a record
      if (end > 0) yield JSON.parse(`[${bytes.toString("utf8", 0, end).replaceAll("\n", ",")}]`) as Pin[];
    }
  } catch (cause) {
    if (isFulaError(cause) || signal?.aborted === true) throw cause;
    throw new FulaError("FULA_SNAPSHOT_DIGEST", `${path} cannot be read: ${messageOf(cause)}.`, { cause });
  }
  check.finish();
  assertSound();
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
