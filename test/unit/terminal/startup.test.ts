import { execFileSync } from "node:child_process";
import { join } from "node:path";
import { beforeAll, expect, test } from "vitest";
import { PROJECT_ROOT } from "../../../src/lib/kernel/project.ts";

const LIGHT = ["--help", "completion bash", "token create --help"];
const ASKING = "key revoke x --base-dir /nonexistent";

/** Runs command lines one after the other in one process, and prints what had been loaded after each. */
const PROGRAM = `
import { registerHooks } from "node:module";
const loaded = [];
registerHooks({ load: (url, context, next) => { loaded.push(url); return next(url, context); } });
const { runCli } = await import(process.env.CLI);
const { COMMANDS } = await import(process.env.COMMANDS);
const quiet = { write: () => true, isTTY: false };
const { signal } = new AbortController();
const streams = { stdin: process.stdin, stdout: quiet, stderr: quiet };
const after = [];
for (const line of JSON.parse(process.env.LINES)) {
  await runCli(line.split(" "), { ...streams, env: {}, cwd: "/", signal }, COMMANDS);
  after.push([line, [...loaded]]);
}
console.log(JSON.stringify(after));
`;

let loadedAfter: ReadonlyMap<string, readonly string[]> = new Map();

beforeAll(() => {
  const source = (path: string): string => join(PROJECT_ROOT, "src", path);
  const env = { CLI: source("cli.ts"), COMMANDS: source("commands/all.ts"), LINES: JSON.stringify([...LIGHT, ASKING]) };
  const text = execFileSync(process.execPath, ["--input-type=module", "-e", PROGRAM], { encoding: "utf8", env });
  const after: readonly (readonly [string, readonly string[]])[] = JSON.parse(text);
  loadedAfter = new Map(after);
});

test.each(LIGHT)("%s loads neither a database nor the control plane: a shell waits for it", (line) => {
  const loaded = loadedAfter.get(line) ?? [];
  expect(loaded.some((url) => url.endsWith("/commands/token.ts"))).toBe(true);
  const heavy = /node:sqlite|\/@nats-io\/|\/node_modules\/pg\/|\/lib\/(?:stack|membership|postgres)\//;
  expect(loaded.filter((url) => heavy.test(url))).toEqual([]);
});

test("a command that asks the control plane loads what asks, so that the others can be found out", () => {
  expect((loadedAfter.get(ASKING) ?? []).some((url) => url.endsWith("/stack/authorize.ts"))).toBe(true);
});
