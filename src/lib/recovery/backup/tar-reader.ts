import { createHash, type Hash } from "node:crypto";
import { FulaError } from "../../kernel/errors.ts";

/** A file of an archive, as it passed. */
export interface TarFile {
  readonly path: string;
  readonly bytes: number;
  /** Lower-case hex. */
  readonly sha256: string;
}

/** POSIX ustar: records of 512 bytes, where in a header what stands, and what kinds of entries there are. */
const RECORD = 512;
const NAME = [0, 100] as const;
const SIZE = [124, 136] as const;
const TYPE = 156;
const MAGIC = [257, 262] as const;
const PREFIX = [345, 500] as const;
const REGULAR: ReadonlySet<string> = new Set(["0", "\0"]);
const DIRECTORY = "5";
/** The first bit of a size that is too large for octal digits says that it is binary (GNU). */
const BINARY_SIZE = 0x80;

function damaged(what: string): FulaError {
  return new FulaError("FULA_BASE_BACKUP_DAMAGED", `The archive of the base backup cannot be read: ${what}.`, {
    hint: "fula-master backup list shows the other backups; take a new one with fula-master backup create.",
  });
}

function textOf(header: Buffer, [from, to]: readonly [number, number]): string {
  const field = header.subarray(from, to);
  const end = field.indexOf(0);
  return field.toString("utf8", 0, end === -1 ? field.length : end);
}

function sizeOf(header: Buffer): number {
  const [from, to] = SIZE;
  if (((header[from] ?? 0) & BINARY_SIZE) !== 0) return header.readUIntBE(to - 6, 6);
  const text = textOf(header, SIZE).trim();
  if (!/^[0-7]{1,12}$/.test(text)) throw damaged("an entry has no size");
  return Number.parseInt(text, 8);
}

interface Entry {
  readonly path: string;
  readonly bytes: number;
  readonly hash: Hash;
}

/**
 * Takes an archive in pieces of any size and tells each file's path, size and SHA-256 as it ends. PostgreSQL writes files and
 * directories; anything else, such as a link, is refused.
 */
export class TarReader {
  readonly #onFile: (file: TarFile) => void;
  #header: Buffer = Buffer.alloc(0);
  #entry: Entry | null = null;
  #left = 0;
  #padding = 0;
  #isEnded = false;

  constructor(onFile: (file: TarFile) => void) {
    this.#onFile = onFile;
  }

  /** @throws FulaError FULA_BASE_BACKUP_DAMAGED */
  add(piece: Buffer): void {
    let rest = piece;
    while (rest.length > 0) rest = this.#take(rest);
  }

  /** @throws FulaError FULA_BASE_BACKUP_DAMAGED where the archive broke off */
  end(): void {
    if (!this.#isEnded) throw damaged("it breaks off");
  }

  #take(piece: Buffer): Buffer {
    if (this.#entry !== null && this.#left > 0) {
      const part = piece.subarray(0, this.#left);
      this.#entry.hash.update(part);
      this.#left -= part.length;
      if (this.#left === 0) this.#finish(this.#entry);
      return piece.subarray(part.length);
    }
    if (this.#padding > 0) {
      const skipped = Math.min(this.#padding, piece.length);
      this.#padding -= skipped;
      return piece.subarray(skipped);
    }
    const part = piece.subarray(0, RECORD - this.#header.length);
    this.#header = Buffer.concat([this.#header, part]);
    if (this.#header.length === RECORD) {
      this.#begin(this.#header);
      this.#header = Buffer.alloc(0);
    }
    return piece.subarray(part.length);
  }

  #begin(header: Buffer): void {
    if (header.every((byte) => byte === 0)) {
      this.#isEnded = true;
      return;
    }
    if (this.#isEnded) throw damaged("something follows its end");
    if (textOf(header, MAGIC) !== "ustar") throw damaged("an entry does not begin where it should");
    const type = String.fromCodePoint(header[TYPE] ?? 0);
    if (type === DIRECTORY) return;
    const prefix = textOf(header, PREFIX);
    const path = `${prefix === "" ? "" : `${prefix}/`}${textOf(header, NAME)}`.replace(/^\.\//, "");
    if (!REGULAR.has(type)) throw damaged(`${path} is neither file nor directory`);
    const bytes = sizeOf(header);
    const entry = { path, bytes, hash: createHash("sha256") };
    this.#padding = (RECORD - (bytes % RECORD)) % RECORD;
    this.#left = bytes;
    if (bytes === 0) this.#finish(entry);
    else this.#entry = entry;
  }

  #finish({ path, bytes, hash }: Entry): void {
    this.#entry = null;
    this.#onFile({ path, bytes, sha256: hash.digest("hex") });
  }
}
