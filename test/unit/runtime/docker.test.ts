import { mkdtemp, rm } from "node:fs/promises";
import { createServer, type RequestListener, type Server } from "node:http";
import { createServer as createSocketServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { detectDockerEngine, isDockerPresent } from "../../../src/lib/runtime/docker.ts";

let dir: string;
let close: () => void = () => {};

beforeEach(async () => {
  dir = await mkdtemp(join(tmpdir(), "fula-docker-"));
});
afterEach(async () => {
  close();
  await rm(dir, { recursive: true, force: true });
});

async function engine(where: string | number, answer: RequestListener): Promise<Server> {
  const server = createServer(answer);
  close = () => {
    server.close();
    server.closeAllConnections();
  };
  const { promise, resolve } = Promise.withResolvers<void>();
  if (typeof where === "string") server.listen(where, resolve);
  else server.listen(where, "127.0.0.1", resolve);
  await promise;
  return server;
}

const version: RequestListener = (request, response) => {
  response.setHeader("content-type", "application/json");
  response.end(request.url?.endsWith("/version") === true ? '{"Version":"29.1.0","ApiVersion":"1.52"}' : "{}");
};

describe("detectDockerEngine", () => {
  test("tells the versions of an engine behind a socket or an address", async () => {
    const socket = join(dir, "docker.sock");
    await engine(socket, version);
    const found = await detectDockerEngine({ env: { DOCKER_HOST: `unix://${socket}` } });
    expect(found).toEqual({ version: "29.1.0", apiVersion: "1.52" });
    expect(isDockerPresent(found)).toBe(true);
    close();
    const address = (await engine(0, version)).address();
    const port = typeof address === "object" && address !== null ? address.port : 0;
    expect(await detectDockerEngine({ env: { DOCKER_HOST: `tcp://127.0.0.1:${port}` } })).toEqual(found);
  });

  test("says why there is none", async () => {
    const socket = join(dir, "none.sock");
    const found = await detectDockerEngine({ env: { DOCKER_HOST: `unix://${socket}` } });
    expect(found.absent).toContain("ENOENT");
    expect(isDockerPresent(found)).toBe(false);
    const odd = await detectDockerEngine({ env: { DOCKER_HOST: "ssh://somewhere" } });
    expect(odd.absent).toContain("ssh://somewhere");
    const nonsense = await detectDockerEngine({ env: { DOCKER_HOST: "not an address" } });
    expect(nonsense.absent).toContain("Invalid URL");
  });

  test("an engine that refuses us is absent, with its words", async () => {
    const socket = join(dir, "docker.sock");
    await engine(socket, (_request, response) => {
      response.statusCode = 403;
      response.end('{"message":"authorization denied"}');
    });
    const found = await detectDockerEngine({ env: { DOCKER_HOST: `unix://${socket}` } });
    expect(found.absent).toContain("authorization denied");
  });

  test("one that takes the connection and never answers is given up after the time that it was given", async () => {
    const socket = join(dir, "docker.sock");
    const silent = createSocketServer((connection) => connection.on("error", () => {}));
    close = () => silent.close();
    const { promise, resolve } = Promise.withResolvers<void>();
    silent.listen(socket, resolve);
    await promise;
    const found = await detectDockerEngine({ env: { DOCKER_HOST: `unix://${socket}` }, patienceMs: 200 });
    expect(found.absent).toBeDefined();
  });

  test("an aborted signal ends it at once", async () => {
    const signal = AbortSignal.abort(new Error("Ctrl-C"));
    await expect(detectDockerEngine({ env: {}, signal })).rejects.toThrow("Ctrl-C");
  });
});
