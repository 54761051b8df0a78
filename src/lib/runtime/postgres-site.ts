/**
 * Where a PostgreSQL server of this box lives, for whoever repairs, copies or replaces its data: programs are run there as the
 * server's user, whether it is a container (a helper container on the same volume runs them) or a process of this box.
 */

import type { Readable } from "node:stream";
import type { SiteFiles } from "./site-files.ts";

/** A program of PostgreSQL, or `sh` for what is done to files. */
export type SiteProgram =
  | "pg_basebackup"
  | "pg_controldata"
  | "pg_receivewal"
  | "pg_rewind"
  | "pg_verifybackup"
  | "pg_waldump"
  | "postgres"
  | "sh";

/** How a program is run. */
export interface SiteRun {
  readonly args: readonly string[];
  /** Added to a bare environment: `PGPASSFILE`, `PGSSLROOTCERT`. Never a password. */
  readonly env?: Readonly<Record<string, string>>;
  /** A stream is read as fast as the program takes it, and destroyed when it has ended; an error of it ends the input early. */
  readonly stdin?: string | Readable;
  /** Ends the program and everything that it started. */
  readonly signal?: AbortSignal;
  /** Likewise, after so long, in milliseconds. */
  readonly timeoutMs?: number;
  /** Told of each line that it writes on either stream, for progress. */
  readonly onLine?: (line: string) => void;
}

/** How it ended. Never rejects for an exit code. */
export interface SiteRunEnd {
  /** Null where a signal ended it. */
  readonly exitCode: number | null;
  readonly stdout: string;
  /** The end of its standard error. */
  readonly stderr: string;
  readonly timedOut: boolean;
}

/** Name of the file in the root directory that stands while a data directory is rewritten: no server may be started then. */
export const RECOVERY_MARKER = "recovery.inprogress";

/** Access to a site for the time of one piece of work; disposing ends whatever still runs there. */
export interface SiteSession extends AsyncDisposable {
  /** Where this process reaches a server that is run in the session. */
  readonly host: string;
  /** Where this process reaches the site's files itself; left out where only programs there do. */
  readonly files?: SiteFiles;
  run(program: SiteProgram, run: SiteRun): Promise<SiteRunEnd>;
}

/** What can be told of a server without asking it; `absent`: there is no data directory that a server could be started on. */
export type SiteState = "running" | "stopped" | "absent";

/** How a server is stopped: `immediate` writes nothing more. */
export type SiteStop = "fast" | "immediate";

/** One server of this box. */
export interface PostgresSite {
  readonly kind: "processes" | "container";
  /** For messages: a directory, or a container and its volume. */
  readonly where: string;
  /** As the programs see it. Its parent is on the same file system: a new data directory takes its place by one rename. */
  readonly dataDir: string;
  /** The parent: configuration that belongs to the box, and what recovery keeps aside, lies here, outside the data directory. */
  readonly rootDir: string;
  /** PostgreSQL's major version of the programs. */
  readonly major: number;
  /** How this process reaches the server, by TCP. */
  readonly host: string;
  readonly port: number;
  /** How programs of a session reach it: those of a container are on its network and not on this box's. */
  readonly innerHost: string;
  readonly innerPort: number;
  open(signal: AbortSignal): Promise<SiteSession>;
  state(): Promise<SiteState>;
  /**
   * Starts the server and returns when its process runs; that it answers is for the caller to wait for.
   * @throws FulaError FULA_RECOVERY_MARKER, FULA_POSTGRES_START, FULA_DOCKER_FAILED
   */
  start(): Promise<void>;
  stop(how: SiteStop): Promise<void>;
  /** Makes the server read its configuration files again. */
  reload(): Promise<void>;
}
