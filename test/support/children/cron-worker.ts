/*
 * A process that does what `serve` does on a master for billing, for one ledger after another: told over its channel which
 * one, under which name, and with which clock. The tests kill it, stop it, and cut off what it says.
 */
import type { MasterOrders, WorkerEvent, WorkerOrder } from "../cron-worker.ts";
import { serveFragile } from "../fragile-billing.ts";

function tell(event: WorkerEvent): void {
  process.send?.(event);
}

async function serve(as: MasterOrders, signal: AbortSignal): Promise<void> {
  if (as.engine === "fragile") await serveFragile(as, signal);
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
