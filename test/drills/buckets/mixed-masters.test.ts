import { afterAll, afterEach, beforeAll, describe, expect, test } from "vitest";
import { clientOf } from "../../support/bucket-workload.ts";
import { launch } from "../../support/launched.ts";
import { HistoryRecorder } from "../../support/recording-client.ts";
import { type DrillGateway, makeTwoGateways, setGroup, type TwoGateways } from "../../support/two-gateways.ts";

const BUCKET = "mixed";
const REFUSED = 3;
const SILENT = 4;

let gateways: TwoGateways;
let first: DrillGateway;
let second: DrillGateway;

beforeAll(async () => {
  gateways = await makeTwoGateways();
  [first, second] = gateways.both;
});
afterEach(async () => {
  await gateways.stop();
});
afterAll(async () => {
  await gateways?.[Symbol.asyncDispose]();
});

/** What becomes of a master that is started and is expected to refuse. */
async function startRefused({
  box,
}: DrillGateway): Promise<{ readonly exitCode: number | null; readonly output: string }> {
  return await launch(["serve", "--base-dir", box.baseDir]).ended;
}

describe("masters of one ledger that would save buckets in different ways", () => {
  test.each([true, false])("are refused, by a message that names the other one: the first with cas %s", async (cas) => {
    await setGroup(first.box, "buckets", { cas });
    await setGroup(second.box, "buckets", { cas: !cas });
    await first.process.start();
    const { exitCode, output } = await startRefused(second);
    expect(exitCode).toBe(REFUSED);
    expect(output).toContain("FULA_BUCKET_MODE");
    expect(output).toContain("box-1");
    await first.process.stop();
    // Nobody serves in the other way any more.
    await second.process.start();
  });
});

test("a master that arbitrates by the ledger does not start where it cannot reach it", async () => {
  await gateways.set("buckets", { cas: true });
  await setGroup(second.box, "postgres", { port: 1 });
  const { exitCode, output } = await startRefused(second);
  expect(exitCode).toBe(SILENT);
  expect(output).toContain("FULA_DATABASE_UNREACHABLE");
});

describe("software that knows nothing of versions", () => {
  const pool = (): typeof first.box.database.pool => first.box.database.pool;

  test("cannot move, claim or delete a root while masters of ours serve it", async () => {
    await setGroup(first.box, "buckets", { cas: true });
    await first.process.start();
    const recorder = new HistoryRecorder();
    using client = clientOf(gateways, first, BUCKET, recorder, "client");
    await client.createBucket();
    await client.put("kept", 100);
    const { rows } = await pool().query<{ owner_id: string; root_cid: string }>(
      "select owner_id, root_cid from bucket_roots where bucket = $1",
      [BUCKET],
    );
    const row = rows[0];
    // The fleet's own statement: insert, or update where the root is as expected.
    const move = `insert into bucket_roots (owner_id, bucket, root_cid, version) values ($1, $2, $3, 1)
      on conflict (owner_id, bucket) do update
         set root_cid = excluded.root_cid, version = bucket_roots.version + 1, updated_at = now()
       where bucket_roots.root_cid = $4`;
    const foreign = "bafyreigdmqpykrgxyaxtlafqpqhzrfuxpjynjwhtqppbx6xhx5yfy5sy5a";
    const expected = row?.root_cid ?? "";
    await expect(pool().query(move, [row?.owner_id, BUCKET, foreign, expected])).rejects.toThrow("fula-master");
    await expect(pool().query(move, [row?.owner_id, "claimed", foreign, foreign])).rejects.toThrow("fula-master");
    await expect(pool().query("delete from bucket_roots where bucket = $1", [BUCKET])).rejects.toThrow("tombstone");
    expect(await client.get("kept")).not.toBeNull();
    expect(recorder.complaints).toEqual([]);
  });
});
