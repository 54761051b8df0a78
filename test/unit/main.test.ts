import { type ChildProcessByStdio, spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { join } from "node:path";
import type { Readable } from "node:stream";
import { text } from "node:stream/consumers";
import { describe, expect, onTestFinished, test } from "vitest";

const CHILD = join(import.meta.dirname, "..", "support", "children", "run-main.ts");

function start(args: readonly string[]): ChildProcessByStdio<null, Readable, Readable> {
  const child = spawn(process.execPath, [CHILD, ...args], { stdio: ["ignore", "pipe", "pipe"] });
  onTestFinished(() => {
    child.kill("SIGKILL");
  });
  return child;
}

/** Sends each signal when the line before it has been seen on stderr. @returns how the process ended */
async function signalAfter(args: readonly string[], steps: readonly (readonly [string, NodeJS.Signals])[]) {
  const child = start(args);
  const closed = once(child, "close");
  let stderr = "";
  let step = 0;
  for await (const chunk of child.stderr) {
    stderr += String(chunk);
    for (let next = steps[step]; next !== undefined && stderr.includes(next[0]); next = steps[step]) {
      child.kill(next[1]);
      step += 1;
    }
  }
  const [exitCode, signal] = await closed;
  return { exitCode, signal, stderr };
}

function shell(script: string) {
  const { status, stdout, stderr } = spawnSync("bash", ["-c", script, process.execPath, CHILD], { encoding: "utf8" });
  return { status, stdout, stderr };
}

describe("signals", () => {
  test.each(["SIGINT", "SIGTERM", "SIGHUP"] as const)("%s ends the run as interrupted", async (signal) => {
    const { exitCode, stderr } = await signalAfter(["wait"], [["waiting", signal]]);
    expect(exitCode).toBe(130);
    expect(stderr).toContain("FULA_INTERRUPTED: Stopped before the work was done.");
  });

  test("a command that ends cleanly on the signal ends with 0", async () => {
    expect(await signalAfter(["serve"], [["waiting", "SIGTERM"]])).toEqual({
      exitCode: 0,
      signal: null,
      stderr: "waiting\ndrained\n",
    });
  });

  test("one key press that arrives three times is one wish to stop", async () => {
    const run = await signalAfter(
      ["serve"],
      [
        ["waiting", "SIGINT"],
        ["waiting", "SIGINT"],
        ["waiting", "SIGINT"],
      ],
    );
    expect(run).toMatchObject({ exitCode: 0, stderr: "waiting\ndrained\n" });
  });

  test("a second Ctrl-C ends at once what does not listen to the first", async () => {
    const child = start(["deaf"]);
    const closed = once(child, "close");
    let again: NodeJS.Timeout | undefined;
    child.stderr.on("data", (chunk) => {
      if (String(chunk).includes("waiting")) child.kill("SIGINT");
      // Pressed until it works, as people do; the first presses may fall within the time of the first one.
      if (String(chunk).includes("aborted")) again = setInterval(() => child.kill("SIGINT"), 50);
    });
    expect(await closed).toEqual([130, null]);
    clearInterval(again);
  });
});

describe("streams", () => {
  test("a reader that has seen enough ends the run quietly", () => {
    const { status, stdout, stderr } = shell('set -o pipefail; "$0" "$1" numbers | head -n 2');
    expect({ stdout, stderr }).toEqual({ stdout: "line 0\nline 1\n", stderr: "" });
    expect(status).toBe(0);
  });

  test("a result that a pipe takes slowly arrives whole before the process ends", async () => {
    const child = start(["large"]);
    const closed = once(child, "close");
    expect(await text(child.stdout)).toBe(`${"x".repeat(5_000_000)}\n`);
    expect(await closed).toEqual([1, null]);
  });

  test("a result that cannot be written is an error", () => {
    const { status, stderr } = shell('"$0" "$1" large > /dev/full');
    expect(status).toBe(4);
    expect(stderr).toMatch(/^FULA_OUTPUT_LOST: The result could not be written to stdout: ENOSPC\.\n {2}Try: /);
  });

  test("a closed stderr does not end the run", () => {
    expect(shell('"$0" "$1" large 2>&- | wc -c').stdout.trim()).toBe("5000001");
  });
});

describe("bugs", () => {
  test.each([
    ["forget", "nobody waits for me"],
    ["throw-later", "thrown from a timer"],
  ])("%s is reported as a bug and exits with 70", (name, message) => {
    const { status, stderr } = shell(`"$0" "$1" ${name}`);
    expect(status).toBe(70);
    expect(stderr).toContain("This is a bug in fula-master:");
    expect(stderr).toContain(message);
  });

  test("with --json a bug is one JSON document", () => {
    const { status, stderr } = shell('"$0" "$1" forget --json');
    expect(status).toBe(70);
    expect(JSON.parse(stderr)).toMatchObject({ error: { code: "BUG", exitCode: 70 } });
  });
});
