import { type FileHandle, open } from "node:fs/promises";
import { explainWriteError, SECRET_FILE_MODE } from "../kernel/files.ts";

/** One CID that is not as it should be, and why. */
export interface Problem {
  readonly cid: string;
  readonly name: string;
  /** A short fixed word for programs: "missing", "differs", "lost" … */
  readonly problem: string;
  /** The same for people, with what was seen. */
  readonly detail: string;
}

/** How many problems a report shows by itself; the file holds every one. */
const PROBLEMS_SHOWN_MAX = 20;

/** Lines that are collected before they are written. */
const LINES_BUFFERED = 500;

/**
 * Problems of a run in bounded memory: the first few to be shown, all of them in a file, one JSON line each. The file
 * is only made when there is a problem.
 */
export class ProblemList implements AsyncDisposable {
  readonly #path: string;
  readonly #shown: Problem[] = [];
  #buffer: string[] = [];
  #total = 0;
  #file: FileHandle | null = null;

  constructor(path: string) {
    this.#path = path;
  }

  get total(): number {
    return this.#total;
  }

  /** The first problems, in the order in which they were found. */
  get shown(): readonly Problem[] {
    return this.#shown;
  }

  /** Where all of them are; null where there is none. */
  get path(): string | null {
    return this.#total === 0 ? null : this.#path;
  }

  /** @throws FulaError FULA_DISK_FULL, FULA_PATH_NOT_WRITABLE */
  async add(problem: Problem): Promise<void> {
    this.#total += 1;
    if (this.#shown.length < PROBLEMS_SHOWN_MAX) this.#shown.push(problem);
    this.#buffer.push(`${JSON.stringify(problem)}\n`);
    if (this.#buffer.length >= LINES_BUFFERED) await this.#flush();
  }

  async #flush(): Promise<void> {
    const text = this.#buffer.join("");
    this.#buffer = [];
    if (text === "") return;
    try {
      this.#file ??= await open(this.#path, "w", SECRET_FILE_MODE);
      await this.#file.appendFile(text);
    } catch (error) {
      throw explainWriteError(error, this.#path);
    }
  }

  async close(): Promise<void> {
    await this.#flush();
    await this.#file?.close();
    this.#file = null;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }
}
