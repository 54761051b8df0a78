import type { SiteSession } from "../../runtime/postgres-site.ts";
import type { LineageRelation } from "../lineage.ts";
import { formatLsn, type Lsn, segmentOf, segmentStart } from "../lsn.ts";
import type { RewindReadiness } from "../types.ts";
import { stretchesOf } from "./lineage-facts.ts";
import type { NodeData } from "./node-look.ts";
import type { PrimaryLook } from "./primary-look.ts";
import { findCheckpointBefore } from "./wal-end.ts";
import { oldestKept } from "./wal-inventory.ts";
import type { StretchMatch } from "./wal-match.ts";

/** Where a replica's history leaves the primary's; null where it does not. */
export function forkOf(lineage: LineageRelation): Lsn | null {
  if (lineage.kind === "ahead") return lineage.forkLsn;
  return lineage.kind === "forked" ? lineage.ancestorLsn : null;
}

/**
 * What speaks against a rewind before the replica's own WAL is looked at; null where nothing does. `pg_rewind` takes each
 * timeline that both histories name for common: where one is not, it would leave the replica's own changes of it in place.
 */
function rewindRefusal(data: NodeData, primary: PrimaryLook, matches: readonly StretchMatch[]): string | null {
  const mistaken = matches.find(({ match }) => match !== "same");
  if (mistaken !== undefined) return `both have a timeline ${mistaken.timeline}, and it is not the same one`;
  const { hasChecksums, walLogHints } = data.control;
  if (primary.stretches[0]?.timeline !== 1) return "the primary has lost the history of its timeline";
  if (data.end.timeline === primary.timeline) return `both are on timeline ${primary.timeline}`;
  if (!hasChecksums && !walLogHints) return "the replica has neither page checksums nor wal_log_hints";
  if (!primary.fullPageWrites) return "the primary has full_page_writes off";
  if (!primary.mayBeRewoundFrom) return "this box's role may not read the primary's files";
  return null;
}

/**
 * Finds out whether a replica can be rewound, and from where its WAL would have to be replayed then: every prerequisite is
 * proven, for a rewind that fails midway leaves nothing that could be used.
 * @throws FulaError FULA_RECOVERY_STEP
 */
export async function proveRewind(
  session: SiteSession,
  data: NodeData,
  primary: PrimaryLook,
  { forkLsn, matches }: { readonly forkLsn: Lsn; readonly matches: readonly StretchMatch[] },
  signal: AbortSignal,
): Promise<RewindReadiness> {
  const refusal = rewindRefusal(data, primary, matches);
  if (refusal !== null) return { possible: false, because: refusal };
  const { wal, end } = data;
  const stretches = stretchesOf(data, primary);
  const fromLsn = await findCheckpointBefore(session, wal, stretches, forkLsn, signal);
  if (fromLsn === null) {
    return { possible: false, because: `its WAL has no checkpoint before ${formatLsn(forkLsn)} any more` };
  }
  // All that it changed since has to be found again.
  const oldest = oldestKept(wal.files, stretches, end.lsn, wal.segmentBytes);
  if (oldest > segmentStart(segmentOf(fromLsn, wal.segmentBytes), wal.segmentBytes)) {
    return { possible: false, because: `its WAL between ${formatLsn(fromLsn)} and ${formatLsn(oldest)} is gone` };
  }
  return { possible: true, fromLsn };
}
