import { chmodSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import type { HookOutcome } from "../../../src/lib/failover/failover-ports.ts";
import { runFailoverHook } from "../../../src/lib/stack/failover-hooks.ts";
import { tempDir } from "../../support/temp-dir.ts";

function script(body: string): string {
  const path = join(tempDir(), "hook");
  writeFileSync(path, `#!/bin/sh\n${body}\n`);
  chmodSync(path, 0o755);
  return path;
}

async function fence(command: string | null, hookTimeout = 60_000): Promise<HookOutcome> {
  const failover = { fenceCommand: command, flipCommand: null, hookTimeout };
  const env = { PATH: process.env["PATH"], POSTGRES_PASSWORD: "a secret" };
  const { signal } = new AbortController();
  return await runFailoverHook("fence", { failover }, { from: "fula-1", to: "fula-2" }, { env, signal });
}

test("a command that is not set is none, and proves nothing", async () => {
  expect(await fence(null)).toEqual({ state: "none", seen: "failover.fenceCommand is not set" });
});

test("a command is told who hands over to whom, gets its arguments, and none of this process's secrets", async () => {
  const out = join(tempDir(), "out");
  const path = script(`env >${out}; echo "$#:$2"; echo noise >&2`);
  expect(await fence(`${path} one two\\ words`)).toEqual({
    state: "ended",
    seen: "failover.fenceCommand ended with 0: 2:two words noise",
  });
  const seen = readFileSync(out, "utf8");
  expect(seen).toContain("FULA_OLD_MASTER=fula-1\n");
  expect(seen).toContain("FULA_NEW_MASTER=fula-2\n");
  expect(seen).not.toContain("a secret");
});

test("one that fails says with what, and is no proof", async () => {
  expect(await fence(script("echo no route to host; exit 7"))).toEqual({
    state: "failed",
    seen: "failover.fenceCommand ended with 7: no route to host",
  });
  expect(await fence("/there/is/no/such/program")).toMatchObject({ state: "failed" });
});

test("one that does not end is ended", async () => {
  expect(await fence(script("exec sleep 1000"), 300)).toMatchObject({
    state: "failed",
    seen: expect.stringContaining("had not finished after 300ms"),
  });
});
