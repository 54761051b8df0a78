import { createServer } from "node:net";
import { expect, test } from "vitest";
import { findPortOwner, probePort, renderCommandLine } from "../../../src/lib/runtime/port-owner.ts";
import { findFreePort } from "../../support/free-port.ts";

test.each(["127.0.0.1", "::1", "0.0.0.0"])("the process that listens on %s is found", async (host) => {
  const server = createServer();
  // One that Linux gives to nobody by itself, so that it is free again afterwards.
  const port = await findFreePort(host);
  await new Promise<void>((resolve, reject) => {
    server.once("error", reject);
    server.listen(port, host, resolve);
  });
  expect(await probePort(host, port)).toBe("in-use");
  expect(await findPortOwner(port)).toMatchObject({ pid: process.pid, command: expect.stringContaining("node") });
  await new Promise((resolve) => {
    server.close(resolve);
  });
  expect(await probePort(host, port)).toBe("free");
  expect(await findPortOwner(port)).toBeNull();
});

test("a password in somebody's command line is not repeated", () => {
  expect(renderCommandLine(["psql", "postgres://pinning:hunter2@db/x"])).toBe("psql postgres://****@db/x");
});

test("a long command line is cut", () => {
  expect(renderCommandLine(["java", "x".repeat(500)])).toHaveLength(100);
});
