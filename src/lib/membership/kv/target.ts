import type { Clock } from "../../kernel/clock.ts";
import type { Log } from "../../kernel/log.ts";
import type { Random } from "../../kernel/random.ts";
import type { Secret } from "../../kernel/secret.ts";

/** Where the servers are, how to log in, and how long anything may take. */
export interface KvTarget {
  /** `nats://host:port` or `tls://host:port`; one that answers is enough. */
  readonly servers: readonly string[];
  /** First word of the buckets' names. */
  readonly prefix: string;
  /** Seed of the NKey to log in with; null where the servers ask for none. */
  readonly nkeySeed: Secret | null;
  /** Certificates (PEM) that a server's own is checked with; null: the system's. */
  readonly ca: string | null;
  /** Servers that hold each record; 0 takes three where there are as many, else one. */
  readonly replicas: number;
  /** Of one operation. */
  readonly timeoutMs: number;
  /** An authorization rests on a confirmation by the quorum that is at most so old. */
  readonly maxAgeMs: number;
  /** Of the opening, while servers still look for one another. */
  readonly bootstrapTimeoutMs: number;
  /** True makes no bucket: where one is not there, opening fails with FULA_MEMBERSHIP_NOT_FOUND. */
  readonly readOnly?: boolean;
}

/** What the store needs of the process. */
export interface KvDeps {
  readonly clock: Clock;
  readonly random: Random;
  readonly signal: AbortSignal;
  readonly log: Log;
  /** Told, in a sentence without its stop, what the opening waits for; once for each change. */
  readonly onWait?: (sentence: string) => void;
}
