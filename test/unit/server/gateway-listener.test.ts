import { once } from "node:events";
import type { IncomingMessage, ServerResponse } from "node:http";
import { connect } from "node:net";
import { expect, test } from "vitest";
import type { ExchangeSummary, Gateway } from "../../../src/lib/gateway/gateway.ts";
import { systemClock } from "../../../src/lib/kernel/clock.ts";
import { silentLog } from "../../../src/lib/kernel/log.ts";
import { createGatewayListener } from "../../../src/lib/server/gateway-listener.ts";
import { createMetrics } from "../../../src/lib/server/metrics.ts";

/** Longer than the process is kept from reading what is there, on a busy machine. */
const IDLE_MS = 1_500;
const SUMMARY: Omit<ExchangeSummary, "status"> = {
  requestId: "1",
  operation: null,
  bucket: null,
  credentialId: null,
  code: null,
  cutBy: null,
  failure: null,
  receivedBytes: 0,
  sentBytes: 0,
};

/** Takes the body, works for some idle times, and answers. */
const slowGateway: Gateway = {
  newRequestId: () => "1",
  handle: async (request: IncomingMessage, response: ServerResponse) => {
    try {
      for await (const _ of request) void _;
      await systemClock.sleep(4 * IDLE_MS);
      response.end("kept");
    } catch {
      response.destroy();
    }
    return { ...SUMMARY, status: response.statusCode };
  },
};

/** What comes back for these bytes until the connection ends. */
async function exchange(port: number, bytes: string): Promise<string> {
  const socket = connect({ host: "127.0.0.1", port });
  let received = "";
  socket.setEncoding("latin1");
  socket.on("data", (text: string) => {
    received += text;
  });
  socket.write(bytes);
  await once(socket, "close");
  return received;
}

test("a connection that stands still is ended where it is the client's turn, and not while he waits for us", async () => {
  const metrics = createMetrics({ version: "1", nodeVersion: "1" });
  const parts = { gateway: slowGateway, metrics, clock: systemClock, log: silentLog, idleTimeoutMs: IDLE_MS };
  const { server } = createGatewayListener(parts);
  await once(server.listen(0, "127.0.0.1"), "listening");
  const address = server.address();
  const port = typeof address === "object" && address !== null ? address.port : 0;
  const head = "PUT /a HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 4\r\n\r\n";
  const [whole, half, none] = await Promise.all([
    exchange(port, `${head}body`),
    exchange(port, `${head}bo`),
    exchange(port, ""),
  ]);
  expect(whole).toMatch(/^HTTP\/1\.1 200 OK\r\n[^]*kept/);
  expect([half, none]).toEqual(["", ""]);
  server.close();
});
