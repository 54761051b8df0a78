import { randomBytes } from "node:crypto";
import { once } from "node:events";
import { chmod, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { request } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, onTestFinished, test } from "vitest";
import { z } from "zod";
import { type LoadedConfig, loadConfig } from "../../../src/lib/config/load.ts";
import { Secret } from "../../../src/lib/kernel/secret.ts";
import { systemClock } from "../../../src/lib/kernel/clock.ts";
import { inspectEmbeddedPostgres } from "../../../src/lib/runtime/embedded-postgres.ts";
import { markJoined } from "../../support/joined.ts";
import { withPinCluster } from "../../../src/lib/stack/pinset.ts";
import { runCliForTest } from "../../support/cli.ts";
import { findFreePort } from "../../support/free-port.ts";
import { sendHttp, sendSigned, signNow } from "../../support/http.ts";
import { launch, type Launched } from "../../support/launched.ts";
import { until } from "../../support/until.ts";

let baseDir: string;
let ports: { readonly server: number; readonly gateway: number; readonly api: number };
let pair: { readonly keyId: string; readonly secret: Secret };

const madeKey = z.object({ keyId: z.string(), secret: z.string() });

async function load(): Promise<LoadedConfig> {
  return await loadConfig({ globals: { baseDir }, env: {}, cwd: "/" });
}

async function run(...argv: readonly string[]): Promise<string> {
  const { exitCode, stdout, stderr } = await runCliForTest(argv, { baseDir });
  expect([exitCode, stderr]).toMatchObject([0, expect.any(String)]);
  return stdout;
}

beforeAll(async () => {
  baseDir = await mkdtemp(join(tmpdir(), "fula-serve-"));
  await chmod(baseDir, 0o700);
  ports = { server: await findFreePort(), gateway: await findFreePort(), api: await findFreePort() };
  const settings = {
    runtime: "embedded",
    node: { clusterId: "6f1e9a4e-0000-4000-8000-000000000002" },
    server: { port: ports.server },
    gateway: { port: ports.gateway },
    api: { port: ports.api },
  };
  await writeFile(join(baseDir, "fula-master.yaml"), JSON.stringify(settings), { mode: 0o600 });
  const names = ["POSTGRES_PASSWORD", "ENCRYPTION_KEY", "JWT_SECRET", "SESSION_SECRET", "SYSTEM_KEY"];
  const lines = names.map((name) => `${name}=${randomBytes(32).toString("hex")}\n`);
  markJoined(baseDir, settings.node.clusterId);
  await writeFile(join(baseDir, ".env"), lines.join(""), { mode: 0o600 });
  await run("migrate", "up");
  await withPinCluster(await load(), { clock: systemClock, create: true }, async () => {});
  const made = madeKey.parse(JSON.parse(await run("key", "create", "--user", "alice@example.com", "--json")));
  pair = { keyId: made.keyId, secret: new Secret(made.secret) };
});

afterAll(async () => {
  await run("stop", "--force");
  await rm(baseDir, { recursive: true, force: true });
});

async function readyStatus(): Promise<number | null> {
  return await sendHttp(ports.server, { method: "GET", target: "/readyz", headers: [["host", "x"]] }).then(
    ({ status }) => status,
    () => null,
  );
}

async function startServe(): Promise<Launched> {
  const serve = launch(["serve", "--base-dir", baseDir]);
  onTestFinished(() => {
    serve.kill();
  });
  await until("serve is ready", async () => (await readyStatus()) === 200);
  return serve;
}

async function postgresPid(): Promise<number | null> {
  return (await inspectEmbeddedPostgres({ stateDir: join(baseDir, "state") })).running?.pid ?? null;
}

describe("serve with an embedded PostgreSQL", () => {
  test("heals by itself when the server is killed under it, and takes it down when it ends", async () => {
    const serve = await startServe();
    expect((await sendSigned(ports.gateway, pair, { method: "PUT", path: "/photos" })).status).toBe(200);
    const killed = await postgresPid();
    process.kill(killed ?? 0, "SIGKILL");
    await until("another server runs", async () => {
      const pid = await postgresPid();
      return pid !== null && pid !== killed;
    });
    await until("objects are served again", async () => {
      const answer = await sendSigned(ports.gateway, pair, {
        method: "PUT",
        path: "/photos/a",
        body: Buffer.from("x"),
      });
      return answer.status === 200;
    });
    await until("it is ready again", async () => (await readyStatus()) === 200);
    process.kill(serve.pid, "SIGTERM");
    const { exitCode, output } = await serve.ended;
    expect(exitCode).toBe(0);
    expect(output).toContain('"event":"postgres.lost"');
    expect(await postgresPid()).toBeNull();
  });

  test("is found again by the next start after a kill -9, with everything that was stored", async () => {
    const first = await startServe();
    await sendSigned(ports.gateway, pair, { method: "PUT", path: "/photos" });
    await sendSigned(ports.gateway, pair, { method: "PUT", path: "/photos/kept", body: Buffer.from("kept") });
    first.kill();
    await first.ended;
    const second = await startServe();
    expect((await sendSigned(ports.gateway, pair, { method: "GET", path: "/photos/kept" })).body.toString()).toBe(
      "kept",
    );
    expect(Number((await readFile(join(baseDir, "state/serve.pid"), "utf8")).split("\n")[0])).toBe(second.pid);
    process.kill(second.pid, "SIGINT");
    expect((await second.ended).exitCode).toBe(0);
  });

  test("is told by name who runs already, and exits with 3", async () => {
    const serve = await startServe();
    const { exitCode, stderr } = await runCliForTest(["serve"], { baseDir });
    expect(exitCode).toBe(3);
    expect(stderr).toContain(`process ${serve.pid}`);
    process.kill(serve.pid, "SIGTERM");
    expect((await serve.ended).exitCode).toBe(0);
  });

  test("ends at once at a second signal, although an upload is under way", async () => {
    const serve = await startServe();
    await sendSigned(ports.gateway, pair, { method: "PUT", path: "/photos" });
    const path = "/photos/never";
    const headers = signNow(ports.gateway, pair, { method: "PUT", path, payload: "UNSIGNED-PAYLOAD" });
    const call = request({
      host: "127.0.0.1",
      port: ports.gateway,
      method: "PUT",
      path,
      setHost: false,
      headers: [...headers, ["content-length", "10"]].flat(),
    });
    const failed = once(call, "error");
    call.write("12345");
    await until("the upload has begun", async () => {
      const { body } = await sendHttp(ports.server, { method: "GET", target: "/metrics", headers: [["host", "x"]] });
      return body.toString().includes('fula_http_requests_in_flight{listener="gateway"} 1');
    });
    process.kill(serve.pid, "SIGTERM");
    await until("the first signal is heeded", async () => (await readyStatus()) === 503);
    // The process edge takes signals within half a second of each other for one key press: sent until one counts.
    let ended: Awaited<Launched["ended"]> | null = null;
    void serve.ended.then((end) => {
      ended = end;
    });
    await until("a further signal ends it", async () => {
      if (ended === null) process.kill(serve.pid, "SIGTERM");
      return ended;
    });
    expect(ended).toMatchObject({ exitCode: 130 });
    await failed;
    await run("stop");
  });
});
