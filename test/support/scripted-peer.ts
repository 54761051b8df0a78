import { once } from "node:events";
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";

/** A peer of an IPFS Cluster that answers as a test says, also as no real one would on demand. */
export interface ScriptedPeer extends AsyncDisposable {
  readonly url: string;
  /** Method and target of every request, in order. */
  readonly asked: readonly string[];
}

/** Answers one request; what it leaves open stays open. */
export type Script = (request: IncomingMessage, response: ServerResponse) => void;

/** Starts one on a free port of 127.0.0.1. */
export async function startScriptedPeer(script: Script): Promise<ScriptedPeer> {
  const asked: string[] = [];
  const server: Server = createServer((request, response) => {
    asked.push(`${request.method ?? ""} ${request.url ?? ""}`);
    script(request, response);
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const address = server.address();
  if (typeof address !== "object" || address === null) throw new Error("The peer has no port");
  return {
    url: `http://127.0.0.1:${address.port}`,
    asked,
    [Symbol.asyncDispose]: async () => {
      const closed = once(server, "close");
      server.close();
      server.closeAllConnections();
      await closed;
    },
  };
}

/** Sends lines as IPFS Cluster streams them. @param streamError what the trailer says; null leaves the trailer out */
export function streamLines(response: ServerResponse, lines: readonly string[], streamError: string | null = ""): void {
  response.writeHead(200, { "content-type": "application/json", trailer: "X-Stream-Error" });
  for (const line of lines) response.write(`${line}\n`);
  if (streamError !== null) response.addTrailers({ "X-Stream-Error": streamError });
  response.end();
}
