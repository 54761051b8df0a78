import { once } from "node:events";
import { createServer, type Server } from "node:http";
import { createServer as createTcpServer, type Server as TcpServer, type Socket } from "node:net";
import { mkdirSync } from "node:fs";
import { expect, test } from "vitest";
import { loadConfig, type LoadedConfig } from "../../../src/lib/config/load.ts";
import { systemClock } from "../../../src/lib/kernel/clock.ts";
import { writeDaemonFile } from "../../../src/lib/stack/daemon-file.ts";
import { servicesEvidence, tryServe } from "../../../src/lib/stack/failover-services.ts";
import { boxWith } from "../../support/config.ts";
import { findFreePort } from "../../support/free-port.ts";

const HOST = "127.0.0.1";
const { signal } = new AbortController();

interface Ports {
  readonly gateway: number;
  readonly api: number;
  readonly server: number;
}

async function freePorts(): Promise<Ports> {
  return { gateway: await findFreePort(), api: await findFreePort(), server: await findFreePort() };
}

async function load({ gateway, api, server }: Ports, more = "", host = "0.0.0.0"): Promise<LoadedConfig> {
  return await loadConfig(
    boxWith({
      yaml: `gateway:\n  host: ${host}\n  port: ${gateway}\napi:\n  host: ${host}\n  port: ${api}\nserver:\n  port: ${server}\n${more}`,
    }),
  );
}

async function listening<S extends Server | TcpServer>(server: S, port: number): Promise<S & AsyncDisposable> {
  server.listen(port, HOST);
  await once(server, "listening");
  return Object.assign(server, {
    [Symbol.asyncDispose]: async () => {
      const closed = once(server, "close");
      server.close();
      if ("closeAllConnections" in server) server.closeAllConnections();
      await closed;
    },
  });
}

async function answering(port: number, status: number, body = "ok\n"): Promise<AsyncDisposable> {
  const server = createServer((_request, response) => {
    response.writeHead(status);
    response.end(body);
  });
  return await listening(server, port);
}

test("of the old master's services, all that can be reached have to refuse", async () => {
  const ports = await freePorts();
  const loaded = await load(ports);
  const old = { node: "one", host: HOST };
  await expect(servicesEvidence(loaded, old, signal)).resolves.toMatchObject({ state: "proven" });
  {
    // A reverse proxy whose master is gone.
    await using _ = await answering(ports.gateway, 502);
    const evidence = await servicesEvidence(loaded, old, signal);
    expect(evidence).toMatchObject({ state: "proven", seen: expect.stringContaining("answers /healthz with 502") });
  }
  {
    await using _ = await answering(ports.gateway, 200);
    await expect(servicesEvidence(loaded, old, signal)).resolves.toMatchObject({ state: "unknown" });
  }
  await using _ = await answering(ports.api, 404);
  await expect(servicesEvidence(loaded, old, signal)).resolves.toMatchObject({ state: "unknown" });
});

test("a service that takes connections and says nothing may be frozen, and proves nothing", async () => {
  const ports = await freePorts();
  const sockets: Socket[] = [];
  await using _ = await listening(
    createTcpServer((socket) => sockets.push(socket)),
    ports.gateway,
  );
  await expect(servicesEvidence(await load(ports), { node: "one", host: HOST }, signal)).resolves.toMatchObject({
    state: "unknown",
    seen: expect.stringContaining("takes connections and does not answer"),
  });
  for (const socket of sockets) socket.destroy();
});

test("where gateways listen on loopback alone, that another box's refuses connections proves nothing", async () => {
  const loaded = await load(await freePorts(), "", HOST);
  // Never asked.
  await expect(servicesEvidence(loaded, { node: "one", host: "192.0.2.1" }, signal)).resolves.toMatchObject({
    state: "unknown",
    seen: expect.stringContaining("loopback alone"),
  });
});

function readyz(epoch: number, ready = true): string {
  const failed = ready ? [] : [{ name: "blocks", state: "failed", error: "disk full" }];
  const known = { name: "ledger-epoch", state: "ok", error: null, details: { state: "primary", epoch } };
  return JSON.stringify({ ready, checks: [known, ...failed] });
}

test("clients are only sent to a master whose serve runs, is ready under the new epoch, and whose gateway answers", async () => {
  const ports = await freePorts();
  const loaded = await load(ports, "node:\n  name: two\n");
  const epoch = { number: 3, primary: "two" };
  const told: string[] = [];
  const report = (text: string): void => {
    told.push(text);
  };
  const trial = { clock: systemClock, signal, report };
  await expect(tryServe(loaded, epoch, trial)).resolves.toMatchObject({ state: "attention" });
  const flipping = await load(ports, "node:\n  name: two\nfailover:\n  flipCommand: /bin/true\n");
  await expect(tryServe(flipping, epoch, trial)).resolves.toMatchObject({
    state: "bad",
    seen: expect.stringContaining("serve does not run on two"),
  });
  mkdirSync(loaded.paths.stateDir, { recursive: true });
  await writeDaemonFile(loaded.paths.servePidFile, systemClock);
  await using gateway = await answering(ports.gateway, 200);
  expect(gateway).toBeDefined();
  const server = createServer((_request, response) => {
    // At first it has not heard of the epoch yet.
    response.end(readyz(told.length === 0 ? 2 : 3));
  });
  await using _ = await listening(server, ports.server);
  await expect(tryServe(loaded, epoch, trial)).resolves.toMatchObject({ state: "ok" });
  expect(told[0]).toContain("it is at epoch 2 of the ledger, not at 3");
  // Another box's services are not seen from here, and that is said.
  await expect(tryServe(loaded, { ...epoch, primary: "three" }, trial)).resolves.toMatchObject({ state: "attention" });
});
