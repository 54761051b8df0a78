import { createReadStream } from "node:fs";
import { type FileHandle, open, readdir } from "node:fs/promises";
import { join } from "node:path";
import { createInterface } from "node:readline";
import type { Clock } from "./clock.ts";
import { systemErrorCode } from "./errors.ts";
import { ensureDir, explainWriteError, fsyncDir, SECRET_FILE_MODE } from "./files.ts";

/** One line of a journal: what happened, when, and its facts. */
export interface JournalEntry {
  /** RFC 3339 with milliseconds, UTC. */
  readonly at: string;
  readonly event: string;
  readonly [field: string]: unknown;
}

/** Append-only record of one run, so that a crashed run can be resumed and any run can be read afterwards. */
export interface Journal extends AsyncDisposable {
  readonly path: string;
  /** Returns when the line is on the disk. */
  append(event: string, fields?: Readonly<Record<string, unknown>>): Promise<void>;
  close(): Promise<void>;
}

function stamp(ms: number): string {
  return new Date(ms).toISOString();
}

/** Opens `<dir>/<kind>-<time>.jsonl` for one run, or goes on with the file of an earlier one. */
export async function openJournal(
  dir: string,
  kind: string,
  clock: Clock,
  resumePath: string | null = null,
): Promise<Journal> {
  await ensureDir(dir);
  const path = resumePath ?? join(dir, `${kind}-${stamp(clock.nowMs()).replaceAll(/[-:.]/g, "")}-${process.pid}.jsonl`);
  let handle: FileHandle;
  try {
    handle = await open(path, "a", SECRET_FILE_MODE);
    await fsyncDir(dir);
  } catch (error) {
    throw explainWriteError(error, path);
  }
  const close = async (): Promise<void> => {
    await handle.close();
  };
  return {
    path,
    close,
    [Symbol.asyncDispose]: close,
    append: async (event, fields = {}) => {
      try {
        await handle.appendFile(`${JSON.stringify({ at: stamp(clock.nowMs()), event, ...fields })}\n`);
        await handle.sync();
      } catch (error) {
        throw explainWriteError(error, path);
      }
    },
  };
}

/** The newest journal file of a kind, or null where there is none. */
export async function latestJournal(dir: string, kind: string): Promise<string | null> {
  try {
    const names = (await readdir(dir)).filter((name) => name.startsWith(`${kind}-`) && name.endsWith(".jsonl"));
    const newest = names.toSorted().at(-1);
    return newest === undefined ? null : join(dir, newest);
  } catch (error) {
    if (systemErrorCode(error) === "ENOENT") return null;
    throw error;
  }
}

function isEntry(value: unknown): value is JournalEntry {
  return typeof value === "object" && value !== null && "event" in value && typeof value.event === "string";
}

/** Reads a journal line by line. A last line that a crash cut short is left out; everything before it is whole. */
export async function* readJournal(path: string): AsyncGenerator<JournalEntry> {
  for await (const line of createInterface({ input: createReadStream(path), crlfDelay: Number.POSITIVE_INFINITY })) {
    let parsed: unknown;
    try {
      parsed = JSON.parse(line);
    } catch {
      return;
    }
    if (isEntry(parsed)) yield parsed;
  }
}
