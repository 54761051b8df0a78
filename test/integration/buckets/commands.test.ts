import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { CreateBucketCommand, DeleteObjectCommand, PutObjectCommand, type S3Client } from "@aws-sdk/client-s3";
import { CarReader } from "@ipld/car";
import type { CID } from "multiformats/cid";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { parseCid } from "../../../src/lib/blocks/cid.ts";
import { openBucketIndex } from "../../../src/lib/buckets/tree/open-index.ts";
import { ownerIdOf, resolveUserId } from "../../../src/lib/identity/user-id.ts";
import { systemClock } from "../../../src/lib/kernel/clock.ts";
import { openBlocks, withPinCluster } from "../../../src/lib/stack/pinset.ts";
import { type CliRun, runCliForTest } from "../../support/cli.ts";
import { cidOfBytes, collect } from "../../support/pins.ts";
import { makeKey, makeServingBox, s3Client, type ServingBox, startTestServer } from "../../support/serving.ts";
import { tempDir } from "../../support/temp-dir.ts";

const ALICE = "alice@example.com";
const OWNER = ownerIdOf(resolveUserId(ALICE));

let box: ServingBox;
let client: S3Client;
beforeAll(async () => {
  box = await makeServingBox();
  client = s3Client(box, await makeKey(box, ALICE));
  await using server = await startTestServer(box);
  void server;
  await client.send(new CreateBucketCommand({ Bucket: "photos" }));
  for (const key of ["a", "b", "c"]) await put(key, `first ${key}`);
});
afterAll(async () => {
  client.destroy();
  await box[Symbol.asyncDispose]();
});

async function put(key: string, body: string): Promise<void> {
  await client.send(new PutObjectCommand({ Bucket: "photos", Key: key, Body: body }));
}

async function buckets(...words: readonly string[]): Promise<CliRun> {
  return await runCliForTest(["buckets", ...words], { baseDir: box.baseDir });
}

/** What a command printed as JSON: one document, or the last of several lines. */
function parsed({ stdout, stderr, exitCode }: CliRun): Record<string, unknown> {
  const text = stdout.trim();
  if (text === "") throw new Error(`exit code ${exitCode}: ${stderr}`);
  return JSON.parse(text.startsWith("{\n") ? text : (text.split("\n").at(-1) ?? ""));
}

async function rootOf(): Promise<string> {
  return String(parsed(await buckets("show", `${ALICE}/photos`, "--json"))["root"]);
}

describe("the commands about buckets", () => {
  test("list and show a bucket by the e-mail address of its owner", async () => {
    const listed = parsed(await buckets("list", "--owner", ALICE, "--json"));
    expect(listed).toMatchObject({ ownerId: OWNER, bucket: "photos", imported: true, objects: "3" });
    const shown = parsed(await buckets("show", `${ALICE}/photos`, "--json", "--history", "2"));
    expect(shown).toMatchObject({ objects: "3", index: { logChanges: 3, height: 1 }, history: [{}, {}] });
    expect((await buckets("show", `${ALICE}/none`)).exitCode).toBe(3);
    expect((await buckets("show", "none")).exitCode).toBe(2);
  });

  test("verify says that all is well, and what is wrong where a pin or a content is gone", async () => {
    expect(await buckets("verify", "--all", "--deep")).toMatchObject({ exitCode: 0 });
    const { database } = box;
    // A bucket of the fleet that nobody has looked into is no bucket that is well.
    await database.pool.query("alter table bucket_roots disable trigger user");
    await database.pool.query("insert into bucket_roots (owner_id, bucket, root_cid) values ($1, 'old', 'bafyold')", [
      OWNER,
    ]);
    const run = await buckets("verify", "--all", "--json");
    expect(run.exitCode).toBe(1);
    expect(parsed(run)).toMatchObject({ ok: false, buckets: 2, faulty: 0, unread: 1 });
    await database.pool.query("delete from bucket_roots where bucket = 'old'");
    await database.pool.query("alter table bucket_roots enable trigger user");
    expect((await buckets("verify")).exitCode).toBe(2);
    const content = cidOfBytes(Buffer.from("first b"));
    await withPinCluster(await box.load(), { clock: systemClock }, async (pins) => {
      const pin = await pins.pin(content.toString());
      if (pin === null) throw new Error("not pinned");
      await pins.remove(pin.cid);
      const found = await buckets("verify", `${ALICE}/photos`);
      expect(found.exitCode).toBe(1);
      expect(found.stdout).toContain(`pin: "b": Content ${pin.cid} is not in the pinset.`);
      await pins.put(pin);
    });
  });

  test("export a bucket as a file that CAR tools read, with an index that opens from it alone", async () => {
    const file = join(tempDir(), "photos.car");
    expect(parsed(await buckets("export", `${ALICE}/photos`, file, "--json"))).toMatchObject({ keys: 3, file });
    const car = await CarReader.fromBytes(await readFile(file));
    const [root] = await car.getRoots();
    if (root === undefined) throw new Error("no root");
    expect(root.toString()).toBe(await rootOf());
    const reader = {
      get: async (cid: CID): Promise<Uint8Array> => {
        const block = await car.get(cid);
        if (block === undefined) throw new Error(`no ${cid.toString()} in the file`);
        return block.bytes;
      },
    };
    const index = await openBucketIndex(root, reader);
    const keys = await collect(index.scan());
    expect(keys.map(({ key }) => key)).toEqual(["a", "b", "c"]);
    for (const { key, ref } of keys) {
      expect((await index.readEntry(key, ref)).content.equals(ref.content)).toBe(true);
      expect(Buffer.from(await reader.get(ref.content)).toString()).toBe(`first ${key}`);
    }
  });

  test("compact works the log in, and tells beforehand", async () => {
    const before = await rootOf();
    expect(parsed(await buckets("compact", `${ALICE}/photos`, "--dry-run", "--json"))).toMatchObject({
      outcome: "planned",
      root: before,
    });
    expect(await rootOf()).toBe(before);
    const done = parsed(await buckets("compact", `${ALICE}/photos`, "--json"));
    expect(done).toMatchObject({ outcome: "adopted", before });
    expect(await rootOf()).toBe(done["root"]);
    expect(await buckets("verify", "--all")).toMatchObject({ exitCode: 0 });
  });

  test("merge brings back what another root changed, and refuses to choose where both did", async () => {
    const base = await rootOf();
    {
      await using server = await startTestServer(box);
      void server;
      await put("a", "theirs");
      await put("only/theirs", "theirs");
      await client.send(new DeleteObjectCommand({ Bucket: "photos", Key: "b" }));
    }
    const from = await rootOf();
    // As a master without an arbiter would have left it: their root is written over by another one from the same base.
    const { pool } = box.database;
    await pool.query("alter table bucket_roots disable trigger user");
    await pool.query(
      "update bucket_roots set root_cid = $1, object_count = 3, version = version + 1, total_bytes = 21",
      [base],
    );
    await pool.query("alter table bucket_roots enable trigger user");
    {
      await using server = await startTestServer(box);
      void server;
      await put("a", "ours");
      await put("only/ours", "ours");
    }
    const words = ["merge", `${ALICE}/photos`, "--base", base, "--from", from];
    const refused = await buckets(...words);
    expect(refused.exitCode).toBe(3);
    expect(refused.stderr).toContain("FULA_BUCKET_MERGE_CONFLICT");
    expect(parsed(await buckets(...words, "--dry-run", "--json"))).toMatchObject({
      put: 1,
      deleted: 1,
      conflicts: 1,
      conflicting: ["a"],
    });
    expect(parsed(await buckets(...words, "--prefer", "ours", "--json"))).toMatchObject({
      put: 1,
      deleted: 1,
      raced: 0,
    });
    expect(parsed(await buckets(...words, "--dry-run", "--json"))).toMatchObject({ put: 0, deleted: 0, conflicts: 1 });
    expect(parsed(await buckets(...words, "--prefer", "theirs", "--json"))).toMatchObject({ put: 1, conflicts: 1 });
    expect(parsed(await buckets("show", `${ALICE}/photos`, "--json"))).toMatchObject({ objects: "4" });
    expect(await buckets("verify", "--all")).toMatchObject({ exitCode: 0 });
  });

  test("rebuild makes a damaged index whole by a move of its root, and refuses where nothing is damaged", async () => {
    expect(await buckets("rebuild", `${ALICE}/photos`)).toMatchObject({
      exitCode: 3,
      stderr: expect.stringContaining("FULA_INDEX_WHOLE"),
    });
    await buckets("compact", `${ALICE}/photos`);
    const root = parseCid(await rootOf());
    const blocks = await openBlocks(await box.load());
    await blocks.delete(root);
    expect(await buckets("verify", "--all")).toMatchObject({ exitCode: 1 });
    expect(parsed(await buckets("rebuild", `${ALICE}/photos`, "--dry-run", "--json"))).toMatchObject({
      salvaged: 0,
      older: 4,
    });
    expect((await buckets("rebuild", `${ALICE}/photos`)).exitCode).toBe(3);
    expect(parsed(await buckets("rebuild", `${ALICE}/photos`, "--yes", "--json"))).toMatchObject({
      keys: 4,
      keysBefore: "4",
    });
    expect(await buckets("verify", "--all")).toMatchObject({ exitCode: 0 });
  });

  test("gc looks, tells and refuses a grace time under which saves would lose their pins", async () => {
    expect(parsed(await buckets("gc", "--dry-run", "--json"))).toMatchObject({ dryRun: true, candidates: 0 });
    expect((await buckets("gc", "--grace", "1m")).exitCode).toBe(2);
  });

  test("mode shows how buckets are saved, and changes it while nobody serves", async () => {
    expect(parsed(await buckets("mode", "--json"))).toMatchObject({ mode: "cas", changes: false, serving: [] });
    {
      await using server = await startTestServer(box);
      void server;
      expect((await buckets("mode", "single")).exitCode).toBe(3);
    }
    expect(parsed(await buckets("mode", "single", "--json"))).toMatchObject({ mode: "single", changes: true });
    expect(parsed(await buckets("mode", "cas", "--json"))).toMatchObject({ mode: "cas", changes: true });
  });

  test("serve refuses to start while buckets of an earlier version wait, and import brings them in", async () => {
    await box.database.pool.query("insert into gateway_buckets (owner_id, name) values ($1, 'earlier')", [OWNER]);
    await expect(startTestServer(box)).rejects.toMatchObject({ code: "FULA_BUCKET_NOT_IMPORTED" });
    expect(parsed(await buckets("import", "--from-objects", "--dry-run", "--json"))).toMatchObject({
      ok: true,
      planned: 1,
    });
    expect(parsed(await buckets("import", "--from-objects", "--json"))).toMatchObject({ ok: true, imported: 1 });
    expect(parsed(await buckets("import", "--from-objects", "--json"))).toMatchObject({ ok: true, imported: 0 });
    expect((await buckets("import")).exitCode).toBe(2);
    await using server = await startTestServer(box);
    void server;
  });
});
