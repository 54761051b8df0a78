import type { TlsMode } from "./pool.ts";

/** Where the ledger is, and which of its histories is meant there. */
export interface ServerPlace {
  readonly host: string;
  readonly port: number;
  readonly tls: TlsMode;
  /** PEM file of the authorities that the server's certificate is checked against; null: those that Node.js trusts. */
  readonly tlsCaFile: string | null;
  /** As sessions say it: `<number>:<uuid>`, or `unchecked`; null where the ledger has never had a second server. */
  readonly ledgerEpoch: string | null;
}

/**
 * The ledger's server, which may be another one tomorrow. Pools and sessions that are opened with it go where it is: when it
 * moves, every connection to where it was is cut, in one step with the new place, so that nothing that began before it is
 * answered after it.
 */
export class MovingServer {
  #place: ServerPlace;
  readonly #followers = new Set<() => void>();

  constructor(place: ServerPlace) {
    this.#place = place;
  }

  get place(): ServerPlace {
    return this.#place;
  }

  /** Another object is another place, even where all of it is equal. */
  move(place: ServerPlace): void {
    this.#place = place;
    for (const follower of this.#followers) follower();
  }

  /** Calls `onMove` with each move, before anything else is done, until it is disposed of. */
  follow(onMove: () => void): Disposable {
    this.#followers.add(onMove);
    return {
      [Symbol.dispose]: () => {
        this.#followers.delete(onMove);
      },
    };
  }
}
