import { mkdirSync, readdirSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { describe, expect, test } from "vitest";
import { detectScheduler, runProgram } from "../../../src/lib/stack/scheduler.ts";
import { recordPrograms } from "../../support/schedules.ts";
import { tempDir } from "../../support/temp-dir.ts";

function rootWith(...paths: readonly string[]): string {
  const root = tempDir();
  for (const path of paths) {
    const [name = "", content] = path.split("=");
    mkdirSync(join(root, content === undefined ? name : dirname(name)), { recursive: true });
    if (content !== undefined) writeFileSync(join(root, name), content);
  }
  return root;
}

const answering = (stdout: string, exitCode = 0): { run: ReturnType<typeof recordPrograms>["run"] } =>
  recordPrograms({ "systemctl is-system-running": { stdout, exitCode } });

describe("the scheduler of a box", () => {
  test.each([
    ["running\n", 0],
    ["degraded\n", 1],
    ["starting\n", 1],
  ])("is systemd where it is the init and answers %j", async (answer, exitCode) => {
    const rootDir = rootWith("run/systemd/system", "etc/cron.d", "usr/sbin/cron=x");
    expect(await detectScheduler({ rootDir, uid: 0, ...answering(answer, exitCode) })).toEqual({ kind: "systemd" });
  });

  test("is not systemd where its tools are installed but it does not run, as in a container", async () => {
    const rootDir = rootWith("etc/cron.d", "usr/sbin/cron=x", "proc/77/comm=cron\n");
    const { run, calls } = recordPrograms({ "systemctl is-system-running": { stdout: "running\n" } });
    expect(await detectScheduler({ rootDir, uid: 0, run })).toEqual({ kind: "cron", daemonRuns: true });
    expect(calls).toEqual([]);
  });

  test.each([
    ["offline\n", 1],
    ["", 127],
  ])("is not systemd where its manager answers %j", async (answer, exitCode) => {
    const rootDir = rootWith("run/systemd/system", "etc/cron.d", "usr/sbin/crond=x", "proc/7/comm=crond\n");
    expect(await detectScheduler({ rootDir, uid: 0, ...answering(answer, exitCode) })).toMatchObject({ kind: "cron" });
  });

  test("is cron without a daemon where it is installed and nothing runs it", async () => {
    const rootDir = rootWith("etc/cron.d", "usr/sbin/cron=x", "proc/77/comm=cronie-helper\n");
    expect(await detectScheduler({ rootDir, uid: 0, ...answering("") })).toEqual({ kind: "cron", daemonRuns: false });
  });

  test.each([
    [["etc/cron.d"], /no cron is installed/],
    [["etc"], /neither systemd nor cron/],
  ])("is none, and says why: %j", async (paths, because) => {
    expect(await detectScheduler({ rootDir: rootWith(...paths), uid: 0, ...answering("running\n", 1) })).toEqual({
      kind: "none",
      because: expect.stringMatching(because),
    });
  });

  test("is none for an ordinary user, whatever runs on the box", async () => {
    expect(await detectScheduler({ rootDir: "/", uid: 1000, ...answering("running\n", 0) })).toEqual({
      kind: "none",
      because: "only root may install schedules for the whole box",
    });
  });

  test("under another root is asked of whoever may write there", async () => {
    const rootDir = rootWith("etc/cron.d", "usr/sbin/cron=x");
    expect(await detectScheduler({ rootDir, uid: 1000, ...answering("") })).toMatchObject({ kind: "cron" });
  });

  test("looking for it writes nothing", async () => {
    const rootDir = rootWith("etc/cron.d", "usr/sbin/cron=x");
    const before = readdirSync(rootDir, { recursive: true });
    await expect(detectScheduler({ rootDir, uid: 0, ...answering("") })).resolves.toMatchObject({ kind: "cron" });
    expect(readdirSync(rootDir, { recursive: true })).toEqual(before);
  });
});

test("a program that is not there is exit code 127, not an exception", async () => {
  expect(await runProgram("/nonexistent/systemctl", ["x"])).toMatchObject({ exitCode: 127 });
  expect(await runProgram("sh", ["-c", "echo out; echo err >&2; exit 3"])).toEqual({
    exitCode: 3,
    stdout: "out\n",
    stderr: "err\n",
  });
});
