import { once } from "node:events";
import { connect, createServer, type Server, type Socket } from "node:net";

/** Passes connections on to another port until it is told to end: a service that can be taken away and given back. */
export class TcpProxy {
  readonly #host: string;
  readonly #port: number;
  readonly #sockets = new Set<Socket>();
  #server: Server | null = null;

  constructor(host: string, port: number) {
    this.#host = host;
    this.#port = port;
  }

  /** @param port 0 for any @returns the port that it listens on */
  async listen(port: number): Promise<number> {
    const server = createServer((client) => {
      const target = connect({ host: this.#host, port: this.#port });
      for (const [socket, other] of [
        [client, target],
        [target, client],
      ] as const) {
        this.#sockets.add(socket);
        socket.pipe(other);
        socket.on("error", () => other.destroy());
        socket.on("close", () => {
          this.#sockets.delete(socket);
          other.destroy();
        });
      }
    });
    server.listen(port, "127.0.0.1");
    await once(server, "listening");
    this.#server = server;
    const address = server.address();
    if (typeof address !== "object" || address === null) throw new Error("The proxy has no port");
    return address.port;
  }

  /** From now on lets nothing through and closes nothing: what a cable that was pulled looks like. */
  swallow(): void {
    for (const socket of this.#sockets) {
      socket.unpipe();
      socket.resume();
    }
  }

  /** Refuses new connections and cuts off those that there are. */
  async end(): Promise<void> {
    const server = this.#server;
    if (server === null) return;
    this.#server = null;
    for (const socket of this.#sockets) socket.destroy();
    server.close();
    await once(server, "close");
  }
}
