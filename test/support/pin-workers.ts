import { type ChildProcess, fork } from "node:child_process";
import { once } from "node:events";
import { join } from "node:path";
import type { Pool } from "../../src/lib/postgres/pool.ts";
import { rawCid } from "./pins.ts";
import type { TestDatabase } from "./postgres.ts";

const SCRIPT = join(import.meta.dirname, "children", "pin-worker.ts");

/** How a process works on the queue. */
export interface PinWorkerWish {
  readonly connection: Pick<TestDatabase["options"], "host" | "port" | "database" | "user" | "password">;
  readonly node: string;
  /** A directory of `filePinset`. */
  readonly pinsetDir: string;
  readonly workers: number;
  readonly claimMs: number;
  /** Where compiled code is kept, so that a later one starts faster. */
  readonly compileCacheDir: string;
  /**
   * What a queue costs at the least, with rows of `bare_jobs`: `take` takes them off and does nothing with them, `tell`
   * marks their pins as pinned besides. Default: the pin queue.
   */
  readonly bare?: "take" | "tell";
}

/** A process that serves as a master and only works on the queue. */
export interface PinWorkerProcess extends AsyncDisposable {
  /** Has it begin. */
  go(): void;
  /** Resolves when a bare one has found the table empty. */
  done(): Promise<void>;
  /** `kill -9`; waits until it is gone. */
  kill(): Promise<void>;
}

/** Starts one; returns when it is ready to begin. */
export async function startPinWorker(wish: PinWorkerWish): Promise<PinWorkerProcess> {
  const { connection, node, bare, compileCacheDir, ...rest } = wish;
  const { host, port, database, user, password } = connection;
  const options = { ...rest, bare, connection: { host, port, database, user, password, part: "test", node } };
  const env = { PATH: process.env["PATH"], NODE_COMPILE_CACHE: compileCacheDir };
  const child: ChildProcess = fork(SCRIPT, [JSON.stringify(options)], { env, execArgv: [] });
  const exited = once(child, "exit");
  const done = Promise.withResolvers<void>();
  const ready = Promise.withResolvers<void>();
  child.on("message", (message) => {
    (message === "ready" ? ready : done).resolve();
  });
  await Promise.race([ready.promise, exited.then(() => Promise.reject(new Error(`${node} ended at its start`)))]);
  const isOver = (): boolean => child.exitCode !== null || child.signalCode !== null;
  return {
    go: () => {
      child.send("go");
    },
    done: async () => await done.promise,
    kill: async () => {
      child.kill("SIGKILL");
      await exited;
    },
    [Symbol.asyncDispose]: async () => {
      if (!isOver() && child.connected) child.send("stop");
      await exited;
    },
  };
}

/** Asks for that many contents, all at once. @returns their CIDs */
export async function askForMany(pool: Pool, count: number): Promise<readonly string[]> {
  const cids = Array.from({ length: count }, (_, index) => rawCid(`many ${index}`).toString());
  await pool.query(
    `insert into pins (requestid, user_id, cid, cid_key, status)
     select 'r-' || n, 'u-' || n % 50, cid, cid, 'queued' from unnest($1::text[]) with ordinality as c (cid, n)`,
    [cids],
  );
  await pool.query("insert into pin_jobs (cid) select cid_key from pins");
  return cids;
}

/** How many jobs are left. */
export async function jobsLeft(pool: Pool): Promise<number> {
  const { rows } = await pool.query<{ count: string }>("select count(*) from pin_jobs");
  return Number(rows[0]?.count);
}
