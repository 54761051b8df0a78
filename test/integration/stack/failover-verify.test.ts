import { once } from "node:events";
import { createServer } from "node:http";
import { promisify } from "node:util";
import { CreateBucketCommand, PutObjectCommand } from "@aws-sdk/client-s3";
import { afterAll, beforeAll, expect, test } from "vitest";
import { parseCid } from "../../../src/lib/blocks/cid.ts";
import type { LoadedConfig } from "../../../src/lib/config/load.ts";
import type { FailoverCheck } from "../../../src/lib/failover/failover-ports.ts";
import { missingOf } from "../../../src/lib/failover/missing-contents.ts";
import { systemClock } from "../../../src/lib/kernel/clock.ts";
import { exists } from "../../../src/lib/kernel/files.ts";
import { systemRandom } from "../../../src/lib/kernel/random.ts";
import { removeDaemonFile, writeDaemonFile } from "../../../src/lib/stack/daemon-file.ts";
import { tryObject } from "../../../src/lib/stack/failover-object.ts";
import { verifyService } from "../../../src/lib/stack/failover-verify.ts";
import { openBlocks } from "../../../src/lib/stack/pinset.ts";
import { newEpoch } from "../../support/ledger-records.ts";
import { makeKey, makeServingBox, s3Client, type ServingBox, startTestServer } from "../../support/serving.ts";

const { signal } = new AbortController();

let box: ServingBox;

beforeAll(async () => {
  box = await makeServingBox({ billing: { enabled: "off" } });
});

afterAll(async () => {
  await box[Symbol.asyncDispose]();
});

const scene = { clock: systemClock, random: systemRandom, signal, report: () => {}, lost: "one" };

async function rowsOf<T extends object>(query: string): Promise<readonly T[]> {
  return (await box.database.pool.query<T>(query)).rows;
}

/** Has commands take this process for the box's `serve`. */
async function asServing({ paths }: LoadedConfig): Promise<AsyncDisposable> {
  await writeDaemonFile(paths.servePidFile, systemClock);
  return { [Symbol.asyncDispose]: async () => await removeDaemonFile(paths.servePidFile) };
}

test("an object goes through the gateway and back, nobody is billed for it, and nothing of it is left", async () => {
  const loaded = await box.load();
  const trial = { ...scene, loaded, pool: box.database.pool };
  await expect(tryObject(trial)).resolves.toMatchObject({ state: "attention" });
  await using serving = await startTestServer(box);
  await using _ = await asServing(loaded);
  // Left by a trial that was killed.
  const left = s3Client(box, await makeKey(box, "failover@fula-master.invalid"));
  await left.send(new CreateBucketCommand({ Bucket: "fula-failover" }));
  await left.send(new PutObjectCommand({ Bucket: "fula-failover", Key: "written-and-read", Body: new Uint8Array(0) }));
  left.destroy();
  const judged = await tryObject(trial);
  expect(judged, serving.logText()).toMatchObject({ state: "ok" });
  expect(judged.seen).toContain("stored, read and removed");
  // It was a commit like any other, and went away like one.
  await expect(
    rowsOf("select deleted_at is not null as deleted from bucket_roots where bucket = 'fula-failover'"),
  ).resolves.toEqual([{ deleted: true }]);
  await expect(rowsOf("select from user_credits")).resolves.toEqual([]);
  await expect(rowsOf("select from usage_history")).resolves.toEqual([]);
});

test("a gateway that refuses the object stops a failover at once, but for an account that has nothing free", async () => {
  const loaded = await box.load();
  await using _ = await asServing(loaded);
  const answers = { status: 403, code: "InvalidToken" };
  const asked: string[] = [];
  const gateway = createServer(({ method, url }, response) => {
    asked.push(`${method ?? ""} ${url ?? ""}`);
    response.writeHead(answers.status, { "x-amz-error-code": answers.code }).end();
  });
  await once(gateway.listen(box.ports.gateway, "127.0.0.1"), "listening");
  try {
    const trial = { ...scene, loaded, pool: box.database.pool };
    const refused = await tryObject(trial);
    expect(refused).toMatchObject({ state: "bad", seen: expect.stringContaining("403 InvalidToken") });
    // Asked to forget it all the same: an answer may have been lost.
    expect(asked).toEqual(["PUT /fula-failover", "DELETE /fula-failover/written-and-read"]);
    answers.code = "AccountProblem";
    await expect(tryObject(trial)).resolves.toMatchObject({ state: "attention" });
  } finally {
    gateway.closeAllConnections();
    await promisify(gateway.close.bind(gateway))();
  }
});

async function checksWith(
  allowedMissing: number,
  lost: string | null = scene.lost,
): Promise<ReadonlyMap<string, FailoverCheck>> {
  const loaded = await box.load();
  const epoch = newEpoch({ number: 2, primary: "box-1" });
  const trial = { ...scene, loaded, epoch, pool: box.database.pool, cwd: "/", allowedMissing, lost };
  return new Map((await verifyService(trial)).map((check) => [check.id, check]));
}

test("what is on no box any more is listed with its key and stops a failover, until the operator accepts as much", async () => {
  const key = await makeKey(box);
  let content = "";
  {
    await using _ = await startTestServer(box);
    const client = s3Client(box, key);
    await client.send(new CreateBucketCommand({ Bucket: "photos" }));
    const { ETag = "" } = await client.send(new PutObjectCommand({ Bucket: "photos", Key: "cat.jpg", Body: "meow" }));
    content = ETag.replaceAll('"', "");
    client.destroy();
  }
  const well = await checksWith(0);
  // The copies that the lost master had are gone; nothing is.
  expect(well.get("sweep")).toMatchObject({ state: "attention", missing: [] });
  expect(well.get("roots")).toMatchObject({ state: "ok" });
  const { sweepReportFile } = (await box.load()).paths;
  expect(await exists(sweepReportFile), "nobody waits for the repair of what a lost master had").toBe(false);
  expect((await checksWith(0, null)).get("sweep")).toMatchObject({ state: "bad", missing: [] });
  expect(await exists(sweepReportFile), "what a planned switchover meets is repaired").toBe(true);
  const blocks = await openBlocks(await box.load());
  await blocks.delete(parseCid(content));
  const stopped = await checksWith(0);
  expect(stopped.get("sweep")).toMatchObject({
    state: "bad",
    missing: [{ cid: content, name: "object:photos/cat.jpg" }],
  });
  expect(stopped.get("roots")).toMatchObject({ state: "ok" });
  const accepted = await checksWith(1);
  expect(accepted.get("sweep")).toMatchObject({
    state: "attention",
    seen: expect.stringContaining("accepted by --allow-missing 1"),
  });
  const [row] = await rowsOf<{ root_cid: string }>("select root_cid from bucket_roots where bucket = 'photos'");
  const root = row?.root_cid ?? "";
  await blocks.delete(parseCid(root));
  const worse = await checksWith(1);
  expect(worse.get("sweep")).toMatchObject({ state: "bad" });
  expect(worse.get("roots")).toMatchObject({ state: "bad", missing: [{ cid: root, name: "index-node:photos" }] });
  // A root counts once, though both look at it.
  const all = await checksWith(missingOf([...worse.values()]).length);
  expect([all.get("sweep")?.state, all.get("roots")?.state]).toEqual(["attention", "attention"]);
});
