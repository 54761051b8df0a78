import type { Lsn } from "../lsn.ts";
import type { RetainedHistory } from "../types.ts";
import type { PrimaryLook } from "./primary-look.ts";

/** The newest base backup of which one can go on, as the catalogue knows it. */
export interface KnownBackup {
  readonly endLsn: Lsn;
  /** Whether it is verified, signed, and of this lineage. */
  readonly isTrusted: boolean;
}

/** Archived WAL that this box can read, and a server of it too. */
export interface WalArchive {
  /**
   * The oldest position from which the archive reaches up to another without a hole, proven by listing it.
   * @param timeline on whose history
   * @returns null where it does not reach there, or is another server's
   */
  reachesBackFrom(lsn: Lsn, timeline: number, systemId: string): Promise<Lsn | null>;
  /** Of the first `bytes` of a segment, in hex; null where the archive does not have so much of it. */
  digest(name: string, bytes: number): Promise<string | null>;
}

/**
 * The primary's account of what it still has: in its directory, before that in an archive that reaches up to it, and the
 * newest backup.
 */
export async function retainedHistory(
  primary: PrimaryLook,
  archive: WalArchive | null,
  backup: KnownBackup | null,
): Promise<RetainedHistory> {
  const { headLsn, committedLsn, tailLsn, timeline, systemId } = primary;
  const archived = (await archive?.reachesBackFrom(tailLsn, timeline, systemId)) ?? tailLsn;
  return {
    headLsn,
    tailLsn: archived < tailLsn ? archived : tailLsn,
    committedLsn,
    checkpointLsn: backup?.endLsn ?? 0n,
    checkpointTrusted: backup?.isTrusted ?? false,
  };
}
