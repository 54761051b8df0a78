import { createReadStream } from "node:fs";
import { z } from "zod";
import { parsePin } from "../cluster/pin-schema.ts";
import type { Pin } from "../cluster/pins.ts";
import { FulaError, messageOf } from "../kernel/errors.ts";
import { RECORD_BYTES_MAX } from "./format.ts";

// The existing fleet's snapshots hold what `ipfs-cluster-ctl --enc=json pin ls` printed: one pretty-printed object a
// pin, one after the other. Versions of the tool differ in how they write some fields; all forms are read.

const cidForm = z.union([z.string(), z.strictObject({ "/": z.string() }).transform((link) => link["/"])]);
const texts = z.array(z.string()).nullish();

const legacySchema = z.looseObject({
  cid: cidForm.optional(),
  Cid: cidForm.optional(),
  type: z.union([z.string(), z.int()]).nullish(),
  mode: z.union([z.string(), z.int()]).nullish(),
  name: z.string().nullish(),
  replication_factor_min: z.int().nullish(),
  replication_factor_max: z.int().nullish(),
  shard_size: z.number().nullish(),
  user_allocations: texts,
  allocations: texts,
  expire_at: z.string().nullish(),
  metadata: z.record(z.string(), z.string()).nullish(),
  origins: texts,
  max_depth: z.int().nullish(),
  reference: cidForm.nullish(),
  timestamp: z.string().nullish(),
});

/** Bits of `api.PinType` in IPFS Cluster. */
const TYPES: Readonly<Record<string, string>> = {
  "2": "pin",
  "4": "meta-pin",
  "8": "clusterdag-pin",
  "16": "shard-pin",
};

/** `api.PinMode` in IPFS Cluster. */
const MODES: Readonly<Record<string, string>> = { "0": "recursive", "1": "direct" };

/** Go's zero time: never. */
const ZERO_TIME = "0001-01-01T00:00:00Z";

/** A pin without a time was there before anybody looked. */
const EPOCH = "1970-01-01T00:00:00Z";

/** Makes a whole record from one object of the existing fleet; what is missing gets IPFS Cluster's defaults. @throws FulaError FULA_PIN_INVALID */
export function toPin(value: unknown): Pin {
  const parsed = legacySchema.safeParse(value);
  const cid = parsed.data?.cid ?? parsed.data?.Cid;
  if (!parsed.success || cid === undefined) {
    const issue = parsed.error?.issues[0];
    const what = issue === undefined ? "it names no CID" : `${issue.path.join(".")}: ${issue.message}`;
    throw new FulaError("FULA_PIN_INVALID", `A pin of the old format cannot be read: ${what}.`);
  }
  const old = parsed.data;
  const mode = nameOf(old.mode, MODES) ?? "recursive";
  return parsePin({
    cid,
    type: nameOf(old.type, TYPES) ?? "pin",
    mode,
    name: old.name ?? "",
    replication_factor_min: old.replication_factor_min ?? -1,
    replication_factor_max: old.replication_factor_max ?? -1,
    shard_size: old.shard_size ?? 0,
    user_allocations: old.user_allocations ?? [],
    allocations: old.allocations ?? [],
    expire_at: utc(old.expire_at),
    metadata: old.metadata ?? {},
    origins: old.origins ?? [],
    max_depth: old.max_depth ?? (mode === "direct" ? 0 : -1),
    reference: old.reference ?? null,
    timestamp: utc(old.timestamp) ?? EPOCH,
  });
}

function nameOf(value: string | number | null | undefined, names: Readonly<Record<string, string>>): string | null {
  if (value === null || value === undefined || value === "") return null;
  return names[String(value)] ?? String(value);
}

/** Puts a time of any zone into UTC; null for none and for Go's zero time. Text that is no time is left to be refused. */
function utc(time: string | null | undefined): string | null {
  if (time === null || time === undefined || time === "" || time === ZERO_TIME) return null;
  if (time.endsWith("Z")) return time;
  const ms = Date.parse(time);
  return Number.isNaN(ms) ? time : new Date(ms).toISOString().replace(".000Z", "Z");
}

/** Reads an old-format file pin by pin, in its own order, never holding more than one object. @throws FulaError FULA_SNAPSHOT_RECORD */
export async function* readLegacyPins(path: string, signal?: AbortSignal): AsyncGenerator<Pin> {
  let index = 0;
  const decoder = new TextDecoder("utf-8", { fatal: true });
  for await (const bytes of readJsonObjects(path, signal)) {
    index += 1;
    let pin: Pin;
    try {
      pin = toPin(JSON.parse(decoder.decode(bytes)));
    } catch (cause) {
      throw new FulaError("FULA_SNAPSHOT_RECORD", `Entry ${index} of ${path} is not a pin: ${messageOf(cause)}`, {
        cause,
      });
    }
    yield pin;
  }
}

const OPEN_BRACE = 0x7b;
const CLOSE_BRACE = 0x7d;
const OPEN_BRACKET = 0x5b;
const CLOSE_BRACKET = 0x5d;
const QUOTE = 0x22;
const BACKSLASH = 0x5c;
const COMMA = 0x2c;

/** Cuts a stream of concatenated JSON objects, or an array of them, into the bytes of each. @throws FulaError FULA_SNAPSHOT_RECORD */
async function* readJsonObjects(path: string, signal?: AbortSignal): AsyncGenerator<Buffer> {
  const cutter = new ObjectCutter(path);
  for await (const chunk of createReadStream(path, { highWaterMark: 256 * 1024 })) {
    signal?.throwIfAborted();
    // oxlint-disable-next-line typescript/no-unsafe-type-assertion -- a stream without an encoding gives buffers
    yield* cutter.add(chunk as Buffer);
  }
  cutter.finish();
}

class ObjectCutter {
  readonly #path: string;
  #parts: Buffer[] = [];
  #partBytes = 0;
  #depth = 0;
  #inString = false;
  #escaped = false;
  #offset = 0;
  /** What may come between objects. */
  #between: "start" | "stream" | "first" | "element" | "separator" | "end" = "start";

  constructor(path: string) {
    this.#path = path;
  }

  *add(chunk: Buffer): Generator<Buffer> {
    let start = this.#depth > 0 ? 0 : -1;
    for (let at = 0; at < chunk.length; at += 1) {
      const byte = chunk[at] ?? 0;
      if (this.#inString) {
        if (this.#escaped) this.#escaped = false;
        else if (byte === BACKSLASH) this.#escaped = true;
        else if (byte === QUOTE) this.#inString = false;
      } else if (this.#depth === 0) {
        if (this.#outside(byte, this.#offset + at)) start = at;
      } else if (byte === QUOTE) {
        this.#inString = true;
      } else if (byte === OPEN_BRACE || byte === OPEN_BRACKET) {
        this.#depth += 1;
      } else if (byte === CLOSE_BRACE || byte === CLOSE_BRACKET) {
        this.#depth -= 1;
        if (this.#depth > 0) continue;
        yield this.#take(chunk.subarray(start, at + 1));
        start = -1;
      }
    }
    this.#offset += chunk.length;
    if (start !== -1) this.#keep(chunk.subarray(start));
  }

  finish(): void {
    if (this.#depth > 0) throw this.#bad(this.#offset, "the file ends in the middle of a pin");
    if (this.#between !== "start" && this.#between !== "stream" && this.#between !== "end")
      throw this.#bad(this.#offset, "the list has no end");
  }

  /** Judges a byte outside of every object. @returns true where an object begins */
  #outside(byte: number, offset: number): boolean {
    if (byte === 0x20 || byte === 0x0a || byte === 0x0d || byte === 0x09) return false;
    const between = this.#between;
    if (byte === OPEN_BRACE && between !== "separator" && between !== "end") {
      this.#between = between === "start" || between === "stream" ? "stream" : "separator";
      this.#depth = 1;
      return true;
    }
    if (byte === OPEN_BRACKET && between === "start") this.#between = "first";
    else if (byte === COMMA && between === "separator") this.#between = "element";
    else if (byte === CLOSE_BRACKET && (between === "separator" || between === "first")) this.#between = "end";
    else throw this.#bad(offset, "something else than a pin stands there");
    return false;
  }

  #keep(part: Buffer): void {
    this.#parts.push(part);
    this.#partBytes += part.length;
    if (this.#partBytes > RECORD_BYTES_MAX)
      throw this.#bad(this.#offset, `a pin is longer than ${RECORD_BYTES_MAX} bytes`);
  }

  #take(end: Buffer): Buffer {
    this.#keep(end);
    const bytes = this.#parts.length === 1 ? end : Buffer.concat(this.#parts);
    this.#parts = [];
    this.#partBytes = 0;
    return bytes;
  }

  #bad(offset: number, what: string): FulaError {
    return new FulaError("FULA_SNAPSHOT_RECORD", `${this.#path} cannot be read at byte ${offset}: ${what}.`, {
      details: { path: this.#path, offset },
    });
  }
}
