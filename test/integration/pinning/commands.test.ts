import { createHash } from "node:crypto";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { resolveUserId } from "../../../src/lib/identity/user-id.ts";
import { openBlocks } from "../../../src/lib/stack/pinset.ts";
import { signToken } from "../../support/api.ts";
import { type CliRun, runCliForTest } from "../../support/cli.ts";
import { askForPin, pinRows } from "../../support/pin-queue.ts";
import { rawBytes, rawCid } from "../../support/pins.ts";
import { makeServingBox, type ServingBox, startTestServer } from "../../support/serving.ts";
import { until } from "../../support/until.ts";

const CID = rawCid("wanted").toString();
const ADA = "ada@example.com";

let box: ServingBox;
beforeAll(async () => {
  box = await makeServingBox();
});
afterAll(async () => {
  await box[Symbol.asyncDispose]();
});

async function pins(...words: readonly string[]): Promise<CliRun> {
  return await runCliForTest(["pins", ...words], { baseDir: box.baseDir });
}

async function json(...words: readonly string[]): Promise<unknown> {
  const { stdout, stderr, exitCode } = await pins(...words, "--json");
  if (exitCode !== 0) throw new Error(stderr);
  return JSON.parse(stdout);
}

describe("fula-master pins", () => {
  test("shows what waits: in the queue, by its content and by its request", async () => {
    expect(await pins("queue")).toMatchObject({
      exitCode: 0,
      stdout: "0 waiting (0 claimed, 0 failing), 0 given up\n",
    });
    await askForPin(box.database.pool, { id: "r-1", cid: CID, name: "photos" });
    expect(await json("queue")).toMatchObject({
      waiting: 1,
      dead: 0,
      jobs: [{ cid: CID, state: "due", requests: 1, attempts: 0, claimedBy: null, lastError: null }],
    });
    expect((await pins("queue")).stdout).toMatch(new RegExp(`${CID} +1 .* due +0 +-`));
    const shown = await json("show", CID);
    expect(shown).toMatchObject({
      cid: CID,
      requests: [{ requestId: "r-1", status: "queued", name: "photos", sizeBytes: null, isMeasured: false }],
      job: { state: "due" },
      pin: null,
    });
    expect(await json("show", "r-1")).toEqual(shown);
    expect((await pins("show", "r-1")).stdout).toContain("pin       none in the pinset");
  });

  test("says with exit code 1 that nothing is known of a content, and with 2 that a text is none", async () => {
    const unknown = rawCid("unknown").toString();
    for (const words of [
      ["show", unknown],
      ["show", "no such request"],
      ["retry", unknown],
    ]) {
      expect(await pins(...words)).toMatchObject({
        exitCode: 1,
        stderr: expect.stringContaining("FULA_PIN_NOT_QUEUED"),
      });
    }
    expect(await pins("retry", "no-cid")).toMatchObject({ exitCode: 2 });
    expect(await pins("retry")).toMatchObject({ exitCode: 2 });
    expect(await pins("retry", CID, "--all-dead")).toMatchObject({ exitCode: 2 });
  });

  test("what was given up is listed with its reason, and tried again with its requests", async () => {
    const { pool } = box.database;
    await pool.query("update pin_jobs set dead_at = clock_timestamp(), attempts = 30, last_error = 'no peer has it'");
    await pool.query("update pins set status = 'failed'");
    expect(await json("queue", "--dead")).toMatchObject({
      waiting: 0,
      dead: 1,
      jobs: [{ cid: CID, state: "dead", dueAt: null, lastError: "no peer has it" }],
    });
    const plan = { dryRun: true, jobs: [{ cid: CID, wasDead: true, lastError: "no peer has it" }] };
    expect(await json("retry", "--all-dead", "--dry-run")).toEqual(plan);
    expect((await pinRows(pool))[0]?.status).toBe("failed");
    expect(await json("retry", "--all-dead")).toEqual({ ...plan, dryRun: false });
    expect((await pinRows(pool))[0]?.status).toBe("queued");
    expect(await json("queue")).toMatchObject({ waiting: 1, dead: 0, jobs: [{ state: "due", attempts: 0 }] });
    expect((await pins("retry", "--all-dead")).stdout).toBe("Nothing was given up.\n");
    const { rows } = await pool.query("select action, target_id, details from admin_audit_log");
    expect(rows).toEqual([{ action: "pins.retry", target_id: "all-dead", details: { count: 1 } }]);
  });
});

test("a master that serves does what waits, and counts it; no token of the user stands in the ledger's rows of a request", async () => {
  const blocks = await openBlocks(await box.load());
  for (const seed of ["wanted", "sent"]) await blocks.put(rawCid(seed), rawBytes(seed));
  const token = await signToken(box.secrets["JWT_SECRET"] ?? "", { sub: resolveUserId(ADA), scope: "storage:*" });
  await using _ = await startTestServer(box);
  const answer = await fetch(`http://127.0.0.1:${box.ports.api}/pins`, {
    method: "POST",
    headers: { authorization: `Bearer ${token}`, "content-type": "application/json" },
    body: JSON.stringify({ cid: rawCid("sent").toString() }),
  });
  expect(answer.status).toBe(202);
  await until("both are pinned", async () =>
    (await pinRows(box.database.pool)).every(({ status, size }) => status === "pinned" && size !== "0"),
  );
  const { rows } = await box.database.pool.query<{ row: string }>(
    "select p::text as row from pins p union all select j::text from pin_jobs j",
  );
  const all = rows.map(({ row }) => row).join("\n");
  expect(all).toContain(rawCid("sent").toString());
  for (const secret of [token, createHash("sha256").update(token).digest("hex")]) expect(all).not.toContain(secret);
  // A worker counts what it has done when the ledger has told it so, which may be a moment after others can read it.
  const metrics = await until("both are counted", async () => {
    const text = await (await fetch(`http://127.0.0.1:${box.ports.server}/metrics`)).text();
    return /^fula_pinning_jobs_total\{outcome="pinned"\} [2-9]/m.test(text) && text;
  });
  expect(metrics).toMatch(/^fula_pinning_jobs_total\{outcome="pinned"\} 2$/m);
  expect(metrics).toMatch(/^fula_pinning_queue_jobs\{state="dead"\} 0$/m);
  const sent = rawCid("sent").toString();
  expect((await pins("show", sent)).stdout).toContain("job       none: nothing is to be done");
  await box.database.pool.query("update pins set status = 'queued'");
  expect((await pins("show", sent)).stdout).toContain("job       none yet");
});
