import { isUtf8 } from "node:buffer";
import { parsePin } from "../cluster/pin-schema.ts";
import type { Pin } from "../cluster/pins.ts";
import { isFulaError, messageOf } from "../kernel/errors.ts";
import { canonicalJson, canonicalPin } from "./canonical.ts";
import { RECORD_BYTES_MAX } from "./format.ts";
import type { SnapshotProblem } from "./manifest-check.ts";

/** CIDs are compared and written as they are, so they must be plain ASCII that JSON does not escape. */
const CID_TEXT = /^[!#-[\]-~]{1,512}$/;

// One record in the only form that it may have (RFC 8785, keys in this order). What it does not match is not
// necessarily wrong: that is decided by parsing it. It exists because parsing a million records takes five times as long.
const STRING = String.raw`"[^"\\\x00-\x1f]*(?:\\(?:["\\bfnrt]|u00(?:0[0-7be-f]|1[0-9a-f]))[^"\\\x00-\x1f]*)*"`;
const LIST = String.raw`\[(?:${STRING}(?:,${STRING})*)?\]`;
const MAP = String.raw`\{(?:${STRING}:${STRING}(?:,${STRING}:${STRING})*)?\}`;
const TIME = String.raw`"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d{1,9})?Z"`;
const FACTOR = String.raw`(?:-1|0|[1-9]\d{0,3})`;
const RECORD = new RegExp(
  String.raw`\{"allocations":${LIST},"cid":"([!#-\[\]-~]{1,512})","expire_at":(?:null|${TIME})` +
    String.raw`,"max_depth":(?:-1|0|[1-9]\d{0,8}),"metadata":(${MAP}),"mode":"(?:recursive|direct)","name":${STRING}` +
    String.raw`,"origins":${LIST},"reference":(?:null|${STRING}),"replication_factor_max":${FACTOR}` +
    String.raw`,"replication_factor_min":${FACTOR},"shard_size":(?:0|[1-9]\d{0,14}),"timestamp":${TIME}` +
    String.raw`,"type":"(?:pin|meta-pin|clusterdag-pin|shard-pin)","user_allocations":${LIST}\}\n`,
  "y",
);

/** Problems of one kind that are told one by one; the rest is counted. */
const TOLD_MAX = 10;

/** Reads one line as a record. @throws Error that says why it is none */
export function parseRecord(line: Uint8Array): Pin {
  const text = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(line);
  const pin = parsePin(JSON.parse(text));
  if (!CID_TEXT.test(pin.cid)) throw new Error("its CID has characters that no CID has");
  if (canonicalPin(pin) !== text) throw new Error("it is not in canonical form");
  return pin;
}

/**
 * Checks the lines of a snapshot as they pass: each a record in canonical form, in strictly ascending order. Never
 * holds more than one line beside the chunk that it is given.
 */
export class RecordCheck {
  /** Lines so far. */
  count = 0;
  readonly #problems: SnapshotProblem[] = [];
  readonly #told = new Map<SnapshotProblem["code"], number>();
  #carry: Buffer = Buffer.alloc(0);
  #previous = "";
  #lost = false;

  /** What was wrong so far. */
  get problems(): readonly SnapshotProblem[] {
    return this.#problems;
  }

  /** Takes the next bytes of the stream; they may be used again afterwards. */
  add(chunk: Buffer): void {
    if (this.#lost) return;
    const bytes = this.#carry.length === 0 ? chunk : Buffer.concat([this.#carry, chunk]);
    const end = bytes.lastIndexOf(0x0a) + 1;
    const lines = bytes.subarray(0, end);
    // One byte a character: the forms that matter are ASCII, and strings of this kind take half the memory.
    this.#checkLines(lines.toString("latin1"), isUtf8(lines));
    this.#carry = Buffer.from(bytes.subarray(end));
    if (this.#carry.length >= RECORD_BYTES_MAX) this.#loseTrack();
  }

  /** Tells what was wrong, once the stream has ended. */
  finish(): readonly SnapshotProblem[] {
    if (this.#carry.length > 0 && !this.#lost) {
      this.#tell("FULA_SNAPSHOT_RECORD", `Line ${this.count + 1} has no end.`);
    }
    for (const [code, times] of this.#told) {
      if (times <= TOLD_MAX) continue;
      this.#problems.push({
        code,
        message: `And ${times - TOLD_MAX} more lines like these.`,
      });
    }
    return this.#problems;
  }

  #checkLines(text: string, isAllUtf8: boolean): void {
    for (let start = 0; start < text.length; ) {
      RECORD.lastIndex = start;
      const match = isAllUtf8 ? RECORD.exec(text) : null;
      const cid = match?.[1];
      const metadata = match?.[2];
      const isShort = RECORD.lastIndex - start <= RECORD_BYTES_MAX;
      if (cid !== undefined && metadata !== undefined && isShort && isCanonicalMap(metadata)) {
        this.#pass(cid);
        start = RECORD.lastIndex;
        continue;
      }
      const newline = text.indexOf("\n", start);
      this.#parse(text.slice(start, newline));
      start = newline + 1;
    }
  }

  #parse(line: string): void {
    if (line.length >= RECORD_BYTES_MAX) {
      this.count += 1;
      this.#tell("FULA_SNAPSHOT_RECORD", `Line ${this.count} is longer than ${RECORD_BYTES_MAX} bytes.`);
      return;
    }
    try {
      this.#pass(parseRecord(Buffer.from(line, "latin1")).cid);
    } catch (error) {
      this.count += 1;
      const why = isFulaError(error) || error instanceof Error ? error.message : messageOf(error);
      this.#tell("FULA_SNAPSHOT_RECORD", `Line ${this.count} is not a record: ${why}${why.endsWith(".") ? "" : "."}`);
    }
  }

  #pass(cid: string): void {
    this.count += 1;
    if (cid <= this.#previous) {
      const how = cid === this.#previous ? "is there twice" : `comes after ${this.#previous}`;
      this.#tell("FULA_SNAPSHOT_ORDER", `Line ${this.count}: ${cid} ${how}.`);
    }
    this.#previous = cid;
  }

  #loseTrack(): void {
    this.#lost = true;
    this.#carry = Buffer.alloc(0);
    this.#tell(
      "FULA_SNAPSHOT_RECORD",
      `Line ${this.count + 1} is longer than ${RECORD_BYTES_MAX} bytes; the rest was not read.`,
    );
  }

  #tell(code: SnapshotProblem["code"], message: string): void {
    const times = (this.#told.get(code) ?? 0) + 1;
    this.#told.set(code, times);
    if (times <= TOLD_MAX) this.#problems.push({ code, message });
  }
}

/** True where the keys of a flat map are in canonical order; one key always is. */
function isCanonicalMap(latin1: string): boolean {
  if (!latin1.includes('","')) return true;
  try {
    const text = Buffer.from(latin1, "latin1").toString("utf8");
    return canonicalJson(JSON.parse(text)) === text;
  } catch {
    return false;
  }
}
