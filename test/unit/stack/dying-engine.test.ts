import { mkdtemp, rm } from "node:fs/promises";
import { createServer, type Server } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { systemClock } from "../../../src/lib/kernel/clock.ts";
import { systemRandom } from "../../../src/lib/kernel/random.ts";
import { readDockerFacts } from "../../../src/lib/stack/detect-docker.ts";
import { storageCheck } from "../../../src/lib/stack/storage-look.ts";
import { makeDocument } from "../../support/federation.ts";
import { loadedBox } from "../../support/schedules.ts";

let dir: string;
let engine: Server;
let env: Readonly<Record<string, string>>;

/** Lists one container, and dies of whatever else it is asked. */
beforeEach(async () => {
  dir = await mkdtemp(join(tmpdir(), "fula-dying-"));
  const socket = join(dir, "docker.sock");
  env = { DOCKER_HOST: `unix://${socket}` };
  engine = createServer((request, response) => {
    if (request.url?.startsWith("/containers/json") !== true) {
      request.socket.destroy();
      return;
    }
    response.setHeader("content-type", "application/json");
    response.end(JSON.stringify([{ Id: "c0ffee", Names: ["/ipfs_cluster"], State: "running", Labels: {} }]));
  });
  const { promise, resolve } = Promise.withResolvers<void>();
  engine.listen(socket, resolve);
  await promise;
});

afterEach(async () => {
  engine.closeAllConnections();
  engine.close();
  await rm(dir, { recursive: true, force: true });
});

const dead = { code: "FULA_DOCKER_UNREACHABLE", kind: "unavailable" };

test("an engine that dies while join asks what it runs is one that gives no answer", async () => {
  const { config } = await loadedBox({ yaml: "runtime: docker\n" });
  await expect(readDockerFacts(env, config)).rejects.toMatchObject(dead);
});

test("an engine that dies while a storage node's peer is looked at is one that gives no answer", async () => {
  const loaded = await loadedBox({ yaml: "runtime: docker\nnode:\n  role: storage\n" });
  const { signal } = new AbortController();
  const check = storageCheck(loaded, makeDocument(), { env, clock: systemClock, random: systemRandom, signal }, false);
  await expect(check.startedAs()).rejects.toMatchObject(dead);
});
