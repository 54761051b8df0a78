import { createHash } from "node:crypto";
import { readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { WalWriter } from "../../../src/lib/recovery/backup/wal-writer.ts";
import { tempDir } from "../../support/temp-dir.ts";

const SEGMENT = 4_096;
const NAME = "000000010000000000000003";
const START = BigInt(3 * SEGMENT);

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
