import { fork } from "node:child_process";
import { once } from "node:events";
import { join } from "node:path";
import { z } from "zod";
import { systemClock } from "../../src/lib/kernel/clock.ts";
import { type LogFields, type Log, silentLog } from "../../src/lib/kernel/log.ts";
import { systemRandom } from "../../src/lib/kernel/random.ts";
import { type Lease, type LeaseOptions, startLease } from "../../src/lib/lease/lease.ts";
import type { Fence } from "../../src/lib/postgres/fence.ts";
import type { ConnectionOptions } from "../../src/lib/postgres/pool.ts";
import type { TestDatabase } from "./postgres.ts";

/** Long enough that a machine which stands still for seconds renews in time: who waits for an end gives one of their own. */
const TTL_MS = 60_000;

/** A lease in this process, and what it did. */
export interface TestLease extends AsyncDisposable {
  readonly lease: Lease;
  /** Every holding, oldest first. */
  readonly holdings: readonly { readonly fence: Fence | null; readonly signal: AbortSignal }[];
  readonly logged: readonly { readonly event: string; readonly fields: LogFields }[];
  events(): readonly string[];
}

/** Takes part in the lease of a database, in this process. */
export async function startTestLease(
  database: Pick<TestDatabase, "options">,
  more: Partial<LeaseOptions> & { readonly node: string; readonly connection?: ConnectionOptions },
): Promise<TestLease> {
  const holdings: { fence: Fence | null; signal: AbortSignal }[] = [];
  const logged: { event: string; fields: LogFields }[] = [];
  const note = (event: string, fields: LogFields = {}): void => {
    logged.push({ event, fields });
  };
  const log: Log = { ...silentLog, info: note, warn: note, error: note };
  const lease = await startLease({
    connection: database.options,
    ttlMs: TTL_MS,
    exclusive: true,
    clock: systemClock,
    random: systemRandom,
    log,
    ...more,
    whileHeld: async (fence, signal) => {
      holdings.push({ fence, signal });
      if (more.whileHeld !== undefined) await more.whileHeld(fence, signal);
      else if (!signal.aborted) await once(signal, "abort");
    },
  });
  return {
    lease,
    holdings,
    logged,
    events: () => logged.map(({ event }) => event),
    [Symbol.asyncDispose]: async () => {
      await lease.release();
    },
  };
}

const told = z.object({
  event: z.string(),
  atMs: z.number(),
  epoch: z.string().optional(),
  fields: z.record(z.string(), z.unknown()).optional(),
});

/** A lease in a process of its own, which writes under its fence into the table `writes`. */
export interface LeaseProcess extends AsyncDisposable {
  readonly pid: number;
  readonly told: readonly z.infer<typeof told>[];
  signal(name: "SIGKILL" | "SIGSTOP" | "SIGCONT"): void;
  /** Gives the lease back and ends. */
  release(): Promise<void>;
}

const CHILD = join(import.meta.dirname, "children/lease-holder.ts");

/** Starts one. Make the table first: `create table writes (epoch bigint, holder text, at timestamptz default clock_timestamp())`. */
export function startLeaseProcess(
  database: Pick<TestDatabase, "options">,
  node: string,
  options: { readonly ttlMs?: number; readonly writeEveryMs?: number } = {},
): LeaseProcess {
  const { host, port, database: name, user, password } = database.options;
  const connection = { host, port, database: name, user, password, part: "test", node };
  const { ttlMs = TTL_MS, writeEveryMs = 20 } = options;
  const child = fork(CHILD, [JSON.stringify({ connection, ttlMs, writeEveryMs })], { stdio: "inherit" });
  const messages: z.infer<typeof told>[] = [];
  child.on("message", (message) => {
    messages.push(told.parse(message));
  });
  const exited = once(child, "exit");
  if (child.pid === undefined) throw new Error("The lease's process did not start");
  return {
    pid: child.pid,
    told: messages,
    signal: (signal) => {
      child.kill(signal);
    },
    release: async () => {
      child.send("release");
      await exited;
    },
    [Symbol.asyncDispose]: async () => {
      child.kill("SIGKILL");
      await exited;
    },
  };
}
