import { expect, test } from "vitest";
import { judgeEngine, judgeMemory, judgeRoot, memoryLimit } from "../../../src/lib/stack/preflight-docker.ts";
import { loadedBox } from "../../support/schedules.ts";

const GIB = 1024 ** 3;

test("an engine that does not answer is exit code 4, with what to do and no script to pipe into a shell", () => {
  const finding = judgeEngine({ absent: "connect ENOENT /var/run/docker.sock" });
  expect(finding).toMatchObject({ state: "failed", code: "FULA_DOCKER_UNREACHABLE" });
  expect(finding).toMatchObject({ message: expect.stringContaining("ENOENT") });
  expect(JSON.stringify(finding)).toContain("apt install docker.io");
  expect(JSON.stringify(finding)).not.toMatch(/curl|\| *sh/);
});

test.each([
  ["20.10.24+dfsg1", "ok"],
  ["29.0.1", "ok"],
  ["20.10.0-rc1", "ok"],
  ["19.03.15", "failed"],
])("an engine of version %s is %s", (version, state) => {
  expect(judgeEngine({ version, apiVersion: "1.41" }).state).toBe(state);
});

test("who is not root is refused with the reason", () => {
  expect(judgeRoot(0).state).toBe("ok");
  expect(judgeRoot(1_000)).toMatchObject({ state: "failed", code: "FULA_ROOT_NEEDED" });
});

test.each([
  [0.9 * GIB, GIB, "failed"],
  [4 * GIB, 5 * GIB, "warning"],
  [8 * GIB, 5 * GIB, "ok"],
])("%d bytes of memory, of which the containers may use %d, are %s", (total, limit, state) => {
  expect(judgeMemory(total, limit).state).toBe(state);
});

test("only containers of our own count for the memory that is needed", async () => {
  const all = await loadedBox({ yaml: "runtime: docker\n" });
  expect(memoryLimit(all.config)).toBe(4 * GIB);
  const adopted = "runtime: docker\npostgres:\n  mode: external\nblocks:\n  mode: kubo\ncluster:\n  mode: rest\n";
  expect(memoryLimit((await loadedBox({ yaml: adopted })).config)).toBe(0);
});
