import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { GetObjectCommand, PutObjectCommand, CreateBucketCommand } from "@aws-sdk/client-s3";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { systemClock } from "../../../src/lib/kernel/clock.ts";
import { systemRandom } from "../../../src/lib/kernel/random.ts";
import { openControlPlane } from "../../../src/lib/stack/control-plane.ts";
import { seedOperators } from "../../../src/lib/stack/operators.ts";
import { runCliForTest } from "../../support/cli.ts";
import { sendHttp } from "../../support/http.ts";
import { type NatsServers, startNatsServers } from "../../support/nats-servers.ts";
import {
  makeKey,
  makeServingBox,
  s3Client,
  type ServingBox,
  startTestServer,
  type TestServer,
} from "../../support/serving.ts";
import { until } from "../../support/until.ts";

/** What a busy machine answers in, in one go: a client that is anew logs in and reads. */
const TIMEOUT_MS = 5_000;
/** For what is around the question itself: opening, and a machine that has other things to do. */
const MARGIN_MS = 40_000;
const CREATE = ["key", "create", "--user", "alice@example.com"];

let nats: NatsServers;
let box: ServingBox;
let serving: TestServer;

beforeAll(async () => {
  nats = await startNatsServers(1);
  box = await makeServingBox({
    api: { admins: ["root@example.org"] },
    billing: { vaultAddress: "0x00000000000000000000000000000000000000ff" },
    controlPlane: {
      mode: "nats",
      servers: nats.urls,
      nkeyFile: "nats.nk",
      timeout: `${TIMEOUT_MS}ms`,
      bootstrapTimeout: "10s",
    },
  });
  writeFileSync(join(box.baseDir, "nats.nk"), nats.user.seed, { mode: 0o600 });
  const loaded = await box.load();
  const deps = { clock: systemClock, random: systemRandom, signal: new AbortController().signal };
  await using store = await openControlPlane(loaded, { ...deps, patience: "bootstrap" });
  await seedOperators(store, loaded, deps);
  serving = await startTestServer(box);
  await until("the control plane is open", async () => (await adminStatus()) === 200);
});

afterAll(async () => {
  await serving[Symbol.asyncDispose]();
  await box[Symbol.asyncDispose]();
  await nats[Symbol.asyncDispose]();
});

interface Answer {
  readonly status: number;
  readonly headers: Readonly<Record<string, string | string[] | undefined>>;
  readonly text: string;
}

async function get(
  port: number,
  target: string,
  headers: readonly (readonly [string, string])[] = [],
): Promise<Answer> {
  const answer = await sendHttp(port, { method: "GET", target, headers: [["host", "x"], ...headers] });
  return { status: answer.status, headers: answer.headers, text: answer.body.toString() };
}

async function askAsSystem(): Promise<Answer> {
  return await get(box.ports.api, "/api/admin/suspended", [["x-system-key", box.secrets["SYSTEM_KEY"] ?? ""]]);
}

async function adminStatus(): Promise<number> {
  return (await askAsSystem()).status;
}

async function checkOf(name: string): Promise<unknown> {
  const { text } = await get(box.ports.server, "/readyz");
  const report: { checks: readonly { name: string }[] } = JSON.parse(text);
  return report.checks.find((check) => check.name === name);
}

describe("a master whose control plane is silent", () => {
  test("refuses what an operator asks, serves its clients and bills, and goes on when it is back", async () => {
    expect((await runCliForTest(CREATE, { baseDir: box.baseDir, env: {} })).exitCode).toBe(0);
    const s3 = s3Client(box, await makeKey(box));
    await s3.send(new CreateBucketCommand({ Bucket: "photos" }));
    const [server] = nats.servers;
    await server?.process.kill();

    const startMs = systemClock.monotonicMs();
    const { exitCode, stdout, stderr } = await runCliForTest(CREATE, { baseDir: box.baseDir, env: {} });
    expect([exitCode, stdout]).toEqual([4, ""]);
    expect(stderr).toContain("FULA_CONTROL_PLANE_UNREACHABLE");
    expect(systemClock.monotonicMs() - startMs).toBeLessThan(TIMEOUT_MS + MARGIN_MS);

    const refused = await askAsSystem();
    expect([refused.status, refused.headers["retry-after"]]).toEqual([503, "5"]);
    expect(JSON.parse(refused.text)).toMatchObject({ error: { reason: "CONTROL_PLANE_UNREACHABLE" } });

    await s3.send(new PutObjectCommand({ Bucket: "photos", Key: "a", Body: "content" }));
    const object = await s3.send(new GetObjectCommand({ Bucket: "photos", Key: "a" }));
    expect(await object.Body?.transformToString()).toBe("content");
    const billed = await runCliForTest(["billing", "run", "--json"], { baseDir: box.baseDir, env: {} });
    expect([billed.exitCode, billed.stderr]).toEqual([0, ""]);
    expect(
      await until("it is told", async () => {
        const check = await checkOf("control-plane");
        return JSON.stringify(check).includes('"state":"failed"') ? check : null;
      }),
    ).toMatchObject({ critical: false });
    expect((await get(box.ports.server, "/readyz")).status).toBe(200);

    await server?.process.start();
    await until("operators may act again", async () => (await adminStatus()) === 200);
    expect((await runCliForTest(CREATE, { baseDir: box.baseDir, env: {} })).exitCode).toBe(0);
    s3.destroy();
  });

  test("is not waited for by a master that starts, which takes it up when it is there", async () => {
    await serving[Symbol.asyncDispose]();
    const [server] = nats.servers;
    await server?.process.kill();
    serving = await startTestServer(box);
    expect((await get(box.ports.server, "/readyz")).status).toBe(200);
    expect(await adminStatus()).toBe(503);
    await server?.process.start();
    await until("operators may act", async () => (await adminStatus()) === 200);
  });
});
