import { execFileSync, spawn } from "node:child_process";
import { once } from "node:events";
import { readFileSync } from "node:fs";
import { createServer, type Server } from "node:https";
import type { AddressInfo } from "node:net";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { fetchHttpsDocument, type HttpsDocument } from "../../../src/lib/runtime/https-document.ts";
import { findFreePort } from "../../support/free-port.ts";
import { tempDir } from "../../support/temp-dir.ts";

const ROOT = join(import.meta.dirname, "..", "..", "..");
const signal = new AbortController().signal;
let server: Server;
let certificate: string;

function serve(path: string | undefined): {
  readonly status: number;
  readonly headers?: object;
  readonly body: string;
} {
  if (path === "/peers.json") return { status: 200, body: '{"signed":"é"}' };
  if (path === "/huge") return { status: 200, body: "x".repeat(1_100_000) };
  return path === "/moved" ? { status: 302, body: "" } : { status: 404, body: "no" };
}

beforeEach(async () => {
  const dir = tempDir();
  const [key, cert] = [join(dir, "key.pem"), join(dir, "cert.pem")];
  const subject = ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"];
  execFileSync(
    "openssl",
    ["req", "-x509", "-newkey", "ed25519", "-nodes", "-keyout", key, "-out", cert, "-days", "2", ...subject],
    { stdio: "ignore" },
  );
  certificate = cert;
  server = createServer({ key: readFileSync(key), cert: readFileSync(cert) }, (request, response) => {
    const { status, body } = serve(request.url);
    response.writeHead(status, { location: "https://localhost:1/" }).end(body);
  });
  server.listen(0, "localhost");
  await once(server, "listening");
});
afterEach(async () => {
  server.closeAllConnections();
  server.close();
  await once(server, "close");
});

function portOfServer(): number {
  // oxlint-disable-next-line typescript/no-unsafe-type-assertion -- it listens on TCP
  return (server.address() as AddressInfo).port;
}

/** In a process that trusts the server's certificate, which Node.js reads when it starts. */
async function fetchTrusting(path: string): Promise<HttpsDocument> {
  const script = `
    import { fetchHttpsDocument } from "${ROOT}/src/lib/runtime/https-document.ts";
    const url = new URL("https://localhost:${portOfServer()}${path}");
    console.log(JSON.stringify(await fetchHttpsDocument(url, new AbortController().signal)));`;
  const child = spawn(process.execPath, ["--input-type=module", "--eval", script], {
    env: { ...process.env, NODE_EXTRA_CA_CERTS: certificate },
    stdio: ["ignore", "pipe", "inherit"],
  });
  let output = "";
  child.stdout.on("data", (piece: Buffer) => {
    output += piece.toString("utf8");
  });
  await once(child, "close");
  return JSON.parse(output);
}

describe("a document over HTTPS", () => {
  test("comes as it was sent, from a server whose certificate is good", async () => {
    expect(await fetchTrusting("/peers.json")).toEqual({ text: '{"signed":"é"}' });
  });

  test.each([
    ["/absent", "404"],
    ["/moved", "302"],
    ["/huge", "longer than 1 MiB"],
  ])("is none where %s gives something else: %s", async (path, why) => {
    expect(await fetchTrusting(path)).toEqual({ failed: expect.stringContaining(why) });
  });

  test("is none from a server that nobody vouches for, and where nobody answers", async () => {
    const stranger = await fetchHttpsDocument(new URL(`https://localhost:${portOfServer()}/peers.json`), signal);
    expect(stranger).toEqual({ failed: expect.stringContaining("certificate") });
    const nobody = await fetchHttpsDocument(new URL(`https://localhost:${await findFreePort()}/peers.json`), signal);
    expect(nobody).toEqual({ failed: expect.stringContaining("ECONNREFUSED") });
  });
});
