import { spawn } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { text } from "node:stream/consumers";
import { afterAll, beforeAll, expect, test } from "vitest";
import { createCid, RAW_CODEC } from "../../../src/lib/blocks/cid.ts";
import { openKuboBlockStore } from "../../../src/lib/blocks/kubo.ts";
import { installComplianceChecker } from "../../infra/pinning-compliance.ts";
import { type PinningBox, startPinningBox } from "../../support/pinning-box.ts";

/** The checker's own contents, which its preload numbers: more than it asks for. */
const CONTENTS = 60;
/** Each of the checker's functions is one check: with fewer, one of them could not run. */
const CHECKS = 9;

let pinning: PinningBox;
let out: string;

beforeAll(async () => {
  out = mkdtempSync(join(tmpdir(), "fula-compliance-"));
  pinning = await startPinningBox({ api: { requestsPerMinute: 10_000 } });
});
afterAll(async () => {
  await pinning?.[Symbol.asyncDispose]();
  rmSync(out, { recursive: true, force: true });
});

test("the public compliance checker for pinning services finds nothing that is not as the specification has it", async () => {
  const blocks = openKuboBlockStore(pinning.peer.kubo.api);
  for (let index = 1; index <= CONTENTS; index += 1) {
    const bytes = Buffer.from(`${index},0`);
    await blocks.put(createCid(RAW_CODEC, bytes), bytes);
  }
  const { program, preload, spec } = installComplianceChecker();
  const token = await pinning.tokenOf("checker@example.org");
  const child = spawn(
    process.execPath,
    ["--no-deprecation", "--import", preload, program, "--serviceAndToken", pinning.endpoint, token],
    {
      cwd: out,
      env: { PATH: process.env["PATH"], COMPLIANCE_SPEC: spec, COMPLIANCE_OUT: out },
      stdio: ["ignore", "pipe", "pipe"],
    },
  );
  const [stdout, stderr] = await Promise.all([text(child.stdout), text(child.stderr)]);
  // It says so where a check could not run, and does not count it.
  expect(stdout).not.toMatch(/Problem running|Could not get/);
  expect(stderr).toBe("");
  const result: unknown = JSON.parse(readFileSync(join(out, "127.0.0.1.json"), "utf8"));
  expect(result, stdout).toEqual({ total: CHECKS, passed: CHECKS, failed: 0, success: true });
});
