import type { Server, ServerResponse } from "node:http";
import { Server as NetServer, type Socket } from "node:net";
import type { Clock } from "../kernel/clock.ts";

/** Lets an HTTP server end without cutting off work that is under way. */
export interface Drain {
  /** To be called for every response when its request arrives. */
  track(response: ServerResponse): void;
  /**
   * Stops taking connections and waits until the last byte of the last response is out, at most `timeoutMs`.
   * @returns how many requests were cut off
   */
  end(timeoutMs: number): Promise<number>;
}

/** Keep-alive would hold the connection, and with it the shutdown, open after the answer. */
function closeAfter(response: ServerResponse): void {
  if (!response.headersSent) response.setHeader("connection", "close");
}

class ServerDrain implements Drain {
  readonly #server: Server;
  readonly #clock: Clock;
  /** Every connection with the responses that it still has to give. */
  readonly #sockets = new Map<Socket, Set<ServerResponse>>();
  #ending = false;

  constructor(server: Server, clock: Clock) {
    this.#server = server;
    this.#clock = clock;
    server.on("connection", (socket) => {
      this.#sockets.set(socket, new Set());
      socket.once("close", () => this.#sockets.delete(socket));
    });
  }

  track(response: ServerResponse): void {
    const { socket } = response;
    const responses = socket === null ? undefined : this.#sockets.get(socket);
    if (socket === null || responses === undefined) return;
    responses.add(response);
    if (this.#ending) closeAfter(response);
    response.once("close", () => {
      responses.delete(response);
      if (this.#ending && responses.size === 0) socket.destroySoon();
    });
  }

  async end(timeoutMs: number): Promise<number> {
    this.#ending = true;
    const closed = new Promise<void>((resolve) => {
      // Not http's own close(): that ends connections whose answer was written but has not reached the client yet.
      NetServer.prototype.close.call(this.#server, () => {
        resolve();
      });
    });
    for (const [socket, responses] of this.#sockets) {
      if (responses.size === 0) socket.destroy();
      for (const response of responses) closeAfter(response);
    }
    const cut = await this.#waitFor(closed, timeoutMs);
    // What http's close() does beside: it ends the timer that looks for slow clients.
    this.#server.close(() => {});
    return cut;
  }

  async #waitFor(closed: Promise<void>, timeoutMs: number): Promise<number> {
    const done = new AbortController();
    const late = await Promise.race([
      closed.then(() => false),
      this.#clock.sleep(timeoutMs, done.signal).then(
        () => true,
        () => false,
      ),
    ]);
    done.abort();
    const cut = [...this.#sockets.values()].reduce((sum, responses) => sum + responses.size, 0);
    if (late) for (const socket of this.#sockets.keys()) socket.destroy();
    await closed;
    return late ? cut : 0;
  }
}

/** Makes the drain of a server that does not listen yet. */
export function createDrain(server: Server, clock: Clock): Drain {
  return new ServerDrain(server, clock);
}
