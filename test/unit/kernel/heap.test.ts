import { execFile } from "node:child_process";
import { join } from "node:path";
import { promisify } from "node:util";
import { expect, test } from "vitest";
import { PROJECT_ROOT } from "../../../src/lib/kernel/project.ts";

/** Makes short-lived objects for a while, of which some live on for long enough to make V8 want more room. */
const WORK = `
  const { getHeapSpaceStatistics } = await import("node:v8");
  const kept = new Array(200_000);
  for (let index = 0; index < 6_000_000; index += 1) kept[index % kept.length] = { index, text: "x" + index };
  const space = getHeapSpaceStatistics().find(({ space_name: name }) => name === "new_space");
  process.stdout.write(String(space.space_size));
`;

async function youngBytesAfter(prelude: string): Promise<number> {
  const args = ["--input-type=module", "--eval", `${prelude}${WORK}`];
  return Number((await promisify(execFile)(process.execPath, args)).stdout);
}

// V8 may drop the flag in any version; the process would go on as before, only larger.
test("the young generation stays small where it was told to, and grows where it was not", async () => {
  const heap = join(PROJECT_ROOT, "src/lib/kernel/heap.ts");
  const told = await youngBytesAfter(`(await import(${JSON.stringify(heap)})).keepYoungGenerationSmall();`);
  // 2 MiB mostly; a few pages more where the machine is busy and marking goes on beside the work. Else 128.
  expect(told).toBeLessThanOrEqual(16 << 20);
  expect(await youngBytesAfter("")).toBeGreaterThan(4 * told);
});
