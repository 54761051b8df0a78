import { appendFileSync, closeSync, openSync, writeSync } from "node:fs";
import { mkdtemp, readdir, readFile, rm, stat, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import {
  keepLogBounded,
  logOffset,
  readLogTail,
  rotateLog,
  withLogDescriptor,
} from "../../../src/lib/runtime/log-files.ts";

const BOUNDS = { bytesMax: 10, keep: 3 };
let dir: string;
let log: string;

beforeEach(async () => {
  dir = await mkdtemp(join(tmpdir(), "fula-log-"));
  log = join(dir, "a.log");
});
afterEach(async () => {
  vi.useRealTimers();
  await rm(dir, { recursive: true, force: true });
});

describe("rotateLog", () => {
  test("leaves a log within its bound alone, and one that is not there", async () => {
    expect(await rotateLog(log, false, BOUNDS)).toBe(false);
    await writeFile(log, "0123456789");
    expect(await rotateLog(log, false, BOUNDS)).toBe(false);
    expect(await readdir(dir)).toEqual(["a.log"]);
  });

  test("keeps the newest files and drops the oldest", async () => {
    for (let round = 1; round <= 6; round += 1) {
      await writeFile(log, `content of ${round}`);
      expect(await rotateLog(log, false, BOUNDS)).toBe(true);
    }
    expect((await readdir(dir)).toSorted()).toEqual(["a.log.1", "a.log.2", "a.log.3"]);
    expect(await readFile(`${log}.1`, "utf8")).toBe("content of 6");
    expect(await readFile(`${log}.3`, "utf8")).toBe("content of 4");
  });

  test("empties a live log in place, and its writer goes on at the beginning of the same file", async () => {
    const writer = openSync(log, "a");
    try {
      writeSync(writer, "before the rotation\n");
      expect(await rotateLog(log, true, BOUNDS)).toBe(true);
      writeSync(writer, "after\n");
    } finally {
      closeSync(writer);
    }
    expect(await readFile(log, "utf8")).toBe("after\n");
    expect(await readFile(`${log}.1`, "utf8")).toBe("before the rotation\n");
  });

  test("a log is made for its owner alone", async () => {
    await withLogDescriptor(join(dir, "new", "b.log"), () => {});
    expect((await stat(join(dir, "new", "b.log"))).mode & 0o777).toBe(0o600);
    expect((await stat(join(dir, "new"))).mode & 0o777).toBe(0o700);
  });
});

describe("keepLogBounded", () => {
  test("rotates when a minute has gone by, until it is disposed of", async () => {
    vi.useFakeTimers({ toFake: ["setInterval", "clearInterval"] });
    await writeFile(log, "more than ten bytes");
    const errors: unknown[] = [];
    const keeping = keepLogBounded(log, (error) => errors.push(error), BOUNDS);
    vi.advanceTimersByTime(60_000);
    vi.useRealTimers();
    await expect.poll(async () => readdir(dir)).toContain("a.log.1");
    keeping[Symbol.dispose]();
    expect(errors).toEqual([]);
  });
});

describe("readLogTail", () => {
  test("gives the last lines, without empty ones", async () => {
    await writeFile(log, "one\n\ntwo\nthree\n");
    expect(await readLogTail(log, 2)).toEqual(["two", "three"]);
    expect(await readLogTail(log, 10)).toEqual(["one", "two", "three"]);
  });

  test("gives only what came after an offset, and everything where the log was emptied since", async () => {
    await writeFile(log, "old line\n");
    const offset = await logOffset(log);
    expect(await readLogTail(log, 5, offset)).toEqual([]);
    appendFileSync(log, "new line\n");
    expect(await readLogTail(log, 5, offset)).toEqual(["new line"]);
    await writeFile(log, "anew\n");
    expect(await readLogTail(log, 5, offset)).toEqual(["anew"]);
  });

  test("reads the end of a large log without reading all of it, and nothing of one that is not there", async () => {
    await writeFile(log, `${"x".repeat(1_000_000)}\nlast\n`);
    expect((await readLogTail(log, 1)).join("")).toBe("last");
    expect(await readLogTail(join(dir, "none"), 5)).toEqual([]);
    expect(await logOffset(join(dir, "none"))).toBe(0);
  });
});
