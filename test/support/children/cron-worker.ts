/*
 * A process that does what `serve` does on a master for billing, for one ledger after another: told over its channel which
 * one, under which name, and with which clock. The tests kill it, stop it, and cut off what it says.
 */
import { inspect } from "node:util";
import { runDeduction } from "../../../src/lib/billing/deduction.ts";
import { assertBillingMode } from "../../../src/lib/billing/mode-guard.ts";
import { type Clock, systemClock } from "../../../src/lib/kernel/clock.ts";
import { messageOf } from "../../../src/lib/kernel/errors.ts";
import type { Log, LogFields } from "../../../src/lib/kernel/log.ts";
import { systemRandom } from "../../../src/lib/kernel/random.ts";
import { startCron } from "../../../src/lib/server/cron.ts";
import type { MasterOrders, WorkerEvent, WorkerOrder } from "../cron-worker.ts";
import { serveFragile } from "../fragile-billing.ts";

/** Pauses of minutes are cut to this; those of the lease, which are shorter, stay as they are. */
const SLEEP_MS_MAX = 500;
/** Before a master that could not start is started again, as systemd would. */
const RESTART_MS = 50;
/** Of the sessions that do the work; a connection that swallows everything is noticed a little later. */
const STATEMENT_TIMEOUT_MS = 1_500;

function tell(event: WorkerEvent): void {
  process.send?.(event);
}

function logLine(level: string, event: string, fields: LogFields = {}): void {
  const shown = Object.entries(fields).map(([name, value]) => {
    // A stack of each would bury what was said before.
    return `${name}=${value instanceof Error ? messageOf(value) : inspect(value, { breakLength: Infinity })}`;
  });
  tell({ event: "log", line: [level, event, ...shown].join(" ") });
}

const log: Log = {
  debug: () => {},
  info: (event, fields) => {
    logLine("info", event, fields);
  },
  warn: (event, fields) => {
    logLine("warn", event, fields);
  },
  error: (event, fields) => {
    logLine("error", event, fields);
  },
  child: () => log,
};

function skewedClock(skewMs: number): Clock {
  return {
    nowMs: () => systemClock.nowMs() + skewMs,
    monotonicMs: () => systemClock.monotonicMs(),
    sleep: async (ms, signal) => {
      await systemClock.sleep(Math.min(ms, SLEEP_MS_MAX), signal);
    },
  };
}

/** What `serve` does for billing, from its start until it is told to end. */
async function serveOurs(as: MasterOrders, signal: AbortSignal): Promise<void> {
  const { host, port, database, user, password, node, hasLease, leaseTtlMs } = as;
  const clock = skewedClock(as.clockSkewMs);
  const deps = { clock, random: systemRandom, log };
  const settings = {
    basis: "completed",
    idempotency: true,
    freeTierBytes: as.freeTierBytes,
    fulaPerGbMonth: as.fulaPerGibMonth,
    whileSuspended: "accrue",
    catchUpHours: 168,
  } as const;
  await using _ = await startCron({
    ...deps,
    connection: { host, port, database, user, password, connectTimeoutMs: STATEMENT_TIMEOUT_MS },
    node,
    ttlMs: leaseTtlMs,
    hasLease,
    statementTimeoutMs: STATEMENT_TIMEOUT_MS,
    tasks: (pool) => [
      {
        name: "deduction",
        intervalMs: SLEEP_MS_MAX,
        atEachHour: true,
        atOnce: true,
        triesAgain: true,
        run: async (fence, taskSignal) => {
          const report = await runDeduction({ ...deps, pool, fence, node, settings, signal: taskSignal });
          return report.waitingFor === null;
        },
      },
    ],
    onSession: async (client) => {
      await assertBillingMode(client, "keyed", node);
    },
  });
  const ended = Promise.withResolvers<void>();
  signal.addEventListener("abort", () => {
    ended.resolve();
  });
  if (!signal.aborted) await ended.promise;
}

async function serve(as: MasterOrders, signal: AbortSignal): Promise<void> {
  if (as.engine === "fragile") {
    await serveFragile(as, signal);
    return;
  }
  while (!signal.aborted) {
    try {
      await serveOurs(as, signal);
    } catch (error) {
      logLine("error", "serve.failed", { error });
      await systemClock.sleep(RESTART_MS, signal).catch(() => {});
    }
  }
}

let end = new AbortController();
let serving: Promise<void> = Promise.resolve();

process.on("message", (message: WorkerOrder) => {
  if (message.order === "serve") {
    end = new AbortController();
    serving = serve(message.as, end.signal).catch((error: unknown) => {
      tell({ event: "log", line: `failed: ${String(error)}` });
    });
    return;
  }
  end.abort();
  void serving.then(() => {
    tell({ event: "stopped" });
  });
});
// Whoever started it is gone: nobody would ever end it.
process.on("disconnect", () => process.exit());

tell({ event: "ready" });
