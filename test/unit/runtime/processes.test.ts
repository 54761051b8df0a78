import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { readFileSync } from "node:fs";
import { createServer } from "node:net";
import { afterEach, describe, expect, test } from "vitest";
import {
  argumentsOf,
  findFreePort,
  identifyProcess,
  identifySelf,
  isSameProcessRunning,
  listPids,
  programOf,
  signalProcess,
  workingDirOf,
} from "../../../src/lib/runtime/processes.ts";
import { until } from "../../support/until.ts";

const PID_FREE = 4_194_305; // Above the kernel's largest pid (PID_MAX_LIMIT, 2^22).

function parentOf(pid: number): number | null {
  try {
    const text = readFileSync(`/proc/${pid}/stat`, "utf8");
    return Number(text.slice(text.lastIndexOf(")") + 2).split(" ")[1]);
  } catch {
    return null;
  }
}

let children: ChildProcess[] = [];
afterEach(() => {
  for (const child of children) child.kill("SIGKILL");
  children = [];
});

async function start(command: string, ...args: readonly string[]): Promise<ChildProcess & { readonly pid: number }> {
  const child = spawn(command, args, { stdio: "ignore", cwd: "/" });
  children.push(child);
  await once(child, "spawn");
  const { pid } = child;
  if (pid === undefined) throw new Error("no pid");
  return Object.assign(child, { pid });
}

describe("identity", () => {
  test("stays the same while the process runs and ends with it", async () => {
    const child = await start("sleep", "60");
    const identity = identifyProcess(child.pid);
    if (identity === null) throw new Error("no identity");
    expect(identifyProcess(child.pid)).toEqual(identity);
    expect(isSameProcessRunning(identity)).toBe(true);
    child.kill("SIGKILL");
    await once(child, "exit");
    expect(isSameProcessRunning(identity)).toBe(false);
    expect(identifyProcess(child.pid)).toBeNull();
  });

  test("tells a process from one that has its pid and started at another time, or in another boot", () => {
    const self = identifySelf();
    const [boot, ticks] = self.startMark.split(":");
    expect(isSameProcessRunning(self)).toBe(true);
    expect(isSameProcessRunning({ pid: self.pid, startMark: `${boot}:${Number(ticks) + 1}` })).toBe(false);
    expect(isSameProcessRunning({ pid: self.pid, startMark: `another-boot:${ticks}` })).toBe(false);
  });

  test("a zombie that nobody has collected is not running", async () => {
    // The shell becomes `sleep 60` without ever collecting its first child.
    const parent = await start("sh", "-c", "sleep 0 & exec sleep 60");
    const findZombie = (): number | undefined =>
      listPids().find((pid) => parentOf(pid) === parent.pid && argumentsOf(pid).length === 0);
    await expect.poll(findZombie).toBeDefined();
    expect(identifyProcess(findZombie() ?? 0)).toBeNull();
  });

  test("a program whose name holds spaces and parentheses is read right", async () => {
    const child = await start(
      "sh",
      "-c",
      "printf 'a) (b 1 2 3' > /proc/self/comm; while read line; do :; done; kill -STOP $$",
    );
    await expect.poll(() => programOf(child.pid)).toBe("a) (b 1 2 3");
    expect(identifyProcess(child.pid)?.startMark).toMatch(/^[0-9a-f-]{36}:[1-9]\d+$/);
  });

  test("there is none for a pid that nobody has", () => {
    expect(identifyProcess(PID_FREE)).toBeNull();
    expect(argumentsOf(PID_FREE)).toEqual([]);
    expect(programOf(PID_FREE)).toBeNull();
    expect(workingDirOf(PID_FREE)).toBeNull();
  });
});

describe("what a process shows", () => {
  test("its arguments come one by one, empty ones included", async () => {
    const child = await start("sleep", "60");
    // A program that has just begun has no arguments yet for a moment.
    await expect.poll(() => argumentsOf(child.pid)).toEqual(["sleep", "60"]);
    const empty = await start("sh", "-c", "kill -STOP $$", "", "a b", "");
    await expect.poll(() => argumentsOf(empty.pid)).toEqual(["sh", "-c", "kill -STOP $$", "", "a b", ""]);
  });

  test("its working directory is the one that it was started in", async () => {
    expect(workingDirOf((await start("sleep", "60")).pid)).toBe("/");
  });
});

describe("signalProcess", () => {
  test("reaches the process that it names", async () => {
    const child = await start("sleep", "60");
    const identity = identifyProcess(child.pid);
    if (identity === null) throw new Error("no identity");
    expect(signalProcess(identity, "SIGTERM")).toBe(true);
    expect(await once(child, "exit")).toEqual([null, "SIGTERM"]);
    expect(signalProcess(identity, "SIGTERM")).toBe(false);
  });

  test("never reaches a later process with the same pid", async () => {
    const child = await start("sleep", "60");
    const identity = identifyProcess(child.pid);
    expect(signalProcess({ pid: child.pid, startMark: "another-boot:1" }, "SIGKILL")).toBe(false);
    expect(identifyProcess(child.pid)).toEqual(identity);
  });
});

test("a free port is one that can be listened on", async () => {
  // Somebody else may be given the same port in between: then another one.
  await until("one can", async () => {
    const server = createServer();
    const listening = once(server, "listening");
    server.listen({ host: "127.0.0.1", port: await findFreePort() });
    const canListen = await listening.then(
      () => true,
      () => false,
    );
    server.close();
    return canListen;
  });
});
