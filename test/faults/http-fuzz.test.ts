import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import { afterAll, beforeAll, expect, test } from "vitest";
import type { AccessKeyPair } from "../../src/lib/identity/access-key.ts";
import type { Random } from "../../src/lib/kernel/random.ts";
import { sendSigned } from "../support/http.ts";
import { drawRequest, type FuzzTarget } from "../support/http-fuzz.ts";
import { fuzzHttp, fuzzPatienceMs, fuzzSeed } from "../support/http-fuzz-run.ts";
import { makeKey, makeServingBox, type ServingBox, startTestServer, type TestServer } from "../support/serving.ts";

const SEEDS = 60;
const SEEDS_AT_ONCE = 8;
/** Says that something is not there, not that something broke. */
const FINE_ABOVE_499: ReadonlySet<number> = new Set([501]);
const RETAINED_GROWTH_MAX = 64 * 1024 * 1024;

let box: ServingBox;
let serving: TestServer;
let key: AccessKeyPair;
let target: FuzzTarget;

beforeAll(async () => {
  box = await makeServingBox({ server: { logLevel: "warn" } });
  serving = await startTestServer(box);
  key = await makeKey(box);
  const port = box.ports.gateway;
  for (const path of ["/fuzz-one", "/fuzz-two"]) await sendSigned(port, key, { method: "PUT", path });
  await sendSigned(port, key, { method: "PUT", path: "/fuzz-one/a", body: Buffer.from("hello world") });
  const begun = await sendSigned(port, key, { method: "POST", path: "/fuzz-one/a", query: "uploads" });
  const uploadId = /<UploadId>([0-9a-f]+)</.exec(begun.body.toString())?.[1] ?? "";
  expect(uploadId).not.toBe("");
  target = { port, pair: key, buckets: ["fuzz-one", "fuzz-two"], uploadId };
});

afterAll(async () => {
  await serving[Symbol.asyncDispose]();
  await box[Symbol.asyncDispose]();
});

/** What is wrong with an answer; null where nothing is. */
function findFault(received: string, isHanging: boolean): string | null {
  if (isHanging) return "neither an answer nor an end";
  if (received === "") return null;
  // After "100 Continue" comes the answer itself, unless the body never came.
  const answer = received.replace(/^(?:HTTP\/1\.1 100 Continue\r\n\r\n)+/, "");
  if (answer === "") return null;
  const status = Number(/^HTTP\/1\.1 (\d{3}) /.exec(answer)?.[1] ?? "0");
  if (status < 200) return `no HTTP: ${answer.slice(0, 200)}`;
  if (status >= 500 && !FINE_ABOVE_499.has(status)) return `status ${status}: ${answer.slice(0, 2_000)}`;
  if (status >= 400 && !/x-amz-error-code: \w+/i.test(answer))
    return `an error that is none of S3: ${answer.slice(0, 500)}`;
  return null;
}

/** Bytes that are still held after everything that nobody needs is gone. */
function retainedBytes(): number {
  setFlagsFromString("--expose-gc");
  const collect: unknown = runInNewContext("gc");
  if (typeof collect !== "function") throw new Error("The engine has no gc");
  collect();
  const { heapUsed, external } = process.memoryUsage();
  return heapUsed + external;
}

test(
  "whatever is sent to the gateway, it answers as S3 does or ends, goes on serving, and keeps nothing of it",
  async () => {
    const fuzz = { port: target.port, draw: (random: Random) => drawRequest(random, target), findFault };
    await fuzzSeed(0, fuzz);
    const before = retainedBytes();
    await fuzzHttp(fuzz, { seeds: SEEDS, atOnce: SEEDS_AT_ONCE });
    expect(serving.logged.filter(({ level }) => level === "error")).toEqual([]);
    const answer = await sendSigned(target.port, key, {
      method: "PUT",
      path: "/fuzz-two/alive",
      body: Buffer.from("x"),
    });
    expect(answer.status).toBe(200);
    expect(retainedBytes() - before).toBeLessThan(RETAINED_GROWTH_MAX);
  },
  fuzzPatienceMs(300_000),
);
