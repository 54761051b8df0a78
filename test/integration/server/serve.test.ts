import { spawn } from "node:child_process";
import { randomBytes } from "node:crypto";
import { once } from "node:events";
import { readFile, rename, writeFile } from "node:fs/promises";
import { type IncomingMessage, request } from "node:http";
import { createServer } from "node:net";
import { join } from "node:path";
import { describe, expect, onTestFinished, test } from "vitest";
import { z } from "zod";
import { FulaError } from "../../../src/lib/kernel/errors.ts";
import { systemClock } from "../../../src/lib/kernel/clock.ts";
import { systemRandom } from "../../../src/lib/kernel/random.ts";
import { silentLog } from "../../../src/lib/kernel/log.ts";
import { snapshotCheck } from "../../../src/lib/server/health-checks.ts";
import { startServer } from "../../../src/lib/server/start.ts";
import { runCliForTest } from "../../support/cli.ts";
import { findFreePort } from "../../support/free-port.ts";
import { emptyDatabase } from "../../support/postgres.ts";
import { errorCodeOf, sendHttp, sendSigned, signNow } from "../../support/http.ts";
import { makeKey, makeServingBox, type ServingBox, startTestServer } from "../../support/serving.ts";
import type { Unsigned } from "../../support/signing.ts";
import { shareState } from "../../support/two-gateways.ts";
import { TcpProxy } from "../../support/tcp-proxy.ts";
import { until } from "../../support/until.ts";

const readinessReport = z.object({
  ready: z.boolean(),
  status: z.string(),
  checks: z.array(z.object({ name: z.string(), state: z.string(), error: z.string().nullable() })),
});
const settingsFile = z.record(z.string(), z.record(z.string(), z.unknown()));

interface Readiness {
  readonly status: number;
  readonly report: z.infer<typeof readinessReport>;
}

async function askReady(port: number): Promise<Readiness> {
  const answer = await sendHttp(port, { method: "GET", target: "/readyz", headers: [["host", "x"]] });
  return { status: answer.status, report: readinessReport.parse(JSON.parse(answer.body.toString())) };
}

async function readMetrics(port: number): Promise<string> {
  return (await sendHttp(port, { method: "GET", target: "/metrics", headers: [["host", "x"]] })).body.toString();
}

function stateOf({ report }: Readiness, check: string): string | undefined {
  return report.checks.find(({ name }) => name === check)?.state;
}

async function startFailure(box: Pick<ServingBox, "load">): Promise<FulaError> {
  try {
    const server = await startServer(await box.load(), { clock: systemClock, random: systemRandom, log: silentLog });
    await server.close();
  } catch (error) {
    if (error instanceof FulaError) return error;
    throw error;
  }
  throw new Error("It started");
}

/** How many objects all buckets have. */
async function objectsIn(box: ServingBox): Promise<number> {
  const { rows } = await box.database.pool.query<{ objects: string }>(
    "select coalesce(sum(object_count), 0) as objects from bucket_roots",
  );
  return Number(rows[0]?.objects);
}

/** Changes one line of the box's settings. */
async function changeSettings(
  box: ServingBox,
  change: (settings: z.infer<typeof settingsFile>) => void,
): Promise<void> {
  const path = join(box.baseDir, "fula-master.yaml");
  const settings = settingsFile.parse(JSON.parse(await readFile(path, "utf8")));
  change(settings);
  await writeFile(path, JSON.stringify(settings));
}

describe("a server", () => {
  test("tells that it is alive, how each dependency is, and counts what it does", async () => {
    await using box = await makeServingBox();
    await using _serving = await startTestServer(box);
    const alive = await sendHttp(box.ports.server, { method: "GET", target: "/healthz", headers: [["host", "x"]] });
    expect([alive.status, JSON.parse(alive.body.toString())]).toMatchObject([200, { status: "alive" }]);
    const ready = await askReady(box.ports.server);
    expect(ready.status).toBe(200);
    expect(ready.report.status).toBe("degraded");
    expect(ready.report.checks.map(({ name, state }) => `${name} ${state}`)).toEqual([
      "database ok",
      "schema ok",
      "blocks ok",
      "pinset ok",
      "snapshot degraded",
      "disk ok",
      "denials ok",
      "signing-keys ok",
      "control-plane ok",
    ]);
    const pair = await makeKey(box);
    await sendSigned(box.ports.gateway, pair, { method: "PUT", path: "/photos" });
    await sendSigned(box.ports.gateway, pair, { method: "GET", path: "/photos/absent" });
    await sendSigned(box.ports.gateway, pair, { method: "PUT", path: "/photos/a", body: Buffer.from("hello") });
    // The object's content, the empty index that the bucket began with, and the block of the index that names the object.
    const metrics = await until("the pins are counted, whose count may be a second old", async () => {
      const text = await readMetrics(box.ports.server);
      return /^fula_pins 3$/m.test(text) ? text : null;
    });
    expect(metrics).toContain('fula_http_requests_total{listener="gateway",method="PUT",status_class="2xx"} 2');
    expect(metrics).toContain('fula_gateway_errors_total{code="NoSuchKey"} 1');
    expect(metrics).toContain('fula_dependency_up{dependency="database"} 1');
    expect(metrics).toContain('fula_http_received_bytes_total{listener="gateway"} 5');
    expect(metrics).toMatch(/^fula_ready 1$/m);
    expect(metrics).toMatch(/^fula_build_info\{version="[^"]+",node_version="v24\.[^"]+"\} 1$/m);
    expect(metrics).not.toContain(pair.keyId);
    expect(metrics).not.toContain("photos");
  });

  test("is ready without reserve once there is a good snapshot, and degraded again once that is old", async () => {
    await using box = await makeServingBox({ snapshot: { maxAge: "50s" } });
    await using _serving = await startTestServer(box);
    const pair = await makeKey(box);
    await sendSigned(box.ports.gateway, pair, { method: "PUT", path: "/photos" });
    await sendSigned(box.ports.gateway, pair, { method: "PUT", path: "/photos/a", body: Buffer.from("hello") });
    const { exitCode, stderr } = await runCliForTest(["snapshot"], { baseDir: box.baseDir });
    expect([exitCode, stderr]).toMatchObject([0, expect.any(String)]);
    const ready = await askReady(box.ports.server);
    expect([ready.status, ready.report.status, stateOf(ready, "snapshot")]).toEqual([200, "ready", "ok"]);
    const metrics = await readMetrics(box.ports.server);
    expect(metrics).toMatch(/^fula_snapshot_age_seconds \d+$/m);
    const taken = /^fula_job_last_success_timestamp_seconds\{job="snapshot"\} (\d+)$/m.exec(metrics)?.[1];
    expect(Math.abs(Number(taken) - Date.now() / 1_000)).toBeLessThan(60);
    const loaded = await box.load();
    const later = { ...systemClock, nowMs: () => systemClock.nowMs() + 600_000 };
    const { paths, config } = loaded;
    const snapshots = {
      dir: paths.snapshotsDir,
      keysDir: paths.keysDir,
      trustedKeys: [],
      clusterId: config.node.clusterId ?? "",
      maxAgeMs: config.snapshot.maxAge,
    };
    expect(await snapshotCheck({ snapshots, clock: later }).run(new AbortController().signal)).toMatchObject({
      state: "degraded",
      error: expect.stringContaining("more than 50s"),
    });
  });

  test("answers what it does not have in a form that machines read", async () => {
    await using box = await makeServingBox();
    await using _serving = await startTestServer(box);
    const answer = await sendHttp(box.ports.server, { method: "GET", target: "/photos/a", headers: [["host", "x"]] });
    expect([answer.status, JSON.parse(answer.body.toString())]).toMatchObject([404, { error: { code: "NOT_FOUND" } }]);
  });

  test("is not ready, and refuses objects for now, while a check cannot be made; and is again when it can", async () => {
    await using box = await makeServingBox();
    await using _serving = await startTestServer(box);
    const pair = await makeKey(box);
    await sendSigned(box.ports.gateway, pair, { method: "PUT", path: "/photos" });
    const pins = join(box.baseDir, "state/pins.sqlite");
    await rename(pins, `${pins}.away`);
    const broken = await until("readiness has seen it", async () => {
      const ready = await askReady(box.ports.server);
      return ready.status === 503 ? ready : null;
    });
    expect(broken.report.ready).toBe(false);
    expect([stateOf(broken, "pinset"), stateOf(broken, "database")]).toEqual(["failed", "ok"]);
    const refused = await sendSigned(box.ports.gateway, pair, {
      method: "PUT",
      path: "/photos/a",
      body: Buffer.from("x"),
    });
    expect([refused.status, errorCodeOf(refused), refused.headers["retry-after"]]).toEqual([
      503,
      "ServiceUnavailable",
      "1",
    ]);
    expect(await objectsIn(box)).toBe(0);
    await rename(`${pins}.away`, pins);
    await until("readiness has seen it", async () => (await askReady(box.ports.server)).status === 200);
    expect(
      (await sendSigned(box.ports.gateway, pair, { method: "PUT", path: "/photos/a", body: Buffer.from("x") })).status,
    ).toBe(200);
  });

  test("is not ready, gives what it knows and takes nothing, while the ledger does not answer; and is again when it does", async () => {
    await using box = await makeServingBox();
    const { host, port } = box.database.options;
    const proxy = new TcpProxy(host, port);
    // It is given back later: none of those that any connection may get meanwhile.
    const proxyPort = await proxy.listen(await findFreePort());
    onTestFinished(async () => {
      await proxy.end();
    });
    await changeSettings(box, (settings) => {
      settings["postgres"] = { ...settings["postgres"], port: proxyPort };
    });
    await using _serving = await startTestServer(box);
    const pair = await makeKey(box);
    const { gateway } = box.ports;
    const body = Buffer.from("x");
    expect((await sendSigned(gateway, pair, { method: "PUT", path: "/photos" })).status).toBe(200);
    expect((await sendSigned(gateway, pair, { method: "PUT", path: "/photos/a", body })).status).toBe(200);
    await proxy.end();
    const broken = await until("readiness has seen it", async () => {
      const ready = await askReady(box.ports.server);
      return ready.status === 503 ? ready : null;
    });
    expect([stateOf(broken, "database"), stateOf(broken, "pinset")]).toEqual(["failed", "ok"]);
    const known = await sendSigned(gateway, pair, { method: "GET", path: "/photos/a" });
    expect([known.status, known.body.toString(), known.headers["x-fula-stale"]]).toEqual([
      200,
      "x",
      expect.stringMatching(/^[1-9]\d*$/),
    ]);
    expect(await readMetrics(box.ports.server)).toMatch(/^fula_bucket_stale_reads_total [1-9]/m);
    for (const asked of [
      { method: "PUT", path: "/photos/b", body },
      { method: "DELETE", path: "/photos/a" },
      { method: "PUT", path: "/others" },
      { method: "GET", path: "/others" },
    ]) {
      const refused = await sendSigned(gateway, pair, asked);
      expect([asked, refused.status, errorCodeOf(refused), refused.headers["retry-after"]]).toEqual([
        asked,
        503,
        "ServiceUnavailable",
        "1",
      ]);
    }
    expect(
      (await sendHttp(box.ports.server, { method: "GET", target: "/healthz", headers: [["host", "x"]] })).status,
    ).toBe(200);
    await proxy.listen(proxyPort);
    await until("it is ready again", async () => (await askReady(box.ports.server)).status === 200);
    await until("it takes objects again", async () => {
      return (await sendSigned(gateway, pair, { method: "PUT", path: "/photos/b", body })).status === 200;
    });
    const fresh = await sendSigned(gateway, pair, { method: "GET", path: "/photos/b" });
    expect([fresh.status, fresh.headers["x-fula-stale"]]).toEqual([200, undefined]);
  });

  test("takes what an account has room for where billing is on, and no more", async () => {
    await using box = await makeServingBox({ billing: { enabled: "on", freeTierBytes: 10 } });
    // Its other master has asked the account nothing yet, and remembers nothing that was admitted.
    await using other = await makeServingBox({ billing: { enabled: "on", freeTierBytes: 10 } }, box);
    await shareState(box, other);
    await using _serving = await startTestServer(box);
    await using _beside = await startTestServer(other);
    const pair = await makeKey(box);
    const { gateway } = box.ports;
    await sendSigned(gateway, pair, { method: "PUT", path: "/photos" });
    const put = async (key: string, size: number): Promise<string> =>
      errorCodeOf(
        await sendSigned(gateway, pair, { method: "PUT", path: `/photos/${key}`, body: Buffer.alloc(size, key) }),
      );
    expect([await put("a", 11), await put("b", 6), await put("c", 6)]).toEqual([
      "AccountProblem",
      "",
      "AccountProblem",
    ]);
    // What was stored counts for its user at once.
    const { rows } = await box.database.pool.query<{ bytes: string }>("select bytes from user_usage");
    expect(rows).toEqual([{ bytes: "6" }]);
    expect(await objectsIn(box)).toBe(1);
    // Nor may a part of an upload, sent or copied, beside what its open uploads hold already.
    const begun = await sendSigned(gateway, pair, { method: "POST", path: "/photos/d", query: "uploads" });
    const uploadId = /<UploadId>([0-9a-f]+)</.exec(begun.body.toString())?.[1] ?? "";
    const part = async (port: number, partNumber: number, source: Partial<Unsigned>): Promise<string> => {
      const query = `partNumber=${partNumber}&uploadId=${uploadId}`;
      return errorCodeOf(await sendSigned(port, pair, { method: "PUT", path: "/photos/d", query, ...source }));
    };
    expect(await part(gateway, 1, { body: Buffer.alloc(3) })).toBe("");
    const range = (last: number): Partial<Unsigned> => ({
      headers: [
        ["x-amz-copy-source", "/photos/b"],
        ["x-amz-copy-source-range", `bytes=0-${last}`],
      ],
    });
    expect(await part(other.ports.gateway, 2, range(1))).toBe("AccountProblem");
  });

  test("finishes an upload that is under way before it ends, and takes no new one", async () => {
    await using box = await makeServingBox();
    const serving = await startTestServer(box);
    const pair = await makeKey(box);
    const { gateway: port } = box.ports;
    await sendSigned(port, pair, { method: "PUT", path: "/photos" });
    const body = randomBytes(600_000);
    const headers = signNow(port, pair, { method: "PUT", path: "/photos/slow", body });
    const call = request({
      host: "127.0.0.1",
      port,
      method: "PUT",
      path: "/photos/slow",
      setHost: false,
      headers: [...headers, ["content-length", "600000"]].flat(),
    });
    const answered = once(call, "response");
    call.write(body.subarray(0, 300_000));
    await until("the upload has begun", async () => {
      return (await readMetrics(box.ports.server)).includes('fula_http_requests_in_flight{listener="gateway"} 1');
    });
    const closing = serving.server.close();
    await until(
      "new connections are refused",
      async () =>
        await sendHttp(port, { method: "GET", target: "/healthz", headers: [["host", "x"]] }).then(
          () => false,
          () => true,
        ),
    );
    expect((await askReady(box.ports.server)).report.status).toBe("stopping");
    call.end(body.subarray(300_000));
    const [response] = await answered;
    expect(response.statusCode).toBe(200);
    response.resume();
    await closing;
    expect(await objectsIn(box)).toBe(1);
    expect(serving.logged.at(-1)).toMatchObject({ event: "serve.stopped" });
  });

  test("sends a download to its last byte before it ends, however slowly the client reads", async () => {
    await using box = await makeServingBox();
    const serving = await startTestServer(box);
    const pair = await makeKey(box);
    const { gateway: port } = box.ports;
    await sendSigned(port, pair, { method: "PUT", path: "/photos" });
    const body = randomBytes(24 * 1024 * 1024);
    await sendSigned(port, pair, { method: "PUT", path: "/photos/large", body });
    const path = "/photos/large";
    const call = request({
      host: "127.0.0.1",
      port,
      path,
      setHost: false,
      headers: signNow(port, pair, { method: "GET", path }).flat(),
    });
    call.end();
    const [response]: IncomingMessage[] = await once(call, "response");
    if (response === undefined) throw new Error("No response");
    const closing = serving.server.close();
    await until("the end has begun", async () => serving.logged.some(({ event }) => event === "serve.stopping"));
    let received = 0;
    for await (const piece of response) {
      received += Buffer.byteLength(piece);
      // Many turns of the event loop for each piece: the server is done with writing long before.
      for (let turn = 0; turn < 20; turn += 1) await new Promise((resolve) => setImmediate(resolve));
    }
    expect(received).toBe(body.byteLength);
    await closing;
    expect(serving.logged.some(({ event }) => event === "serve.requests_cut")).toBe(false);
  });

  test("cuts off what has not ended after server.shutdownTimeout, and says so", async () => {
    await using box = await makeServingBox({ server: { shutdownTimeout: "200ms" } });
    const serving = await startTestServer(box);
    const pair = await makeKey(box);
    const { gateway: port } = box.ports;
    await sendSigned(port, pair, { method: "PUT", path: "/photos" });
    const headers = signNow(port, pair, { method: "PUT", path: "/photos/never", payload: "UNSIGNED-PAYLOAD" });
    const call = request({
      host: "127.0.0.1",
      port,
      method: "PUT",
      path: "/photos/never",
      setHost: false,
      headers: [...headers, ["content-length", "10"]].flat(),
    });
    const failed = once(call, "error");
    call.write("12345");
    await until("the upload has begun", async () => {
      return (await readMetrics(box.ports.server)).includes('fula_http_requests_in_flight{listener="gateway"} 1');
    });
    await serving.server.close();
    await failed;
    expect(serving.logged.find(({ event }) => event === "serve.requests_cut")).toMatchObject({ requests: 1 });
    expect(await objectsIn(box)).toBe(0);
  });

  test("leaves the S3 port to whom it belongs where the gateway runs in a container", async () => {
    await using box = await makeServingBox({ gateway: { mode: "container" } });
    const container = createServer();
    await once(container.listen({ host: "127.0.0.1", port: box.ports.gateway }), "listening");
    onTestFinished(() => {
      container.close();
    });
    await using _ = await startTestServer(box);
    expect((await askReady(box.ports.server)).status).toBe(200);
  });

  test("lets everything go, so that the next one can start at once", async () => {
    await using box = await makeServingBox();
    for (let round = 0; round < 2; round += 1) {
      const serving = await startTestServer(box);
      expect((await askReady(box.ports.server)).status).toBe(200);
      expect((await readFile(join(box.baseDir, "state/serve.pid"), "utf8")).split("\n")[0]).toBe(String(process.pid));
      await serving.server.close();
      await expect(readFile(join(box.baseDir, "state/serve.pid"))).rejects.toMatchObject({ code: "ENOENT" });
    }
  });

  test("logs no secret, whatever is sent to it and whatever goes wrong", async () => {
    await using box = await makeServingBox();
    const pair = await makeKey(box);
    const secret = pair.secret.reveal();
    const serving = await startTestServer(box);
    const { gateway: port } = box.ports;
    const bearer = `Bearer ${pair.keyId}.${secret}`;
    await sendSigned(port, pair, { method: "PUT", path: "/photos" });
    await sendSigned(port, pair, { method: "PUT", path: "/photos/a", body: Buffer.from("x") });
    await sendHttp(port, {
      method: "GET",
      target: "/photos/a",
      headers: [
        ["host", "x"],
        ["authorization", bearer],
      ],
    });
    await sendHttp(port, {
      method: "GET",
      target: `/photos/a?X-Amz-Credential=${secret}`,
      headers: [
        ["host", "x"],
        ["authorization", `${bearer}x`],
      ],
    });
    await sendHttp(port, {
      method: "GET",
      target: `/${secret}/a`,
      headers: [
        ["host", "x"],
        ["authorization", bearer],
      ],
    });
    await sendSigned(port, pair, { method: "GET", path: "/photos/a", headers: [["x-amz-security-token", secret]] });
    // A key that was just used is remembered for a moment.
    const unused = await makeKey(box);
    await box.database.pool.query("update access_keys set sealed_secret = '\\x00'");
    expect((await sendSigned(port, unused, { method: "GET", path: "/photos/a" })).status).toBe(500);
    const { authorization } = Object.fromEntries(signNow(port, pair, { method: "GET", path: "/photos/a" }));
    await serving.server.close();
    const text = serving.logText();
    expect(text).toContain("http.request");
    for (const [name, value] of Object.entries({
      ...box.secrets,
      secret,
      signature: authorization?.split("Signature=")[1] ?? "?",
    })) {
      expect([name, text.includes(value)]).toEqual([name, false]);
    }
    expect(text).not.toMatch(/signature=|bearer |authorization/i);
  });
});

describe("a start is refused", () => {
  test("beside a server that runs on the same base directory, by name", async () => {
    await using box = await makeServingBox();
    await using _serving = await startTestServer(box);
    const error = await startFailure(box);
    expect([error.code, error.kind]).toEqual(["FULA_LOCKED", "refused"]);
    expect(error.message).toContain(`process ${process.pid}`);
  });

  test.each(["server", "gateway", "api"] as const)(
    "where another process has the port of %s, naming its pid and command, before anything is started",
    async (listener) => {
      await using box = await makeServingBox();
      const script = `require("net").createServer().listen(${box.ports[listener]}, "127.0.0.1", () => console.log("up"))`;
      const other = spawn(process.execPath, ["-e", script], { stdio: ["ignore", "pipe", "inherit"] });
      onTestFinished(() => {
        other.kill();
      });
      await once(other.stdout, "data");
      const error = await startFailure(box);
      expect([error.code, error.kind]).toEqual(["FULA_PORT_IN_USE", "refused"]);
      expect(error.message).toContain(`process ${other.pid} (`);
      expect(error.message).toContain("createServer");
      expect(error.hint).toContain(`${listener}.port`);
      await expect(readFile(join(box.baseDir, "state/serve.pid"))).rejects.toMatchObject({ code: "ENOENT" });
    },
  );

  test("where both listeners have the same port", async () => {
    await using box = await makeServingBox();
    await changeSettings(box, (settings) => {
      settings["server"] = { ...settings["server"], port: box.ports.gateway };
    });
    expect((await startFailure(box)).code).toBe("FULA_LISTEN_FAILED");
  });

  test("where the address is not this machine's", async () => {
    await using box = await makeServingBox({ gateway: { host: "192.0.2.1" } });
    expect((await startFailure(box)).code).toBe("FULA_LISTEN_FAILED");
  });

  test("on a schema that is behind, with the command that mends it", async () => {
    await using box = await makeServingBox();
    await using empty = await emptyDatabase();
    await changeSettings(box, (settings) => {
      settings["postgres"] = { ...settings["postgres"], database: empty.name };
    });
    const error = await startFailure(box);
    expect([error.code, error.kind, error.hint]).toEqual(["FULA_SCHEMA_BEHIND", "refused", "fula-master migrate up"]);
  });

  test("on a schema of a newer build that this one cannot run on", async () => {
    await using box = await makeServingBox();
    await box.database.pool.query(
      `insert into schema_migrations (version, name, checksum, duration_ms, tool_version, how, breaking)
       values (999, 'from_the_future', repeat('0', 64), 1, '99.0.0', 'applied', true)`,
    );
    expect((await startFailure(box)).code).toBe("FULA_SCHEMA_NEWER");
  });

  test("without an ENCRYPTION_KEY, and with another one than the keys are sealed under", async () => {
    await using box = await makeServingBox();
    await makeKey(box);
    const path = join(box.baseDir, ".env");
    const env = await readFile(path, "utf8");
    await writeFile(path, env.replace(/^ENCRYPTION_KEY=.*$/m, ""));
    expect((await startFailure(box)).code).toBe("FULA_ENCRYPTION_KEY_INVALID");
    await writeFile(path, env.replace(/^ENCRYPTION_KEY=.*$/m, `ENCRYPTION_KEY=${"cd".repeat(32)}`));
    expect((await startFailure(box)).code).toBe("FULA_ENCRYPTION_KEY_WRONG");
  });

  test("where nobody has joined, and leaves nothing behind", async () => {
    await using box = await makeServingBox();
    await changeSettings(box, (settings) => {
      settings["node"] = { name: "box-1" };
    });
    expect((await startFailure(box)).code).toBe("FULA_NOT_JOINED");
    await expect(readFile(join(box.baseDir, "state/locks/serve.lock"))).rejects.toMatchObject({ code: "ENOENT" });
  });

  test("where the ledger does not answer, and the ports are free again", async () => {
    await using box = await makeServingBox();
    const holder = createServer();
    await changeSettings(box, (settings) => {
      settings["postgres"] = { ...settings["postgres"], port: 1 };
    });
    expect((await startFailure(box)).code).toBe("FULA_DATABASE_UNREACHABLE");
    holder.listen(box.ports.gateway, "127.0.0.1");
    await once(holder, "listening");
    holder.close();
  });
});
