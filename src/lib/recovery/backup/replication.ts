import { Socket } from "node:net";
import { Client, type ClientConfig, type Connection, type Submittable } from "pg";
import type { Clock } from "../../kernel/clock.ts";
import { FulaError } from "../../kernel/errors.ts";
import { explainDatabaseError } from "../../postgres/database-errors.ts";
import { type ConnectionOptions, connectionConfig } from "../../postgres/pool.ts";
import { type Lsn, parseLsn } from "../lsn.ts";

/** A row as the server wrote it. */
export type ReplicationRow = readonly (string | null)[];

/** Who a server is, as it says over the replication protocol. */
export interface SystemIdentity {
  /** In decimal. */
  readonly systemId: string;
  readonly timeline: number;
  /** How far it is flushed; of a standby, how far it has replayed. */
  readonly flushLsn: Lsn;
}

/** A connection that speaks the replication protocol. A temporary slot that it makes is gone with it, however it ends. */
export interface ReplicationSession extends AsyncDisposable {
  identify(): Promise<SystemIdentity>;
  /** Runs a command, or a query without parameters. @returns the rows of its last result */
  rows(command: string): Promise<readonly ReplicationRow[]>;
  /** Runs a command that answers with a copy stream: BASE_BACKUP, START_REPLICATION. */
  copy(command: string): CopyStream;
}

/** More than this of what came is not held in memory: the server has to wait. */
const QUEUE_BYTES_MAX = 4 * 1024 * 1024;
const QUEUE_BYTES_RESUME = 1024 * 1024;
const GOODBYE_MS = 500;
/** SQLSTATEs: a role without REPLICATION is refused with 42501, and by pg_hba.conf with 28000. */
const NOT_ALLOWED: ReadonlySet<string> = new Set(["42501", "28000"]);

/** The messages that pg's types leave out. */
interface CopyConnection extends Connection {
  sendCopyFromChunk(chunk: Buffer): void;
  endCopyFrom(): void;
}

/**
 * The answer of one command: the rows of its results, and the data of its copy stream in between. For one reader. Whoever
 * stops reading lets the server wait, and ends the session to be rid of it.
 */
export class CopyStream implements Submittable {
  /** The results so far, each with its rows, in their order: those before the stream, and after its end those behind it. */
  readonly results: ReplicationRow[][] = [];
  readonly #command: string;
  readonly #queue: Buffer[] = [];
  #queuedBytes = 0;
  #wake: (() => void) | null = null;
  #state: "open" | "closing" | "ended" = "open";
  #error: unknown = null;
  #connection: CopyConnection | null = null;

  constructor(command: string) {
    this.#command = command;
  }

  /** What pg calls to send it. */
  submit(connection: Connection): void {
    // oxlint-disable-next-line typescript/no-unsafe-type-assertion -- pg's connection has both; its types leave them out
    this.#connection = connection as CopyConnection;
    // The server ends the stream where its timeline does, and goes on when it is answered.
    connection.on("copyDone", this.#answerEnd);
    connection.query(this.#command);
  }

  handleRowDescription(): void {
    this.results.push([]);
  }

  handleDataRow({ fields }: { readonly fields: ReplicationRow }): void {
    this.results.at(-1)?.push(fields);
  }

  handleCopyData({ chunk }: { readonly chunk: Buffer }): void {
    // The parser uses its buffer again.
    this.#queue.push(Buffer.from(chunk));
    this.#queuedBytes += chunk.length;
    if (this.#queuedBytes > QUEUE_BYTES_MAX) this.#connection?.stream.pause();
    this.#notify();
  }

  handleCommandComplete(): void {}

  handleEmptyQuery(): void {}

  handleError(error: unknown): void {
    this.#error ??= error;
    this.#end();
  }

  handleReadyForQuery(): void {
    this.#end();
  }

  /** True where all that has come was read. */
  get isDrained(): boolean {
    return this.#queue.length === 0;
  }

  /** Sends data upstream, where the stream goes both ways. */
  send(data: Buffer): void {
    if (this.#state === "open") this.#connection?.sendCopyFromChunk(data);
  }

  /** Says that nothing more is sent; the server then ends its own side. */
  finish(): void {
    if (this.#state !== "open") return;
    this.#state = "closing";
    this.#connection?.endCopyFrom();
  }

  /** The next message; null at the end. @throws what the server or the connection reported */
  async next(): Promise<Buffer | null> {
    for (;;) {
      const chunk = this.#queue.shift();
      if (chunk !== undefined) {
        this.#queuedBytes -= chunk.length;
        if (this.#queuedBytes < QUEUE_BYTES_RESUME) this.#connection?.stream.resume();
        return chunk;
      }
      if (this.#error !== null) throw this.#error;
      if (this.#state === "ended") return null;
      const waiting = Promise.withResolvers<void>();
      this.#wake = waiting.resolve;
      await waiting.promise;
    }
  }

  readonly #answerEnd = (): void => {
    this.finish();
  };

  #end(): void {
    this.#state = "ended";
    this.#connection?.off("copyDone", this.#answerEnd);
    this.#notify();
  }

  #notify(): void {
    this.#wake?.();
    this.#wake = null;
  }
}

/** Makes a walsender's session of a database's, which pg_hba.conf judges like every other one of that database. */
type ReplicationConfig = ClientConfig & { readonly replication: "database" };

/**
 * Connects for replication. The role needs the REPLICATION attribute. The signal cuts the connection.
 * @throws FulaError FULA_BASE_BACKUP_SOURCE where the role may not, and what `explainDatabaseError` makes of an outage
 */
export async function openReplication(
  options: ConnectionOptions,
  clock: Clock,
  signal: AbortSignal,
): Promise<ReplicationSession> {
  signal.throwIfAborted();
  const socket = new Socket();
  const config: ReplicationConfig = { ...connectionConfig(options), stream: () => socket, replication: "database" };
  const client = new Client(config);
  // What breaks is reported by the command that waits for an answer.
  client.on("error", () => {});
  const cut = (): void => {
    socket.destroy();
  };
  signal.addEventListener("abort", cut, { once: true });
  const close = async (): Promise<void> => {
    signal.removeEventListener("abort", cut);
    const done = new AbortController();
    try {
      await Promise.race([client.end(), clock.sleep(GOODBYE_MS, done.signal)]);
    } catch {
      // It was gone already.
    } finally {
      done.abort();
      socket.destroy();
    }
  };
  try {
    await client.connect();
  } catch (error) {
    await close();
    signal.throwIfAborted();
    throw explainRefusal(error, options);
  }
  return { ...commandsOf(client, options), [Symbol.asyncDispose]: close };
}

function commandsOf(client: Client, options: ConnectionOptions): Omit<ReplicationSession, keyof AsyncDisposable> {
  const copy = (command: string): CopyStream => client.query(new CopyStream(command));
  const rows = async (command: string): Promise<readonly ReplicationRow[]> => {
    const answer = copy(command);
    try {
      while ((await answer.next()) !== null);
    } catch (error) {
      throw explainRefusal(error, options);
    }
    return answer.results.at(-1) ?? [];
  };
  return { copy, rows, identify: async () => parseIdentity((await rows("IDENTIFY_SYSTEM"))[0]) };
}

function parseIdentity(row: ReplicationRow | undefined): SystemIdentity {
  const [systemId, timeline, position] = row ?? [];
  if (typeof systemId !== "string" || typeof timeline !== "string" || typeof position !== "string") {
    throw new TypeError("IDENTIFY_SYSTEM gave no identity");
  }
  return { systemId, timeline: Number(timeline), flushLsn: parseLsn(position) };
}

function explainRefusal(error: unknown, options: ConnectionOptions): unknown {
  const code: unknown = error instanceof Error && "code" in error ? error.code : undefined;
  if (typeof code !== "string" || !NOT_ALLOWED.has(code)) return explainDatabaseError(error, options);
  return new FulaError(
    "FULA_BASE_BACKUP_SOURCE",
    `The server at ${options.host}:${options.port} does not let ${options.user} copy it: ${error instanceof Error ? error.message : ""}.`,
    {
      cause: error,
      hint: `as a superuser of that server: alter role "${options.user}" replication;`,
    },
  );
}
