import { inspect } from "node:util";
import { Client } from "pg";
import { systemClock } from "../../src/lib/kernel/clock.ts";
import { testPostgres } from "../support/postgres.ts";

/** A scenario that is not over by then hangs, on a machine with much else to do, too. */
const HANG_MS = 300_000;
const CONNECT_MS = 30_000;

/** What every session of the tests' server is at. */
async function sessions(): Promise<string> {
  const { host, port, superuser } = testPostgres();
  const { user, password } = superuser;
  const where = { host, port, database: "postgres", user, password };
  const client = new Client({ ...where, connectionTimeoutMillis: CONNECT_MS, query_timeout: CONNECT_MS });
  await client.connect();
  try {
    const { rows } = await client.query(`
      select pid, datname, application_name, state, wait_event_type, wait_event, pg_blocking_pids(pid) as blocked_by,
             now() - query_start as since, left(query, 100) as query
        from pg_stat_activity where pid <> pg_backend_pid() order by query_start`);
    return rows.map((row) => inspect(row, { breakLength: Number.POSITIVE_INFINITY })).join("\n");
  } finally {
    await client.end();
  }
}

/** Knows how far a scenario is: one that hangs says what it waits for, where a test that ran out of time says nothing. */
export class Watch {
  #stage = "its begin";
  #logs: () => readonly string[] = () => [];

  /** Notes what comes next. @param logs what to tell besides, if that does not come to an end */
  at(stage: string, logs = this.#logs): void {
    this.#stage = stage;
    this.#logs = logs;
  }

  /** @throws Error where the work does not come to its end */
  async over<T>(work: Promise<T>): Promise<T> {
    const done = new AbortController();
    const late = systemClock.sleep(HANG_MS, done.signal).then(async () => {
      const seen = await sessions().catch(String);
      throw new Error(`It hangs at ${this.#stage}. Sessions:\n${seen}\n${this.#logs().join("\n")}`);
    });
    try {
      return await Promise.race([work, late]);
    } finally {
      done.abort();
    }
  }
}
