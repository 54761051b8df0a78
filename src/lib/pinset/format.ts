import { basename, dirname, join } from "node:path";
import { z } from "zod";
import { formatUtc } from "../kernel/clock.ts";
import { FulaError } from "../kernel/errors.ts";
import { canonicalJson } from "./canonical.ts";

/** What the manifest of a snapshot calls itself; docs/snapshot-format.md describes every field. */
export const SNAPSHOT_FORMAT = "fula-master/pinset-snapshot";
export const SNAPSHOT_FORMAT_VERSION = 1;

/** A manifest has under 1 KiB; whatever is longer is none. */
export const MANIFEST_BYTES_MAX = 64 * 1024;

/** The longest record line, newline included. Cluster metadata is small; a reader never holds more than this of one line. */
export const RECORD_BYTES_MAX = 1024 * 1024;

const sha256Hex = z.string().regex(/^[0-9a-f]{64}$/);
const count = z.int().nonnegative();

const manifestSchema = z.strictObject({
  format: z.literal(SNAPSHOT_FORMAT),
  formatVersion: z.literal(SNAPSHOT_FORMAT_VERSION),
  tool: z.string().regex(/^[ -~]{1,200}$/),
  clusterId: z.string().regex(/^[!-~]{1,200}$/),
  nodeKeyId: z.string().regex(/^ed25519:[0-9a-f]{64}$/),
  sequence: z.int().positive(),
  time: z.string().regex(/^\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}Z$/),
  previousManifestSha256: sha256Hex.nullable(),
  pinCount: count,
  streamBytes: count,
  sha256: sha256Hex,
  blake3: sha256Hex,
  file: z.string().regex(/^pinset-\d{8}T\d{6}Z\.jsonl\.zst$/),
  fileBytes: count,
  fileSha256: sha256Hex,
});

/** What is signed: everything that a snapshot claims about itself. Digests are lower-case hex. */
export interface SnapshotManifest {
  readonly format: typeof SNAPSHOT_FORMAT;
  readonly formatVersion: typeof SNAPSHOT_FORMAT_VERSION;
  /** Program and version that wrote it. */
  readonly tool: string;
  /** Names the pinset; a snapshot of one must not be taken for a snapshot of another. */
  readonly clusterId: string;
  /** `ed25519:<hex of the raw public key>` of the signer. */
  readonly nodeKeyId: string;
  /** Grows with every snapshot of this box and is never given twice; gaps are allowed. */
  readonly sequence: number;
  /** When it was taken; RFC 3339 UTC, whole seconds. The file is named after it. */
  readonly time: string;
  /** SHA-256 of the previous manifest's bytes; null for the first. */
  readonly previousManifestSha256: string | null;
  readonly pinCount: number;
  /** Size, SHA-256 and BLAKE3 of the uncompressed lines. */
  readonly streamBytes: number;
  readonly sha256: string;
  readonly blake3: string;
  /** Name, size and SHA-256 of the compressed file, so that it can be checked before anything is decompressed. */
  readonly file: string;
  readonly fileBytes: number;
  readonly fileSha256: string;
}

/** The files of one snapshot. The manifest appears last: without it there is no snapshot. */
export interface SnapshotFiles {
  /** `pinset-<YYYYMMDDTHHMMSSZ>` */
  readonly name: string;
  readonly data: string;
  readonly manifest: string;
  readonly signature: string;
  readonly minisign: string;
}

const NAME = /^pinset-(\d{8}T\d{6}Z)$/;

/** Paths of the snapshot called `name` in `dir`. */
export function snapshotFiles(dir: string, name: string): SnapshotFiles {
  const manifest = join(dir, `${name}.json`);
  return {
    name,
    data: join(dir, `${name}.jsonl.zst`),
    manifest,
    signature: `${manifest}.sig`,
    minisign: `${manifest}.minisig`,
  };
}

/** The name of a snapshot taken at a time: `pinset-20261120T030000Z`. */
export function snapshotName(timeMs: number): string {
  return `pinset-${formatUtc(timeMs).replaceAll(/[-:]/g, "")}`;
}

/** When a snapshot was taken, as its name says; null where the name is not one. */
export function timeOfName(name: string): number | null {
  const stamp = NAME.exec(name)?.[1];
  if (stamp === undefined) return null;
  const iso = stamp.replace(/^(\d{4})(\d\d)(\d\d)T(\d\d)(\d\d)(\d\d)Z$/, "$1-$2-$3T$4:$5:$6Z");
  const ms = Date.parse(iso);
  return Number.isNaN(ms) || formatUtc(ms) !== iso ? null : ms;
}

/** Finds all files of a snapshot from the path of any one of them, or from its name without an ending. */
export function filesOf(path: string): SnapshotFiles {
  const name = basename(path).replace(/(\.jsonl\.zst|\.json\.sig|\.json\.minisig|\.json)$/, "");
  return snapshotFiles(dirname(path), name);
}

/** The exact bytes that are signed: RFC 8785, no newline at the end. */
export function renderManifest(manifest: SnapshotManifest): string {
  return canonicalJson(manifest);
}

/**
 * Reads a manifest and insists on its one canonical form, so that two different files can never say the same.
 * @throws FulaError FULA_SNAPSHOT_MANIFEST
 */
export function parseManifest(bytes: Uint8Array): SnapshotManifest {
  let value: unknown;
  try {
    value = JSON.parse(new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes));
  } catch (cause) {
    throw badManifest("it is not JSON in UTF-8", cause);
  }
  const version = z.object({ formatVersion: z.int() }).safeParse(value);
  if (version.success && version.data.formatVersion > SNAPSHOT_FORMAT_VERSION) {
    throw badManifest(
      `it has format version ${version.data.formatVersion}, this build reads version ${SNAPSHOT_FORMAT_VERSION}`,
    );
  }
  const parsed = manifestSchema.safeParse(value);
  if (!parsed.success) {
    const issue = parsed.error.issues[0];
    throw badManifest(
      `${issue?.path.join(".") || "the document"}: ${issue?.message ?? "not a manifest"}`,
      parsed.error,
    );
  }
  if (!Buffer.from(renderManifest(parsed.data)).equals(bytes)) throw badManifest("it is not in canonical form");
  if (!isTime(parsed.data.time)) throw badManifest(`there is no time ${parsed.data.time}`);
  return parsed.data;
}

function isTime(time: string): boolean {
  const ms = Date.parse(time);
  return !Number.isNaN(ms) && formatUtc(ms) === time;
}

function badManifest(what: string, cause?: unknown): FulaError {
  return new FulaError("FULA_SNAPSHOT_MANIFEST", `The manifest is not one that fula-master wrote: ${what}.`, { cause });
}
