import { messageOf } from "../../kernel/errors.ts";
import type { SiteSession } from "../../runtime/postgres-site.ts";
import type { CatchUpIO, RebuildIO } from "../adapters.ts";
import type { Lsn } from "../lsn.ts";
import { copyPrimary } from "./full-base.ts";
import { keepOldData } from "./leftovers.ts";
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
  #isTailKept: boolean;

  /**
   * @param work the session's, as it is at the time of a step: one rung after another may have sessions of its own
   * @param mayDiscard false where the data that are replaced may be the only ones of their kind, whatever is kept of them
   */
  constructor(work: () => ReplicaWork, shelf: BackupShelf, mayDiscard = true) {
    this.#work = work;
    this.#shelf = shelf;
    this.#isTailKept = mayDiscard;
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

  /** Data of which not all that they alone have is kept elsewhere are noted to stay as a whole. */
  async #keepTail(signal: AbortSignal): Promise<void> {
    const work = this.#work();
    const { site } = work.server;
    await using files = await site.open(signal);
    this.#isTailKept &&= await this.#isKept(work, files, signal);
    if (!this.#isTailKept) {
      await keepOldData(files, site, work.session, "Not all that these data alone have could be kept elsewhere.");
    }
  }

  async #isKept(work: ReplicaWork, files: SiteSession, signal: AbortSignal): Promise<boolean> {
    const { server, tail } = work;
    // Of what is half rewritten nothing can be asked that could be trusted.
    if (tail === null) return (await readMarker(files, server.site))?.phase !== "write";
    try {
      const isHalf = await takeServer(work, files, "full_base");
      return !isHalf && (await salvageTail(work, files, tail, signal)).failure === null;
    } catch (error) {
      signal.throwIfAborted();
      server.log.warn("recovery.salvage_failed", { message: messageOf(error) });
      return false;
    } finally {
      await giveBack(work);
    }
  }
}
