import { chmod, mkdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { expect, test } from "vitest";
import { PROJECT_ROOT } from "../../../src/lib/kernel/project.ts";
import { ensureBoxKey } from "../../../src/lib/membership/sealed/box-key.ts";
import { boxWith } from "../../support/config.ts";
import { parseConsoleBlocks, runConsoleSteps } from "../../support/console-blocks.ts";
import { CLUSTER_ID } from "../../support/federation.ts";
import { markJoined } from "../../support/joined.ts";

/** A `fula-master` on the PATH that is this project's. */
async function makeShim(baseDir: string): Promise<string> {
  const dir = join(baseDir, "bin");
  await mkdir(dir);
  const main = join(PROJECT_ROOT, "test/support/children/run-fula-master.ts");
  await writeFile(join(dir, "fula-master"), `#!/bin/sh\nexec '${process.execPath}' '${main}' "$@"\n`);
  await chmod(join(dir, "fula-master"), 0o755);
  return dir;
}

test("the page about the control plane prints what its commands print", async () => {
  const yaml = `node:\n  name: master-1\n  role: master\n  clusterId: ${CLUSTER_ID}\n`;
  const { baseDir } = boxWith({ yaml });
  markJoined(baseDir, CLUSTER_ID);
  await ensureBoxKey(join(baseDir, "keys/box-x25519.pem"));
  const steps = parseConsoleBlocks(await readFile(join(PROJECT_ROOT, "docs/membership.md"), "utf8"));
  expect(steps.length).toBeGreaterThan(8);
  await runConsoleSteps(steps, {
    cwd: baseDir,
    env: {
      PATH: `${await makeShim(baseDir)}:${process.env["PATH"] ?? ""}`,
      HOME: process.env["HOME"] ?? "/root",
      NO_COLOR: "1",
      FULA_MASTER_BASE_DIR: baseDir,
    },
    timeoutMs: 120_000,
  });
});
