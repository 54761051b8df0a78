import { createHash } from "node:crypto";
import { readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { WalWriter } from "../../../src/lib/recovery/backup/wal-writer.ts";
import { tempDir } from "../../support/temp-dir.ts";

const SEGMENT = 4_096;
const NAME = "000000010000000000000003";
const START = BigInt(3 * SEGMENT);

function bytes(seed: number): Buffer {
  return Buffer.from(Array.from({ length: SEGMENT }, (_, index) => 1 + ((index * seed) % 251)));
}

test("a begun segment that is received again is never less than it was", async () => {
  const dir = tempDir();
  const wal = Buffer.from(Array.from({ length: SEGMENT }, (_, index) => index % 251));
  const partial = join(dir, `${NAME}.partial`);
  writeFileSync(partial, wal.subarray(0, 3_000));
  {
    await using interrupted = new WalWriter(dir, 1, START, SEGMENT);
    await interrupted.write(START, wal.subarray(0, 100));
    await interrupted.sync();
    expect(interrupted.durableLsn).toBe(START + 100n);
  }
  expect(readFileSync(partial)).toEqual(wal.subarray(0, 3_000));
  await using writer = new WalWriter(dir, 1, START, SEGMENT);
  await writer.write(START, wal.subarray(0, 2_000));
  await writer.write(START + 2_000n, wal.subarray(2_000));
  expect(readdirSync(dir).toSorted()).toEqual([NAME, `${NAME}.sha256`]);
  expect(readFileSync(join(dir, NAME))).toEqual(wal);
  const digest = createHash("sha256").update(wal).digest("hex");
  expect(readFileSync(join(dir, `${NAME}.sha256`), "utf8")).toBe(`${digest}  ${NAME}\n`);
});

test("a begun segment that comes in other words is another server's: it stays as it was", async () => {
  const dir = tempDir();
  const partial = join(dir, `${NAME}.partial`);
  writeFileSync(partial, bytes(1).subarray(0, 3_000));
  const other = Buffer.concat([bytes(1).subarray(0, 2_999), bytes(2).subarray(2_999)]);
  await using writer = new WalWriter(dir, 1, START, SEGMENT);
  await writer.write(START, other.subarray(0, 500));
  await expect(writer.write(START + 500n, other.subarray(500))).rejects.toMatchObject({
    code: "FULA_WAL_ARCHIVE_CONFLICT",
  });
  expect(readFileSync(partial)).toEqual(bytes(1).subarray(0, 3_000));
});

test("what a power loss left as zeros is written again", async () => {
  const dir = tempDir();
  writeFileSync(join(dir, `${NAME}.partial`), Buffer.concat([bytes(1).subarray(0, 2_000), Buffer.alloc(1_000)]));
  await using writer = new WalWriter(dir, 1, START, SEGMENT);
  await writer.write(START, bytes(1));
  expect(readFileSync(join(dir, NAME))).toEqual(bytes(1));
});

test("a timeline begins in a segment that has to be what is archived of it under the older name", async () => {
  const dir = tempDir();
  const path = join(dir, NAME);
  writeFileSync(path, bytes(1));
  const forked = Buffer.concat([bytes(1).subarray(0, 1_000), bytes(2).subarray(1_000)]);
  {
    await using writer = new WalWriter(dir, 2, START, SEGMENT, { path, bytes: 1_000 });
    await writer.write(START, forked);
  }
  const other = { code: "FULA_WAL_ARCHIVE_CONFLICT" };
  await using writer = new WalWriter(dir, 3, START, SEGMENT, { path, bytes: 1_001 });
  await expect(writer.write(START, forked)).rejects.toMatchObject(other);
  expect(readFileSync(path)).toEqual(bytes(1));
});
