import type { Writable } from "node:stream";

/**
 * Waits until a stream takes more, where its reader is slower than we are; without it a long listing into a slow pipe
 * would pile up in memory. Returns at once where there is room, and also when the stream closes: the next write tells.
 */
export async function waitForDrain(stream: Writable, signal: AbortSignal): Promise<void> {
  if (!stream.writableNeedDrain || stream.destroyed) return;
  signal.throwIfAborted();
  const waited = Promise.withResolvers<void>();
  const end = (): void => waited.resolve();
  const events = ["drain", "close", "error"] as const;
  for (const event of events) stream.once(event, end);
  signal.addEventListener("abort", end, { once: true });
  try {
    await waited.promise;
    signal.throwIfAborted();
  } finally {
    for (const event of events) stream.off(event, end);
    signal.removeEventListener("abort", end);
  }
}
