import { describe, expect, test } from "vitest";
import { decideWatch, FRESH_WATCH, type Watch } from "../../../src/lib/runtime/container-watch.ts";
import type { ServiceHealth } from "../../../src/lib/runtime/project-health.ts";
import { makeServiceHealth } from "../../support/service-health.ts";

const WELL = makeServiceHealth();

/** What is done at looks ten seconds apart. */
function acts(looks: readonly Partial<ServiceHealth>[], intervalMs = 10_000): string {
  let watch: Watch = FRESH_WATCH;
  let nowMs = 1_000;
  return looks
    .map((look) => {
      const decision = decideWatch(watch, { ...WELL, ...look }, nowMs);
      watch = decision.watch;
      nowMs += intervalMs;
      return decision.act;
    })
    .join(" ");
}

const unhealthy = { health: "unhealthy" } as const;
const ended = { state: "exited", health: "none", exitCode: 1 } as const;

describe("a supervisor", () => {
  test("acts when it has seen the same twice: restarts what is unhealthy, starts what has ended", () => {
    expect(acts([unhealthy, unhealthy])).toBe("nothing restart");
    expect(acts([ended, ended])).toBe("nothing start");
    expect(acts([{ ...ended, state: "created" }, ended])).toBe("nothing start");
  });

  test("leaves alone what recovers between two looks", () => {
    expect(acts([unhealthy, {}, unhealthy, { health: "starting" }, unhealthy])).toBe(
      "nothing nothing nothing nothing nothing",
    );
  });

  test("leaves alone what starts, what the engine restarts by itself, what is paused, and what was stopped on purpose", () => {
    for (const look of [
      { health: "starting" },
      { state: "restarting", health: "unhealthy" },
      { state: "paused", health: "unhealthy" },
      { ...ended, isWanted: false },
    ] as const) {
      expect(acts([look, look, look])).toBe("nothing nothing nothing");
    }
  });

  test("pauses ever longer between restarts that do not help, at most five minutes, and never gives up", () => {
    let watch: Watch = FRESH_WATCH;
    const restartedAtMs: number[] = [];
    for (let nowMs = 0; nowMs < 3_600_000; nowMs += 5_000) {
      const decision = decideWatch(watch, { ...WELL, ...unhealthy }, nowMs);
      watch = decision.watch;
      if (decision.act === "restart") restartedAtMs.push(nowMs);
    }
    const pausesSeconds = restartedAtMs.slice(1).map((ms, index) => (ms - (restartedAtMs[index] ?? 0)) / 1_000);
    expect(pausesSeconds.slice(0, 7)).toEqual([10, 20, 40, 80, 160, 300, 300]);
    expect(new Set(pausesSeconds.slice(5))).toEqual(new Set([300]));
  });

  test("begins anew with one that was well in between", () => {
    const tries = [unhealthy, unhealthy, unhealthy, unhealthy];
    expect(acts([...tries, {}, ...tries])).toBe(
      "nothing restart nothing restart nothing nothing restart nothing restart",
    );
  });
});
