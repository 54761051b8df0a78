import type { Server, ServerResponse } from "node:http";
import type { Clock } from "../kernel/clock.ts";

/** Lets an HTTP server end without cutting off work that is under way. */
export interface Drain {
  /** To be called for every response when its request arrives. */
  track(response: ServerResponse): void;
  /**
   * Stops taking connections and waits until the last response is out, at most `timeoutMs`.
   * @returns how many requests were cut off
   */
  end(timeoutMs: number): Promise<number>;
}

/** Keep-alive would hold the connection, and with it the shutdown, open after the answer. */
function closeAfter(response: ServerResponse): void {
  if (!response.headersSent) response.setHeader("connection", "close");
}

/** Makes the drain of one server. */
export function createDrain(server: Server, clock: Clock): Drain {
  const inFlight = new Set<ServerResponse>();
  let ending = false;
  return {
    track: (response) => {
      inFlight.add(response);
      if (ending) closeAfter(response);
      response.once("close", () => {
        inFlight.delete(response);
        if (ending) server.closeIdleConnections();
      });
    },
    end: async (timeoutMs) => {
      ending = true;
      for (const response of inFlight) closeAfter(response);
      const closed = new Promise<void>((resolve) => {
        server.close(() => {
          resolve();
        });
      });
      server.closeIdleConnections();
      const done = new AbortController();
      const timedOut = clock.sleep(timeoutMs, done.signal).then(
        () => true,
        () => false,
      );
      const late = await Promise.race([closed.then(() => false), timedOut]);
      done.abort();
      const cut = late ? inFlight.size : 0;
      if (late) server.closeAllConnections();
      await closed;
      return cut;
    },
  };
}
