import type { Session } from "../../postgres/session.ts";
import type { SiteSession } from "../../runtime/postgres-site.ts";
import { type Lsn, segmentOf, segmentStart, walFileName } from "../lsn.ts";
import { askOne } from "./ledger-server.ts";
import { runScript } from "./site-files.ts";
import { endOfStretch, stretchAt, type TimelineStretch } from "../timeline-history.ts";
import type { WalArchive } from "./archived-wal.ts";
import { fileOfSegment } from "./wal-inventory.ts";
import type { WalOnDisk } from "./wal-end.ts";

/** `unknown`: one of the two does not have that WAL any more. */
export type WalMatch = "same" | "different" | "unknown";

/** A stretch that two histories call the same, and whether what was written there is. */
export interface StretchMatch extends TimelineStretch {
  readonly match: WalMatch;
  /** Up to where both have it. */
  readonly upToLsn: Lsn;
}

/** Whose WAL is compared. */
export interface ComparedSides {
  readonly node: {
    readonly files: SiteSession;
    readonly wal: Pick<WalOnDisk, "dataDir" | "files" | "segmentBytes">;
    readonly stretches: readonly TimelineStretch[];
    readonly endLsn: Lsn;
  };
  readonly primary: {
    readonly session: Session;
    readonly stretches: readonly TimelineStretch[];
    readonly headLsn: Lsn;
  };
  readonly archive: Pick<WalArchive, "digest"> | null;
}

const DIGEST_TIMEOUT_MS = 60_000;
const NODE_DIGEST = 'head -c "$2" "$1/pg_wal/$3" | sha256sum';

/** The stretches at the beginning of both histories that have the same timelines and began at the same positions. */
export function commonStretches(
  one: readonly TimelineStretch[],
  other: readonly TimelineStretch[],
): readonly TimelineStretch[] {
  const common: TimelineStretch[] = [];
  for (const [index, stretch] of one.entries()) {
    const { timeline, beganAtLsn } = other[index] ?? {};
    if (timeline !== stretch.timeline || beganAtLsn !== stretch.beganAtLsn) break;
    common.push(stretch);
  }
  return common;
}

/**
 * Finds out on which of the stretches that both histories name the same was written: two standbys that are promoted apart
 * from one another begin the same timeline at the same position, and only what they wrote tells them apart. Bytes of WAL are
 * compared, just before the position up to which both have the stretch: each record has the checksum of itself and the
 * position of the one before, so that an equal end has an equal beginning.
 * @returns the common stretches, the oldest first; what lies before one that is the same was not looked at, and is the same
 * @throws FulaError FULA_RECOVERY_STEP, FULA_DATABASE_UNREACHABLE
 */
export async function matchStretches(sides: ComparedSides, signal: AbortSignal): Promise<readonly StretchMatch[]> {
  const { node, primary } = sides;
  const common = commonStretches(node.stretches, primary.stretches);
  const found: StretchMatch[] = [];
  for (const stretch of common.toReversed()) {
    const isSettled = found.at(-1)?.match === "same";
    const upToLsn = [
      endOfStretch(node.stretches, stretch.timeline) ?? node.endLsn,
      endOfStretch(primary.stretches, stretch.timeline) ?? primary.headLsn,
    ].reduce((lowest, lsn) => (lsn < lowest ? lsn : lowest));
    const match = isSettled ? "same" : await compareBelow(sides, stretch, upToLsn, signal);
    found.push({ ...stretch, match, upToLsn });
  }
  return found.toReversed();
}

/** Nothing written on a stretch is the same on both sides. */
async function compareBelow(
  sides: ComparedSides,
  { timeline, beganAtLsn }: TimelineStretch,
  upToLsn: Lsn,
  signal: AbortSignal,
): Promise<WalMatch> {
  if (upToLsn <= beganAtLsn) return "same";
  const { node, primary, archive } = sides;
  const { segmentBytes } = node.wal;
  const segment = segmentOf(upToLsn - 1n, segmentBytes);
  const bytes = Number(upToLsn - segmentStart(segment, segmentBytes));
  // The segment in which a timeline begins may be there under its name, or under that of the one before.
  const namesFor = (stretches: readonly TimelineStretch[]): readonly string[] => [
    fileOfSegment(stretches, segment, segmentBytes),
    walFileName(stretchAt(stretches, upToLsn)?.timeline ?? timeline, segmentStart(segment, segmentBytes), segmentBytes),
  ];
  const ours = await firstOf(namesFor(node.stretches), async (name) =>
    node.wal.files.has(name) ? await digestAtNode(node.files, node.wal.dataDir, name, bytes, signal) : null,
  );
  const theirNames = namesFor(primary.stretches);
  const theirs =
    (await firstOf(theirNames, async (name) => await digestAtPrimary(primary.session, name, bytes))) ??
    (archive === null ? null : await firstOf(theirNames, async (name) => await archive.digest(name, bytes)));
  if (ours === null || theirs === null) return "unknown";
  return ours === theirs ? "same" : "different";
}

async function firstOf(
  names: readonly string[],
  ask: (name: string) => Promise<string | null>,
): Promise<string | null> {
  for (const name of names) {
    const answer = await ask(name);
    if (answer !== null) return answer;
  }
  return null;
}

async function digestAtNode(
  files: SiteSession,
  dataDir: string,
  name: string,
  bytes: number,
  signal: AbortSignal,
): Promise<string> {
  const args = [dataDir, String(bytes), name];
  const text = await runScript(files, `read ${name}`, NODE_DIGEST, args, { signal, timeoutMs: DIGEST_TIMEOUT_MS });
  return text.trim().split(" ")[0] ?? "";
}

/** SHA-256 of the first `bytes` of a segment in the primary's directory, in hex; null where it does not have so much of it. */
export async function digestAtPrimary(session: Session, name: string, bytes: number): Promise<string | null> {
  const { digest } = await askOne<{ digest: string | null }>(session, {
    name: "recovery_wal_digest",
    text: `
      select case when length(content) = $2::int then encode(sha256(content), 'hex') end as digest
        from pg_read_binary_file($1, 0, $2::int, true) as content`,
    values: [`pg_wal/${name}`, bytes],
  });
  return digest;
}
