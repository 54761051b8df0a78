import { FulaError } from "../../kernel/errors.ts";
import type { SiteSession } from "../../runtime/postgres-site.ts";
import { type Epoch, relateEpoch } from "../epoch.ts";
import { formatLsn, type Lsn } from "../lsn.ts";
import { endOfStretch, stretchAt } from "../timeline-history.ts";
import { proveArchive } from "./archived-wal.ts";
import { readNodeFiles } from "./node-files.ts";
import { lookAtPrimary, type PrimaryLook } from "./primary-look.ts";
import type { ReplicaWork } from "./replica-work.ts";
import { matchStretches } from "./wal-match.ts";

/** Where a base backup ends, and the newest epoch that its server had when it began; null for none. */
export interface BackupPosition {
  readonly timeline: number;
  readonly endLsn: Lsn;
  readonly epoch: Epoch | null;
}

/**
 * Whether a base backup is of the primary's history, by what is signed of it: its end lies on a timeline of that, and its
 * epoch is one of the primary's, by number and UUID. Two servers that were promoted apart count the same timeline, and
 * the first row of each is its own epoch: so a backup of a timeline that an epoch began has at least that one.
 */
export function isOfPrimary(
  { timeline, endLsn, epoch }: BackupPosition,
  { stretches, epochRows }: Pick<PrimaryLook, "stretches" | "epochRows">,
): boolean {
  if (stretches.every((stretch) => stretch.timeline !== timeline)) return false;
  const end = endOfStretch(stretches, timeline);
  if (end !== null && endLsn > end) return false;
  if (epoch !== null && !epochRows.some((row) => relateEpoch(row, epoch) === "same")) return false;
  // The first epoch was given to a server that had its timeline already; every other timeline was begun by an epoch.
  const oldest = epochRows.findLast((row) => row.timeline === timeline);
  if (oldest === undefined || oldest === epochRows.at(-1)) return true;
  return epoch !== null && epoch.number >= oldest.number;
}

/**
 * Holds the log that a backup ends with against the primary's: equal bytes have an equal history before them. What was signed
 * of a backup does not tell two servers of one epoch apart, as a copy of a disk that went on by itself.
 * @param dir where the backup was unpacked
 * @throws FulaError FULA_RECOVERY_STEP where they differ, or nobody has that log any more
 */
export async function assertPrimaryHistory(
  { following, archive }: ReplicaWork,
  files: SiteSession,
  dir: string,
  endLsn: Lsn,
  signal: AbortSignal,
): Promise<void> {
  await using session = await following.primary.connect();
  const primary = await lookAtPrimary(session, following.slot, 0);
  const proven = await proveArchive(session, primary, archive);
  const { stretches, segmentBytes, headLsn } = primary;
  const last = stretchAt(stretches, endLsn);
  const led = stretches.slice(0, stretches.findIndex(({ timeline }) => timeline === last?.timeline) + 1);
  const segments = (await readNodeFiles(files, dir, signal))?.segments ?? new Set<string>();
  const matches = await matchStretches(
    {
      node: { files, wal: { dataDir: dir, files: segments, segmentBytes }, stretches: led, endLsn },
      primary: { session, stretches, headLsn },
      archive: proven === null ? null : archive,
    },
    signal,
  );
  const match = endLsn > headLsn ? "different" : matches.at(-1)?.match;
  if (match === "same") return;
  throw new FulaError(
    "FULA_RECOVERY_STEP",
    match === "different"
      ? `The base backup that ends at ${formatLsn(endLsn)} is of another history than ${following.primary.node} has.`
      : `Whether the base backup that ends at ${formatLsn(endLsn)} is of the history of ${following.primary.node} cannot be proven: that log is gone.`,
    { hint: "the resync goes on with a new copy; afterwards take a base backup: fula-master backup create" },
  );
}
