import { createHash } from "node:crypto";
import { z } from "zod";
import { FulaError } from "../../kernel/errors.ts";
import { formatLsn, type Lsn, parseLsn } from "../lsn.ts";

/** WAL that a backup needs to become consistent. */
export interface WalRange {
  readonly timeline: number;
  readonly startLsn: Lsn;
  readonly endLsn: Lsn;
}

/** What PostgreSQL says is in a base backup. */
export interface BackupManifest {
  /** Size and SHA-256, in lower-case hex, by path; pg_wal is left out, the ranges stand for it. */
  readonly files: ReadonlyMap<string, { readonly bytes: number; readonly sha256: string }>;
  readonly walRanges: readonly WalRange[];
}

// https://www.postgresql.org/docs/current/backup-manifest-toplevel.html; later versions added fields.
const schema = z.object({
  "PostgreSQL-Backup-Manifest-Version": z.union([z.literal(1), z.literal(2)]),
  Files: z.array(
    z.object({
      Path: z.string().optional(),
      "Encoded-Path": z.string().optional(),
      Size: z.int().nonnegative(),
      "Checksum-Algorithm": z.literal("SHA256"),
      Checksum: z.string().regex(/^[0-9a-f]{64}$/),
    }),
  ),
  "WAL-Ranges": z
    .array(z.object({ Timeline: z.int().positive(), "Start-LSN": z.string(), "End-LSN": z.string() }))
    .min(1),
  "Manifest-Checksum": z.string().regex(/^[0-9a-f]{64}$/),
});

function damaged(what: string, cause?: unknown): FulaError {
  return new FulaError("FULA_BASE_BACKUP_DAMAGED", `The backup_manifest cannot be used: ${what}.`, {
    cause,
    hint: "fula-master backup list shows the other backups; take a new one with fula-master backup create.",
  });
}

/**
 * Reads a backup_manifest and checks it against the checksum that it ends with.
 * @throws FulaError FULA_BASE_BACKUP_DAMAGED
 */
export function parseBackupManifest(bytes: Buffer): BackupManifest {
  let parsed: z.infer<typeof schema>;
  try {
    parsed = schema.parse(JSON.parse(bytes.toString("utf8")));
  } catch (cause) {
    throw damaged("it is not one that this version knows", cause);
  }
  // The checksum is that of everything before its own line.
  const covered = bytes.lastIndexOf('"Manifest-Checksum"');
  const sha256 = createHash("sha256").update(bytes.subarray(0, covered)).digest("hex");
  if (sha256 !== parsed["Manifest-Checksum"]) throw damaged("its checksum is not that of its text");
  const files = new Map<string, { readonly bytes: number; readonly sha256: string }>();
  for (const file of parsed.Files) {
    const path = file.Path ?? Buffer.from(file["Encoded-Path"] ?? "", "hex").toString("latin1");
    if (path === "" || files.has(path)) throw damaged("it names a file twice, or one without a name");
    files.set(path, { bytes: file.Size, sha256: file.Checksum });
  }
  const walRanges = parsed["WAL-Ranges"].map((range) => ({
    timeline: range.Timeline,
    startLsn: parseLsn(range["Start-LSN"]),
    endLsn: parseLsn(range["End-LSN"]),
  }));
  return { files, walRanges };
}

/** Renders a range for messages: `0/2000028-0/2000100 on timeline 1`. */
export function formatWalRange({ timeline, startLsn, endLsn }: WalRange): string {
  return `${formatLsn(startLsn)}-${formatLsn(endLsn)} on timeline ${timeline}`;
}
