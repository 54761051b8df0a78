import { createReadStream } from "node:fs";
import { type FileHandle, open, readdir, readFile, truncate } from "node:fs/promises";
import { join } from "node:path";
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

/** Takes away a last line that a crash cut short, so that the next line does not grow onto it. */
async function cutTornLine(path: string): Promise<void> {
  const content = await readFile(path);
  const wholeBytes = content.lastIndexOf("\n") + 1;
  if (wholeBytes < content.length) await truncate(path, wholeBytes);
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
    if (resumePath !== null) await cutTornLine(resumePath);
    handle = await open(path, "a", SECRET_FILE_MODE);
    await fsyncDir(dir);
  } catch (error) {
    throw explainWriteError(error, path);
  }
  // One line after the other, in the order in which they are given, whether or not the one before was waited for.
  let last: Promise<unknown> = Promise.resolve();
  const write = async (line: string): Promise<void> => {
    try {
      await handle.appendFile(line);
      await handle.sync();
    } catch (error) {
      throw explainWriteError(error, path);
    }
  };
  const close = async (): Promise<void> => {
    await last;
    await handle.close();
  };
  return {
    path,
    close,
    [Symbol.asyncDispose]: close,
    append: async (event, fields = {}) => {
      const line = `${JSON.stringify({ at: stamp(clock.nowMs()), event, ...fields })}\n`;
      const written = last.then(async () => await write(line));
      last = written.catch(() => {});
      await written;
    },
  };
}

/** The newest journal file of a kind, or null where there is none. */
export async function latestJournal(dir: string, kind: string): Promise<string | null> {
  try {
    const names = (await readdir(dir)).filter((name) => name.startsWith(`${kind}-`) && name.endsWith(".jsonl"));
    // Behind the kind comes the time: "join" is not the beginning of "join-as-storage-node" here.
    const ofKind = names.filter((name) => /^\d/.test(name.slice(kind.length + 1)));
    const newest = ofKind.toSorted().at(-1);
    return newest === undefined ? null : join(dir, newest);
  } catch (error) {
    if (systemErrorCode(error) === "ENOENT") return null;
    throw error;
  }
}

function isEntry(value: unknown): value is JournalEntry {
  return typeof value === "object" && value !== null && "event" in value && typeof value.event === "string";
}

function parseLine(line: string): JournalEntry | null {
  try {
    const parsed: unknown = JSON.parse(line);
    return isEntry(parsed) ? parsed : null;
  } catch {
    return null;
  }
}

/**
 * Reads a journal line by line, up to the first that is none. A last line that a crash cut short is left out, also where it happens to parse:
 * what was never acknowledged as written did not happen.
 */
export async function* readJournal(path: string): AsyncGenerator<JournalEntry> {
  let rest = "";
  for await (const chunk of createReadStream(path, "utf8")) {
    const lines = `${rest}${chunk}`.split("\n");
    rest = lines.pop() ?? "";
    for (const line of lines) {
      const parsed = parseLine(line);
      if (parsed === null) return;
      yield parsed;
    }
  }
}
