import type { ReplicaProbe, StorageAdapter } from "../recovery/adapters.ts";

/** What cannot be held at the primary, by the engine's names of the failures. */
type Unheld = "wal_pin_failed" | "wal_pin_failed_during_rebuild" | "snapshot_pin_failed";

const UNHELD: readonly Unheld[] = ["wal_pin_failed_during_rebuild", "snapshot_pin_failed", "wal_pin_failed"];

/**
 * What stands in the way of cheaper ways although the two servers' histories allow them: log or a backup that is there and
 * cannot be held. The engine ends a session then; the next one goes on with what needs no more than what can be held.
 */
export class Retreat {
  readonly #unheld = new Set<Unheld>();

  /** Takes down why a recovery ended. @returns true where another one has a dearer way left */
  note(because: string): boolean {
    const failure = UNHELD.find((name) => because.includes(`${name}:`));
    if (failure === undefined || this.#unheld.has(failure)) return false;
    this.#unheld.add(failure);
    return true;
  }

  /** The same eyes, which see what cannot be held as what is not there. */
  probe(probe: ReplicaProbe): ReplicaProbe {
    return {
      handshake: async (signal) => {
        const seen = await probe.handshake(signal);
        return {
          ...seen,
          isSlotLost: seen.isSlotLost || this.#unheld.has("wal_pin_failed"),
          rewind: this.#unheld.has("wal_pin_failed_during_rebuild")
            ? { possible: false, because: "the log that it needs cannot be held at the primary" }
            : seen.rewind,
        };
      },
    };
  }

  /** The same storage, without the backup that cannot be held, or whose log cannot. */
  storage(storage: StorageAdapter): StorageAdapter {
    return {
      getRetainedHistory: async () => {
        const history = await storage.getRetainedHistory();
        if (history === null || this.#unheld.size === 0) return history;
        return { ...history, checkpointLsn: 0n, checkpointTrusted: false };
      },
      pinWal: async (start, session) => await storage.pinWal(start, session),
      pinSnapshot: async (lsn, session) => await storage.pinSnapshot(lsn, session),
      pinFullBase: async (lsn, session) => await storage.pinFullBase(lsn, session),
    };
  }
}
