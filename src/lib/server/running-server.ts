import type { Clock } from "../kernel/clock.ts";
import type { Log } from "../kernel/log.ts";
import type { Random } from "../kernel/random.ts";

/** What `startServer` takes from outside. */
export interface ServerDeps {
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Log;
  /** Aborts a start that is still under way; a server that runs is ended with `close()`. */
  readonly signal?: AbortSignal | undefined;
}

/** Where a running server can be reached, as base URLs without a slash at the end. */
export interface Endpoints {
  /** /healthz, /readyz and /metrics. */
  readonly ops: string;
  /** S3; null on a storage node. */
  readonly gateway: string | null;
  /** Accounts: credits, wallets, administration; null on a storage node. */
  readonly api: string | null;
  /** Blocks of clients, on a storage node that takes some; else null. */
  readonly ingest: string | null;
}

/** A started `serve`. */
export interface RunningServer extends AsyncDisposable {
  readonly endpoints: Endpoints;
  /** Stops taking requests, finishes those in flight (at most `server.shutdownTimeout`), then lets go of everything. */
  close(): Promise<void>;
}
