import { expect, test } from "vitest";
import { judgeContainer, wantedServices } from "../../../src/lib/stack/status-containers.ts";
import { loadedBox } from "../../support/schedules.ts";
import { makeServiceHealth } from "../../support/service-health.ts";

const NOW_MS = Date.UTC(2026, 10, 20, 4);

const well = makeServiceHealth();

test.each([
  ["runs and is healthy", {}, null],
  ["runs, and nobody asks it how it is", { health: "none" }, null],
  ["is just starting", { health: "starting" }, null],
  ["restarted often, but long ago", { restarts: 9, startedAt: "2026-11-20T01:00:00Z" }, null],
  ["is unhealthy", { health: "unhealthy", healthOutput: "repo is locked" }, "is unhealthy: repo is locked"],
  ["exited", { state: "exited", exitCode: 137 }, "does not run: it is exited (exit code 137)"],
  ["is paused", { state: "paused" }, "does not run: it is paused (exit code 0)"],
  [
    "is being restarted",
    { state: "restarting", restarts: 4, exitCode: 1 },
    "restarts again and again (exit code 1, 4 times)",
  ],
  ["runs between two crashes", { restarts: 3 }, "restarted 3 times, the last time at 2026-11-20T03:59:00Z"],
] as const)("a container that %s is judged so", (_, change, expected) => {
  expect(judgeContainer({ ...well, ...change }, NOW_MS)).toBe(expected);
});

test("a master in containers wants all four, a storage node no PostgreSQL, an embedded master none", async () => {
  const names = async (yaml: string): Promise<readonly string[]> =>
    wantedServices(await loadedBox({ yaml })).map(({ service }) => service);
  expect(await names("runtime: docker\n")).toEqual(["postgres", "kubo", "cluster", "nats"]);
  expect(await names("runtime: docker\ngateway: { mode: container }\n")).toContain("gateway");
  expect(await names("runtime: docker\nnode: { role: storage }\n")).toEqual(["kubo", "cluster"]);
  expect(await names("runtime: embedded\n")).toEqual([]);
});
