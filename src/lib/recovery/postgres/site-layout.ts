import { posix } from "node:path";
import { type PostgresSite, RECOVERY_MARKER } from "../../runtime/postgres-site.ts";
import type { SessionId } from "../types.ts";

/**
 * What lies beside a data directory, never in it: a base backup and a rewind copy a data directory with everything that is
 * in it, and then one box would take itself for another.
 */
export interface SiteLayout {
  /** Settings of this box's role. */
  readonly nodeConf: string;
  /** The highest epoch that this box has seen. */
  readonly epochFloor: string;
  /** Stands while a data directory is rewritten. */
  readonly marker: string;
  /** WAL that was taken out of the data directory by a session. */
  quarantine(session: SessionId): string;
  /** What of a diverged history was kept, by the number of the epoch that superseded it. */
  salvage(epochNumber: bigint): string;
  /** A data directory that is being made by a session. */
  newData(session: SessionId): string;
  /** Archived WAL on its way into the data directory, by a session. */
  newWal(session: SessionId): string;
  /** The data directory that a session's new one replaced. */
  oldData(session: SessionId): string;
}

/** The places of a site, as its programs see them. */
export function siteLayout({ rootDir }: Pick<PostgresSite, "rootDir">): SiteLayout {
  const at = (...parts: readonly string[]): string => posix.join(rootDir, ...parts);
  return {
    nodeConf: at("node.conf"),
    epochFloor: at("epoch.json"),
    marker: at(RECOVERY_MARKER),
    quarantine: (session) => at("quarantine", String(session)),
    salvage: (epochNumber) => at("salvage", String(epochNumber)),
    newData: (session) => at(`data.new.${session}`),
    newWal: (session) => at(`wal.new.${session}`),
    oldData: (session) => at(`data.old.${session}`),
  };
}
