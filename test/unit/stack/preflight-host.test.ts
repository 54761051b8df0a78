import { createServer, type Server } from "node:net";
import { afterEach, beforeEach, expect, test } from "vitest";
import {
  CLOCK_AHEAD_MAX_MS,
  CLOCK_MIN_MS,
  checkPort,
  checkPorts,
  judgeClock,
  judgeNode,
} from "../../../src/lib/stack/preflight-host.ts";
import { findFreePort } from "../../support/free-port.ts";

let server: Server;
let port: number;

beforeEach(async () => {
  server = createServer();
  // One that Linux gives to nobody by itself, so that it is free once the server has let go of it.
  port = await findFreePort();
  await new Promise<void>((resolve, reject) => {
    server.once("error", reject);
    server.listen(port, "127.0.0.1", resolve);
  });
});

afterEach(async () => {
  await new Promise((resolve) => {
    server.close(resolve);
  });
});

const wanted = (number: number, setting = "gateway.port") => ({
  setting,
  remedy: "--gateway-port <port>",
  host: "127.0.0.1",
  port: number,
});

test.each([
  ["24.0.0", "ok"],
  ["24.21.0", "ok"],
  ["26.0.0-pre", "ok"],
  ["22.22.2", "failed"],
  ["23.11.1", "failed"],
])("Node.js %s is %s", (version, state) => {
  expect(judgeNode(version).state).toBe(state);
});

test("a clock before this program was written is refused", () => {
  expect(judgeClock({ nowMs: CLOCK_MIN_MS - 1, newestFile: null, synchronized: true })).toMatchObject({
    state: "failed",
    code: "FULA_CLOCK_WRONG",
  });
  expect(judgeClock({ nowMs: CLOCK_MIN_MS, newestFile: null, synchronized: true }).state).toBe("ok");
});

test("a clock that is behind a file of ours has gone back, and the file is named", () => {
  const nowMs = CLOCK_MIN_MS + 1e9;
  const at = (mtimeMs: number) =>
    judgeClock({ nowMs, newestFile: { path: "/b/snapshots/x", mtimeMs }, synchronized: null });
  expect(at(nowMs + CLOCK_AHEAD_MAX_MS).state).toBe("ok");
  expect(at(nowMs + CLOCK_AHEAD_MAX_MS + 1)).toMatchObject({
    code: "FULA_CLOCK_WRONG",
    message: expect.stringContaining("/b/snapshots/x"),
  });
});

test("a clock that nothing keeps is a warning; one of which nobody can tell is none", () => {
  const nowMs = CLOCK_MIN_MS + 1;
  expect(judgeClock({ nowMs, newestFile: null, synchronized: false }).state).toBe("warning");
  expect(judgeClock({ nowMs, newestFile: null, synchronized: null }).state).toBe("ok");
});

test("a taken port is refused with the pid and the command of the process that has it", async () => {
  expect(await checkPort(wanted(port), new Set())).toMatchObject({
    state: "failed",
    code: "FULA_PORT_IN_USE",
    message: expect.stringMatching(
      new RegExp(`:${port} \\(gateway.port\\) is in use by process ${process.pid} \\(\\S*node`),
    ),
    remedy: expect.stringContaining("--gateway-port"),
    details: { owner: { pid: process.pid } },
  });
});

test("a port that our own process holds is fine", async () => {
  expect((await checkPort(wanted(port), new Set([process.pid]))).state).toBe("ok");
});

test("a free port is fine", async () => {
  await new Promise((resolve) => {
    server.close(resolve);
  });
  expect((await checkPort(wanted(port), new Set())).state).toBe("ok");
});

test("an address that this machine does not have is named", async () => {
  expect(await checkPort({ ...wanted(0), host: "203.0.113.7" }, new Set())).toMatchObject({
    state: "failed",
    message: expect.stringContaining("203.0.113.7"),
  });
});

test("two settings with one port are refused, and the free one beside them is not", async () => {
  const findings = await checkPorts([wanted(0, "a"), wanted(port, "b"), wanted(port, "c")], new Set([process.pid]));
  expect(findings.map(({ state }) => state)).toEqual(["ok", "ok", "failed"]);
  expect(findings[2]?.message).toBe(`c and b are both ${port}.`);
});
