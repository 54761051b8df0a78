import { once } from "node:events";
import { type AddressInfo, connect, createServer, type Socket } from "node:net";

/** A way to a NATS server on which writes to KV buckets are counted, and on which everything can end at one of them. */
export interface NatsWriteProxy extends AsyncDisposable {
  readonly url: string;
  /** Writes that were let through. */
  readonly writes: number;
}

/** Publishing to the subject of a KV key, at the beginning of a line of the protocol. */
const WRITE = /(?<=^|\r\n)H?PUB \$KV\./g;

/**
 * Stands between a client and a NATS server. @param lastWrite from the write after this one on nothing arrives any more,
 * and nobody is told; `onEnd` is called then, once
 */
export async function startNatsWriteProxy(
  port: number,
  lastWrite: number = Number.POSITIVE_INFINITY,
  onEnd: () => void = () => {},
): Promise<NatsWriteProxy> {
  let writes = 0;
  let isOver = false;
  const sockets = new Set<Socket>();
  const forward = (lines: Buffer, server: Socket): void => {
    if (isOver) return;
    const places = Array.from(lines.toString("latin1").matchAll(WRITE), ({ index }) => index);
    const allowed = lastWrite - writes;
    if (places.length <= allowed) {
      writes += places.length;
      server.write(lines);
      return;
    }
    server.write(lines.subarray(0, places[allowed]));
    writes += allowed;
    isOver = true;
    onEnd();
  };
  const listener = createServer((client) => {
    const server = connect(port, "127.0.0.1");
    for (const socket of [client, server]) {
      sockets.add(socket);
      socket.on("error", () => {}).on("close", () => sockets.delete(socket));
    }
    // A chunk may end within a line: what is behind the last end of one waits for the rest.
    let unread: Buffer = Buffer.alloc(0);
    const onData = (chunk: Buffer): void => {
      unread = Buffer.concat([unread, chunk]);
      const end = unread.lastIndexOf("\r\n") + 2;
      if (end < 2) return;
      forward(unread.subarray(0, end), server);
      unread = unread.subarray(end);
    };
    client.on("data", onData).on("close", () => server.destroy());
    server.on("data", (chunk) => isOver || client.write(chunk)).on("close", () => client.destroy());
  });
  listener.listen(0, "127.0.0.1");
  await once(listener, "listening");
  // oxlint-disable-next-line typescript/no-unsafe-type-assertion -- it listens on a port and no path
  const address = listener.address() as AddressInfo;
  return {
    url: `nats://127.0.0.1:${address.port}`,
    get writes() {
      return writes;
    },
    [Symbol.asyncDispose]: async () => {
      for (const socket of sockets) socket.destroy();
      listener.close();
      await once(listener, "close");
    },
  };
}
