import { chmod, mkdir, readFile, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { execFileSync } from "node:child_process";
import { afterEach, beforeEach, expect, test } from "vitest";
import { PROJECT_ROOT } from "../../src/lib/kernel/project.ts";
import { parseConsoleBlocks, runConsoleSteps, sectionOf } from "../support/console-blocks.ts";
import { makeTestBox, type TestBox } from "../support/test-box.ts";

// Where the tour puts its own files.
const TOUR_FILES = ["/tmp/tampered", "/tmp/LICENSE.again"];

let box: TestBox;

async function removeTourFiles(): Promise<void> {
  for (const path of TOUR_FILES) await rm(path, { recursive: true, force: true });
}

beforeEach(async () => {
  box = await makeTestBox();
  await removeTourFiles();
});

afterEach(async () => {
  await removeTourFiles();
  await box[Symbol.asyncDispose]();
});

/** An `npx` that keeps the schedules of the tour's master out of this machine's /etc. */
async function makeShim(): Promise<string> {
  const dir = join(box.root, "bin");
  await mkdir(dir);
  const real = execFileSync("sh", ["-c", "command -v npx"], { encoding: "utf8" }).trim();
  const script = `#!/bin/sh
if [ "$1 $2" = "fula-master join" ]; then set -- "$@" --schedule-root '${box.scheduleRoot}'; fi
exec '${real}' "$@"
`;
  await writeFile(join(dir, "npx"), script);
  await chmod(join(dir, "npx"), 0o755);
  return dir;
}

test("the README's tour works as it is printed", async () => {
  const markdown = await readFile(join(PROJECT_ROOT, "README.md"), "utf8");
  const steps = parseConsoleBlocks(sectionOf(markdown, /Five minutes/));
  expect(steps.length).toBeGreaterThan(10);
  await runConsoleSteps(steps, {
    cwd: PROJECT_ROOT,
    env: {
      PATH: `${await makeShim()}:${process.env["PATH"] ?? ""}`,
      HOME: process.env["HOME"] ?? "/root",
      NO_COLOR: "1",
      // What npm says about its own settings and versions is no part of the page.
      npm_config_loglevel: "error",
      npm_config_update_notifier: "false",
      FULA_MASTER_BASE_DIR: box.baseDir,
      // The page has the usual ports; something else may be listening there on the machine that tests it.
      FULA_MASTER_SERVER_PORT: String(box.ports.server),
      FULA_MASTER_GATEWAY_PORT: String(box.ports.gateway),
      FULA_MASTER_API_PORT: String(box.ports.api),
    },
    timeoutMs: 120_000,
  });
});
