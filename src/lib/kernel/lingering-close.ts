import type { IncomingMessage, ServerResponse } from "node:http";

/** After an answer to a request whose body nobody wants, the client has so long to notice. */
const LINGER_MS = 10_000;

/**
 * To be called right before an answer's head goes out. Where the request's body has not been read to its end, the answer
 * says that the connection ends with it (a client that waits for `100 Continue` sends no body: its next request would be
 * read as one), and the connection ends by halves: ours at once, the client's when it closes, or after ten seconds.
 * Node.js would destroy the socket after the last byte; with bytes unread that is a reset, which takes the answer away
 * from a client that is still sending.
 */
export function closeLingering(request: IncomingMessage, response: ServerResponse): void {
  if (request.complete) return;
  const { socket } = request;
  response.setHeader("connection", "close");
  socket.destroySoon = () => {
    socket.end();
  };
  request.on("error", () => {});
  response.once("finish", () => {
    request.resume();
    AbortSignal.timeout(LINGER_MS).addEventListener("abort", () => {
      socket.destroy();
    });
  });
}
