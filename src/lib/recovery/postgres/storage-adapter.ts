import type { Pin, StorageAdapter } from "../adapters.ts";
import type { Lsn } from "../lsn.ts";
import type { RetainedHistory, SessionId } from "../types.ts";
import type { PrimaryLink } from "./primary-link.ts";
import { lookAtPrimary } from "./primary-look.ts";
import { proveArchive, type WalArchive } from "./archived-wal.ts";
import { type KnownBackup, retainedHistory } from "./retained.ts";
import { pinBaseBySlot, pinWalBySlot, type SlotLink } from "./slots.ts";

/** What the engine's view of a primary rests on. */
export interface StorageParts {
  readonly primary: Pick<PrimaryLink, "connect">;
  /** The replica's slot at the primary. */
  readonly slot: string;
  readonly syncNeeded: number;
  /** What this box can read of archived WAL; null where there is none. */
  readonly archive: WalArchive | null;
  readonly newestBackup: () => Promise<KnownBackup | null>;
  /** Keeps the backup that ends there from being pruned. */
  readonly pinBackup: (endLsn: Lsn, sessionId: SessionId) => Promise<Pin>;
}

/** A primary of PostgreSQL as the engine sees it: what it still has, and slots and files that make it keep that. */
export class PostgresStorage implements StorageAdapter {
  readonly #parts: StorageParts;

  constructor(parts: StorageParts) {
    this.#parts = parts;
  }

  readonly #link: SlotLink = async () => await this.#parts.primary.connect();

  async getRetainedHistory(): Promise<RetainedHistory> {
    const { primary, slot, syncNeeded, archive, newestBackup } = this.#parts;
    await using session = await primary.connect();
    const look = await lookAtPrimary(session, slot, syncNeeded);
    const archived = await proveArchive(session, look, archive);
    return retainedHistory(look, archived, await newestBackup());
  }

  async pinWal(startExclusive: Lsn, sessionId: SessionId): Promise<Pin> {
    const { primary, slot, syncNeeded, archive } = this.#parts;
    await using session = await primary.connect();
    const look = await lookAtPrimary(session, slot, syncNeeded);
    const archived = await proveArchive(session, look, archive);
    // What the archive has need not be held: whoever streams brings it from there.
    const isArchived = archived !== null && archived.tailLsn <= startExclusive && archived.upToLsn > startExclusive;
    const elsewhere = isArchived ? { elsewhereUpTo: { lsn: archived.upToLsn, segmentBytes: look.segmentBytes } } : {};
    return await pinWalBySlot(this.#link, { startLsn: startExclusive, ...elsewhere }, sessionId);
  }

  async pinSnapshot(checkpointLsn: Lsn, sessionId: SessionId): Promise<Pin> {
    return await this.#parts.pinBackup(checkpointLsn, sessionId);
  }

  async pinFullBase(_committedLsn: Lsn, sessionId: SessionId): Promise<Pin> {
    return await pinBaseBySlot(this.#link, sessionId);
  }
}
