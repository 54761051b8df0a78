import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { describe, expect, onTestFinished, test } from "vitest";
import { PROJECT_ROOT } from "../../../src/lib/kernel/project.ts";
import { blockPin } from "../../support/pin-of-block.ts";
import { makePinsetBox, type PinsetBox } from "../../support/pinset-box.ts";
import { until } from "../../support/until.ts";

/** Every write waits for the disk, and thousands are made. */
const BUSY_DISK_MS = 300_000;

function start(file: string, args: readonly string[]): ChildProcess {
  const child = spawn(process.execPath, [file, ...args], { stdio: ["pipe", "pipe", "inherit"] });
  onTestFinished(() => {
    child.kill("SIGKILL");
  });
  return child;
}

/** Starts a worker of test/support/children/pinset-worker.ts and waits until it has the pinset open. */
async function startWorker(box: PinsetBox, mode: "read" | "write", from = 0, to = 0): Promise<() => Promise<unknown>> {
  const blocksDir = join(box.baseDir, "state", "blocks");
  const args = [mode, box.pinsFile, blocksDir, box.clusterId, String(from), String(to)];
  const child = start(join(PROJECT_ROOT, "test/support/children/pinset-worker.ts"), args);
  if (child.stdout === null || child.stdin === null) throw new Error("no pipes");
  const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
  expect((await lines.next()).value).toBe("ready");
  const { stdin } = child;
  return async () => {
    stdin.write("stop\n");
    const line: unknown = (await lines.next()).value;
    if (child.exitCode === null) await once(child, "exit");
    return JSON.parse(String(line));
  };
}

describe("several processes on one pinset", () => {
  test(
    "lose no write, and every listing is in order and of one moment",
    async () => {
      const box = await makePinsetBox(300);
      const readers = await Promise.all([startWorker(box, "read"), startWorker(box, "read")]);
      const writers = await Promise.all([
        startWorker(box, "write", 1_000, 1_300),
        startWorker(box, "write", 2_000, 2_300),
        startWorker(box, "write", 3_000, 3_300),
      ]);
      for (const ended of await Promise.all(writers.map(async (end) => end()))) expect(ended).toEqual({ written: 300 });
      for (const ended of await Promise.all(readers.map(async (stop) => stop()))) {
        expect(ended).toMatchObject({ unordered: 0 });
        expect(ended).toHaveProperty(
          "listings",
          expect.toSatisfy((count: number) => count > 0),
        );
        expect(ended).toHaveProperty(
          "fewest",
          expect.toSatisfy((count: number) => count >= 300),
        );
      }
      const expected = [1_000, 2_000, 3_000].flatMap((base) =>
        Array.from({ length: 300 }, (_, number) => base + number).filter((number) => number % 3 !== 0),
      );
      const all = [...Array.from({ length: 300 }, (_, number) => number), ...expected].map((number) =>
        blockPin(number),
      );
      expect(await box.pins()).toEqual(all.toSorted((a, b) => (a.cid < b.cid ? -1 : 1)));
    },
    BUSY_DISK_MS,
  );
});

describe("a restore that is killed with SIGKILL", () => {
  test(
    "again and again, is finished by running it again, and each run writes only what is missing",
    async () => {
      const pins = 2_000;
      const box = await makePinsetBox(pins);
      await box.snapshot();
      const unpinAll = async (): Promise<void> => {
        await box.withPins(async (cluster) => {
          const numbers = Array.from({ length: pins }, (_, number) => number);
          await Promise.all(numbers.map(async (number) => cluster.remove(blockPin(number).cid)));
        });
      };
      await unpinAll();
      const launcher = join(PROJECT_ROOT, "bin", "fula-master.js");
      const count = async (): Promise<number> => box.withPins(async (cluster) => (await cluster.count()) ?? 0);
      let before = 0;
      for (let kills = 0; kills < 3; ) {
        const child = start(launcher, ["restore", "--concurrency", "1", "--quiet", "--base-dir", box.baseDir]);
        const exited = once(child, "exit");
        const target = before + 100;
        await until("the restore has written some", async () => child.exitCode !== null || (await count()) >= target);
        child.kill("SIGKILL");
        await exited;
        expect(child.exitCode).toBeOneOf([null, 0]);
        before = await count();
        if (before < pins) kills += 1;
        else {
          // On a busy machine it may be through before anybody has looked: once more.
          await unpinAll();
          before = 0;
        }
      }
      const child = start(launcher, ["restore", "--json", "--quiet", "--base-dir", box.baseDir]);
      const exited = once(child, "exit");
      let stdout = "";
      child.stdout?.on("data", (chunk: unknown) => {
        stdout += String(chunk);
      });
      expect((await exited)[0]).toBe(0);
      expect(JSON.parse(stdout)).toMatchObject({
        ok: true,
        plan: { counts: { missing: pins - before, equal: before } },
        result: { written: pins - before, verified: pins, problems: 0 },
      });
      const expected = Array.from({ length: pins }, (_, number) => blockPin(number));
      expect(await box.pins()).toEqual(expected.toSorted((a, b) => (a.cid < b.cid ? -1 : 1)));
    },
    BUSY_DISK_MS,
  );
});
