import type { Clock } from "../kernel/clock.ts";

/**
 * Runs `work` now and then again and again, with a pause in between, until it is disposed of; disposing waits for the
 * run under way. `work` handles its own errors.
 */
export function repeat(
  options: { readonly intervalMs: number; readonly clock: Clock },
  work: () => Promise<void>,
): AsyncDisposable {
  const end = new AbortController();
  const loop = async (): Promise<void> => {
    while (!end.signal.aborted) {
      await work();
      await options.clock.sleep(options.intervalMs, end.signal).catch(() => {});
    }
  };
  const running = loop();
  return {
    [Symbol.asyncDispose]: async () => {
      end.abort();
      await running;
    },
  };
}
