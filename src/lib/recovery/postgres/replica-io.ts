import { messageOf } from "../../kernel/errors.ts";
import type { CatchUpIO, RebuildIO } from "../adapters.ts";
import type { Lsn } from "../lsn.ts";
import { copyPrimary } from "./full-base.ts";
import { readMarker } from "./marker.ts";
import type { ReplicaWork } from "./replica-work.ts";
import { rewindData } from "./rewind.ts";
import { salvageTail } from "./salvage.ts";
import { type BackupShelf, restoreBackup } from "./snapshot-tail.ts";
import { streamWal } from "./stream-wal.ts";
import { giveBack, takeServer } from "./take-server.ts";
import { truncateWal } from "./truncate.ts";

/** What the executors of the engine do at a server of PostgreSQL. */
export class PostgresReplica implements CatchUpIO, RebuildIO {
  readonly #work: () => ReplicaWork;
  readonly #shelf: BackupShelf;
  #isTailKept = true;

  /** @param work the session's, as it is at the time of a step: one rung after another may have sessions of its own */
  constructor(work: () => ReplicaWork, shelf: BackupShelf) {
    this.#work = work;
    this.#shelf = shelf;
  }

  /** False where the old data are all that is left of what this server alone had: they are not to be removed. */
  get mayDiscardOldData(): boolean {
    return this.#isTailKept;
  }

  streamWal(startExclusive: Lsn, endInclusive: Lsn, signal: AbortSignal): AsyncIterable<Lsn> {
    return streamWal(this.#work(), startExclusive, endInclusive, signal);
  }

  async truncate(lsn: Lsn, signal: AbortSignal): Promise<void> {
    await truncateWal(this.#work(), lsn, signal);
  }

  async rewind(fromLsn: Lsn, signal: AbortSignal): Promise<Lsn> {
    return await rewindData(this.#work(), fromLsn, signal);
  }

  async transferSnapshot(snapshotLsn: Lsn, signal: AbortSignal): Promise<Lsn> {
    await this.#keepTail(signal);
    return await restoreBackup(this.#work(), this.#shelf, snapshotLsn, signal);
  }

  async transferFullBase(_committedLsn: Lsn, signal: AbortSignal): Promise<Lsn> {
    await this.#keepTail(signal);
    return await copyPrimary(this.#work(), signal);
  }

  /** Data that do not recover cannot be asked any more; they are kept as a whole then. */
  async #keepTail(signal: AbortSignal): Promise<void> {
    const work = this.#work();
    const { server, tail } = work;
    await using files = await server.site.open(signal);
    if (tail === null) {
      this.#isTailKept &&= (await readMarker(files, server.site))?.phase !== "write";
      return;
    }
    try {
      // Of what is half rewritten nothing can be asked that could be trusted.
      const isHalf = await takeServer(work, files, "full_base");
      this.#isTailKept = !isHalf && (await salvageTail(work, files, tail, signal)).failure === null;
    } catch (error) {
      signal.throwIfAborted();
      this.#isTailKept = false;
      server.log.warn("recovery.salvage_failed", { message: messageOf(error) });
    } finally {
      await giveBack(work);
    }
  }
}
