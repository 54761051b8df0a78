import { Client, DatabaseError } from "pg";
import { systemClock } from "../../../src/lib/kernel/clock.ts";
import type { Login } from "./rival.ts";

/** Where a client may find the primary; it asks one after the other. */
export interface ProbeTarget {
  readonly ports: readonly number[];
  readonly login: Login;
}

interface Acknowledged {
  readonly seq: number;
  readonly atMs: number;
  readonly port: number;
  /** Whether the server waited for a standby, by its settings of that moment. */
  readonly isSync: boolean;
}

/** What a client that never stopped writing saw. */
export interface ProbeReport {
  /** Rows that the server said were committed, with when it said so (monotonic). */
  readonly acknowledged: readonly Acknowledged[];
  /** Rows of which nobody said what became of them. */
  readonly unknown: readonly number[];
}

/** What became of the rows, by the primary that there is now. */
export interface ProbeVerdict {
  readonly gapMs: number;
  readonly acknowledged: number;
  readonly lost: number;
  readonly doubled: number;
}

const CONNECT_MS = 500;
const ANSWER_MS = 1_000;
/** Between two looks who takes writes; servers that are asked over a connection that is there are hardly kept busy by it. */
const PAUSE_MS = 5;
/** A server that refused a connection is not asked for one again at once: each costs it a process. */
const REFUSED_MS = 50;
const READ_ONLY = "25006";
const TABLE = "write_probe";
const INSERT = `insert into ${TABLE} (seq) values ($1) returning current_setting('synchronous_standby_names') <> '' as sync`;

/** One row after the other, each on its own transaction, as fast as the server acknowledges them; whoever takes writes gets them. */
export class WriteProbe {
  readonly #target: ProbeTarget;
  readonly #acknowledged: Acknowledged[] = [];
  readonly #unknown: number[] = [];
  readonly #running: Promise<void>;
  #isEnded = false;
  #seq = 0;

  constructor(target: ProbeTarget) {
    this.#target = target;
    this.#running = this.#run();
  }

  /** Acknowledgements so far. */
  count(): number {
    return this.#acknowledged.length;
  }

  async stop(): Promise<ProbeReport> {
    this.#isEnded = true;
    await this.#running;
    return { acknowledged: this.#acknowledged, unknown: this.#unknown };
  }

  async #run(): Promise<void> {
    await using stack = new AsyncDisposableStack();
    const places = this.#target.ports.map((port) => stack.use(new Place(this.#target.login, port)));
    while (!this.#isEnded) {
      for (const place of places) {
        const client = await place.primary();
        if (client !== null) await this.#writeOn(place, client);
      }
      await systemClock.sleep(PAUSE_MS);
    }
  }

  async #writeOn(place: Place, client: Client): Promise<void> {
    while (!this.#isEnded) {
      this.#seq += 1;
      try {
        const { rows } = await client.query<{ sync: boolean }>(INSERT, [this.#seq]);
        if (place.isCancelled) throw new Error("the wait for a standby was given up");
        const isSync = rows[0]?.sync === true;
        this.#acknowledged.push({ seq: this.#seq, atMs: systemClock.monotonicMs(), port: place.port, isSync });
      } catch (error) {
        // It takes none yet, which is an answer.
        if (error instanceof DatabaseError && error.code === READ_ONLY) return;
        this.#unknown.push(this.#seq);
        place.drop();
        return;
      }
    }
  }
}

/** One server, and the connection to it. */
class Place implements AsyncDisposable {
  /** A synchronous wait that was given up is reported as a success, with a notice beside it. */
  isCancelled = false;
  readonly port: number;
  readonly #login: Login;
  #client: Client | null = null;
  #againMs = 0;

  constructor(login: Login, port: number) {
    this.#login = login;
    this.port = port;
  }

  /** Null where it does not answer, or is none. */
  async primary(): Promise<Client | null> {
    if (this.#client === null && systemClock.monotonicMs() < this.#againMs) return null;
    try {
      const client = this.#client ?? (await this.#connect());
      this.#client = client;
      const { rows } = await client.query<{ standby: boolean }>("select pg_is_in_recovery() as standby");
      return rows[0]?.standby === false ? client : null;
    } catch {
      this.drop();
      return null;
    }
  }

  drop(): void {
    this.#client?.end().catch(() => {});
    this.#client = null;
    this.#againMs = systemClock.monotonicMs() + REFUSED_MS;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#client?.end().catch(() => {});
  }

  async #connect(): Promise<Client> {
    const limits = { connectionTimeoutMillis: CONNECT_MS, query_timeout: ANSWER_MS };
    const client = new Client({ host: "127.0.0.1", port: this.port, ...this.#login, ...limits });
    client.on("error", () => {});
    this.isCancelled = false;
    client.on("notice", ({ code }) => {
      if (code === "01000") this.isCancelled = true;
    });
    try {
      await client.connect();
      return client;
    } catch (error) {
      client.end().catch(() => {});
      throw error;
    }
  }
}

/** Makes the table that the probe writes to. */
export async function prepareProbe(client: Client): Promise<void> {
  await client.query(
    `create table if not exists ${TABLE} (seq bigint not null, at timestamptz not null default clock_timestamp())`,
  );
  await client.query(`truncate ${TABLE}`);
}

/** Longest time without an acknowledgement from `fromMs` on, and what of the acknowledged rows there is. */
export async function judgeProbe(client: Client, { acknowledged }: ProbeReport, fromMs: number): Promise<ProbeVerdict> {
  const { rows } = await client.query<{ seq: string; copies: string }>(
    `select seq, count(*) as copies from ${TABLE} group by seq`,
  );
  const copies = new Map(rows.map(({ seq, copies: count }) => [Number(seq), Number(count)]));
  const times = acknowledged.map(({ atMs }) => atMs);
  const gaps = times.flatMap((atMs, index) => {
    const next = times[index + 1];
    return next === undefined || next < fromMs ? [] : [next - Math.max(atMs, 0)];
  });
  return {
    // Not by a call with all of them: a hundred thousand arguments are too many.
    gapMs: gaps.reduce((longest, gap) => Math.max(longest, gap), 0),
    acknowledged: acknowledged.length,
    lost: acknowledged.filter(({ seq }) => !copies.has(seq)).length,
    doubled: [...copies.values()].filter((count) => count > 1).length,
  };
}
