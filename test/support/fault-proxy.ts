import { once } from "node:events";
import { connect, createServer, type Server, type Socket } from "node:net";
import { systemClock } from "../../src/lib/kernel/clock.ts";

/** A whole message that a client of PostgreSQL sent (https://www.postgresql.org/docs/current/protocol-message-formats.html). */
export interface ClientMessage {
  /** The connection's application_name; empty where it gave none. */
  readonly session: string;
  /** The type byte, as "Q" or "P"; empty for the start-up packet. */
  readonly type: string;
}

/**
 * What becomes of a message, and of its connection with it.
 * "cut before", "cut within", "cut after": the server gets nothing of it, its first half, or all of it, then the end of the
 * stream; the client gets no answer but the end. "reset": both sides are torn off at once, and what was on its way may be
 * lost. "swallow": from here on nothing arrives on either side, and nobody is told. "swallow answers": what the client
 * sends still arrives.
 */
export type Verdict = "pass" | "cut before" | "cut within" | "cut after" | "reset" | "swallow" | "swallow answers";

const LENGTH_BYTES = 4;

/** Splits what a client sends into whole messages. */
class MessageReader {
  #unread: Buffer = Buffer.alloc(0);
  #session: string | null = null;

  /** @returns the messages that are whole by now, with their bytes */
  read(chunk: Buffer): readonly (readonly [ClientMessage, Buffer])[] {
    this.#unread = Buffer.concat([this.#unread, chunk]);
    const messages: (readonly [ClientMessage, Buffer])[] = [];
    for (;;) {
      // The start-up packet alone has no type byte.
      const typeBytes = this.#session === null ? 0 : 1;
      if (this.#unread.length < typeBytes + LENGTH_BYTES) return messages;
      const bytes = typeBytes + this.#unread.readInt32BE(typeBytes);
      if (this.#unread.length < bytes) return messages;
      const message = this.#unread.subarray(0, bytes);
      this.#unread = this.#unread.subarray(bytes);
      this.#session ??= applicationNameIn(message);
      messages.push([{ session: this.#session, type: message.toString("latin1", 0, typeBytes) }, message]);
    }
  }
}

/** From the names and values of a start-up packet, each ended by a zero byte. */
function applicationNameIn(startUp: Buffer): string {
  const words = startUp.toString("utf8", 2 * LENGTH_BYTES).split("\0");
  return words[words.indexOf("application_name") + 1] ?? "";
}

/** Sends in order; what is held up is overtaken by nothing. */
class Lane {
  #last: Promise<void> = Promise.resolve();
  #held = 0;

  send(delayMs: number, write: () => void): void {
    if (delayMs === 0 && this.#held === 0) {
      write();
      return;
    }
    this.#held += 1;
    this.#last = this.#last.then(async () => {
      if (delayMs > 0) await systemClock.sleep(delayMs);
      this.#held -= 1;
      write();
    });
  }
}

/** What a client sends until it is let in: the start-up packet, and the messages of SASL. */
const LOGIN_TYPES: ReadonlySet<string> = new Set(["", "p"]);

/** One client's connection and the one that it is passed on to. */
class Passage {
  readonly #client: Socket;
  readonly #server: Socket;
  readonly #proxy: FaultProxy;
  readonly #reader = new MessageReader();
  /** Fulfilled when both sides are. */
  readonly closed: Promise<unknown>;
  readonly #toServer = new Lane();
  readonly #toClient = new Lane();
  #areAnswersLost = false;
  #isLost = false;
  #isLoggingIn = true;
  #isSwallowed = false;

  constructor(client: Socket, server: Socket, proxy: FaultProxy) {
    this.#client = client;
    this.#server = server;
    this.#proxy = proxy;
    this.closed = Promise.all([closeOf(client), closeOf(server)]);
    client.on("close", () => {
      // Who logs in holds nothing yet, but while PostgreSQL waits for the rest of a login, nobody can drop a database.
      const mayTell = !this.#isLost || (this.#isSwallowed && this.#isLoggingIn);
      if (mayTell) this.#toServer.send(proxy.delayMs, () => server.end());
    });
    server.on("close", () => {
      if (!this.#isLost) this.#toClient.send(proxy.delayMs, () => client.destroy());
    });
    client.on("data", (chunk: Buffer) => {
      for (const [message, bytes] of this.#reader.read(chunk)) if (!this.#isLost) this.#obey(message, bytes);
    });
    server.on("data", (chunk: Buffer) => {
      if (this.#isLost || this.#areAnswersLost) return;
      this.#toClient.send(proxy.delayMs, () => client.write(chunk));
    });
  }

  /** Ends both sides, and waits until they are closed. */
  async close(): Promise<void> {
    this.#isLost = true;
    this.#client.destroy();
    this.#server.destroy();
    await this.closed;
  }

  reset(): void {
    this.#isLost = true;
    resetOrEnd(this.#client);
    resetOrEnd(this.#server);
  }

  #obey(message: ClientMessage, bytes: Buffer): void {
    if (!LOGIN_TYPES.has(message.type)) this.#isLoggingIn = false;
    const verdict = this.#proxy.judge(message);
    switch (verdict) {
      case "pass":
        this.#pass(bytes);
        break;
      case "cut before":
        this.#cut(Buffer.alloc(0));
        break;
      case "cut within":
        this.#cut(bytes.subarray(0, Math.ceil(bytes.length / 2)));
        break;
      case "cut after":
        this.#cut(bytes);
        break;
      case "reset":
        this.reset();
        break;
      case "swallow":
        this.#isLost = true;
        this.#isSwallowed = true;
        break;
      case "swallow answers":
        this.#areAnswersLost = true;
        this.#pass(bytes);
        break;
    }
  }

  #pass(bytes: Buffer): void {
    this.#toServer.send(this.#proxy.delayMs, () => this.#server.write(bytes));
  }

  /** The server reads to the end of the stream what was sent before it: it acts on that, and only then on the end. */
  #cut(last: Buffer): void {
    this.#isLost = true;
    this.#client.destroy();
    this.#toServer.send(this.#proxy.delayMs, () => this.#server.end(last));
  }
}

/** libuv resets no socket that is just saying goodbye, and Node.js then never closes it: such a one is only ended. */
function resetOrEnd(socket: Socket): void {
  if (socket.writableEnded) socket.destroy();
  else socket.resetAndDestroy();
}

/** Fulfilled when it is closed, whether by an error or not. */
async function closeOf(socket: Socket): Promise<void> {
  // Without a listener an error would end the process; "close" follows it.
  socket.on("error", () => {});
  const { promise, resolve } = Promise.withResolvers<void>();
  socket.once("close", () => {
    resolve();
  });
  await promise;
}

/** Stands between clients and a PostgreSQL server, and cuts, holds up or swallows what passes, message by message. */
export class FaultProxy implements AsyncDisposable {
  /** Milliseconds for which everything that passes is held up, from now on. */
  delayMs = 0;
  /** Asked about every message of a client, in order, before it is passed on. */
  readonly judge: (message: ClientMessage) => Verdict;
  readonly #host: string;
  readonly #port: number;
  readonly #passages = new Set<Passage>();
  #server: Server | null = null;

  constructor(host: string, port: number, judge: (message: ClientMessage) => Verdict) {
    this.#host = host;
    this.#port = port;
    this.judge = judge;
  }

  /** @returns the port of 127.0.0.1 that it listens on */
  async listen(): Promise<number> {
    const server = createServer({ noDelay: true, allowHalfOpen: false }, (client) => {
      const target = connect({ host: this.#host, port: this.#port, noDelay: true });
      const passage = new Passage(client, target, this);
      this.#passages.add(passage);
      // A client of whom everything is swallowed outlives its server: who ends the proxy ends that one, too.
      void passage.closed.then(() => this.#passages.delete(passage));
    });
    server.listen(0, "127.0.0.1");
    await once(server, "listening");
    this.#server = server;
    const address = server.address();
    if (typeof address !== "object" || address === null) throw new Error("The proxy has no port");
    return address.port;
  }

  /** Tears off every connection that there is; new ones are taken. */
  resetAll(): void {
    for (const passage of this.#passages) passage.reset();
  }

  /** Ends every connection, and takes no new ones. */
  async [Symbol.asyncDispose](): Promise<void> {
    const closed = this.#server === null ? null : once(this.#server, "close");
    this.#server?.close();
    await Promise.all([...this.#passages].map(async (passage) => passage.close()));
    await closed;
  }
}
