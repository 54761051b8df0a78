import { once } from "node:events";
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import { connect, type Socket } from "node:net";
import { expect, test } from "vitest";
import { closeLingering } from "../../../src/lib/kernel/lingering-close.ts";

const BODY_BYTES = 64 * 1024 * 1024;

/** A server that answers every request at its head, and a client's connection to it. */
async function answering(
  handle: (request: IncomingMessage, response: ServerResponse) => void,
): Promise<{ readonly socket: Socket; readonly seen: string[] } & AsyncDisposable> {
  const seen: string[] = [];
  const server = createServer((request, response) => {
    seen.push(request.url ?? "");
    handle(request, response);
  });
  server.on("checkContinue", (request, response) => {
    seen.push(request.url ?? "");
    handle(request, response);
  });
  await once(server.listen(0, "127.0.0.1"), "listening");
  const address = server.address();
  const socket = connect({ host: "127.0.0.1", port: typeof address === "object" ? (address?.port ?? 0) : 0 });
  socket.on("error", () => {});
  return {
    socket,
    seen,
    [Symbol.asyncDispose]: async () => {
      socket.destroy();
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}

function refuse(request: IncomingMessage, response: ServerResponse): void {
  closeLingering(request, response);
  response.writeHead(413, { "content-length": 7 });
  response.end("too big");
}

async function readAll(socket: Socket): Promise<string> {
  let text = "";
  socket.setEncoding("latin1");
  socket.on("data", (piece: string) => {
    text += piece;
  });
  await once(socket, "close");
  return text;
}

test("a client that reads nothing before it has sent everything gets its answer", async () => {
  await using at = await answering(refuse);
  at.socket.write(`PUT /a HTTP/1.1\r\nHost: x\r\nContent-Length: ${2 * BODY_BYTES}\r\n\r\n`);
  const piece = Buffer.alloc(1024 * 1024);
  for (let sent = 0; sent < BODY_BYTES; sent += piece.byteLength) {
    if (!at.socket.write(piece)) await Promise.race([once(at.socket, "drain"), once(at.socket, "close")]);
  }
  expect(at.socket.destroyed).toBe(false);
  at.socket.end();
  const answer = await readAll(at.socket);
  expect(answer).toContain("HTTP/1.1 413");
  expect(answer).toContain("connection: close");
  expect(answer).toContain("too big");
});

test("a request that follows a refused one without its body is not read as that body", async () => {
  await using at = await answering(refuse);
  at.socket.write("PUT /a HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 100\r\n\r\n");
  const [piece] = await once(at.socket, "data");
  expect(String(piece)).toMatch(/HTTP\/1\.1 413[^]*connection: close/u);
  at.socket.resume();
  // The server's half is closed by now: a client sees that nothing more will be answered here.
  await once(at.socket, "end");
  expect(at.seen).toEqual(["/a"]);
});

test("a request that is there to its end keeps its connection", async () => {
  await using at = await answering((request, response) => {
    request.resume();
    request.once("end", () => {
      refuse(request, response);
    });
  });
  at.socket.write("PUT /a HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\nok");
  const [first] = await once(at.socket, "data");
  expect(String(first)).not.toContain("connection: close");
  at.socket.write("PUT /b HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\nok");
  await once(at.socket, "data");
  expect(at.seen).toEqual(["/a", "/b"]);
});
