import { expect, test } from "vitest";
import { z } from "zod";
import { runOnTinyDisk } from "../../support/tiny-disk.ts";

const reportSchema = z.object({ code: z.string().nullable(), confirmed: z.number(), readable: z.number() });

test("a full disk is FULA_DISK_FULL, and every pin that was confirmed before is still there", async () => {
  const { exitCode, stdout, stderr } = await runOnTinyDisk("fill-pins.ts", 8_192);
  expect(stderr).toBe("");
  expect(exitCode).toBe(0);
  const { code, confirmed, readable } = reportSchema.parse(JSON.parse(stdout));
  expect(code).toBe("FULA_DISK_FULL");
  expect(confirmed).toBeGreaterThan(100);
  expect(readable).toBe(confirmed);
});
