import { expect, test } from "vitest";
import { FulaError } from "../../../src/lib/kernel/errors.ts";
import { type Check, CHECK_NAMES, parseSkips, preflightError, runPreflight } from "../../../src/lib/stack/preflight.ts";

const good: Check = { name: "node", run: async () => ({ state: "ok", message: "fine" }) };
const full: Check = {
  name: "disk",
  run: async () => ({ state: "failed", code: "FULA_DISK_FULL", message: "3 B free.", remedy: "free space." }),
};
const taken: Check = {
  name: "ports",
  run: async () => [
    { state: "ok", message: "9010 is free" },
    { state: "failed", code: "FULA_PORT_IN_USE", message: "9000 is in use.", remedy: "stop it." },
  ],
};

test("every check is made and reported in the documented order, whatever failed before it", async () => {
  const results = await runPreflight([taken, full, good]);
  expect(results.map(({ name, state }) => [name, state])).toEqual([
    ["node", "ok"],
    ["disk", "failed"],
    ["ports", "ok"],
    ["ports", "failed"],
  ]);
});

test("several failures come in one error that names each with its code and remedy", async () => {
  const error = preflightError(await runPreflight([taken, full, good]));
  expect(error).toMatchObject({ code: "FULA_PREFLIGHT_FAILED", kind: "refused" });
  expect(error?.message).toMatch(
    /2 checks failed[^]*disk: FULA_DISK_FULL: 3 B free[^]*Try: free space[^]*ports: FULA_PORT_IN_USE/,
  );
});

test("a single failure keeps its own code, so that its exit code is the one of its kind", async () => {
  const error = preflightError(await runPreflight([full, good]));
  expect(error).toMatchObject({ code: "FULA_DISK_FULL", hint: "free space.", details: { check: "disk" } });
});

test("nothing failed gives no error, warnings included", async () => {
  const warning: Check = { name: "clock", run: async () => ({ state: "warning", message: "hm", remedy: "look" }) };
  expect(preflightError(await runPreflight([good, warning]))).toBeNull();
});

test("a check that cannot be made is a failed check, never a pass", async () => {
  const broken: Check = { name: "disk", run: async () => await Promise.reject(new Error("statfs: EIO")) };
  expect(await runPreflight([broken])).toMatchObject([
    { name: "disk", state: "failed", code: "FULA_PREFLIGHT_FAILED", message: expect.stringContaining("EIO") },
  ]);
});

test("a check that throws a FulaError keeps its code, message and hint", async () => {
  const refused: Check = {
    name: "settings",
    run: async () => await Promise.reject(new FulaError("FULA_USAGE", "No such key.", { hint: "remove it." })),
  };
  expect(await runPreflight([refused])).toEqual([
    { name: "settings", state: "failed", code: "FULA_USAGE", message: "No such key.", remedy: "remove it." },
  ]);
});

test("a check that is left out is not run and is reported as skipped", async () => {
  const results = await runPreflight([full, good], parseSkips(["disk"]));
  expect(results.map(({ state }) => state)).toEqual(["ok", "skipped"]);
  expect(preflightError(results)).toBeNull();
});

test("an unknown name to leave out is refused with the nearest one", () => {
  expect(() => parseSkips(["disc"])).toThrow(
    expect.objectContaining({ code: "FULA_USAGE", hint: expect.stringContaining("--skip-preflight disk") }),
  );
  expect(parseSkips(CHECK_NAMES)).toEqual(new Set(CHECK_NAMES));
});
