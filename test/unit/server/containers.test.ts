import { expect, test } from "vitest";
import { judgeContainers } from "../../../src/lib/server/containers.ts";
import { makeServiceHealth } from "../../support/service-health.ts";

const WELL = makeServiceHealth();

test.each([
  { seen: null, state: "degraded", error: "not been looked at" },
  { seen: { error: "connect ENOENT", containers: [] }, state: "degraded", error: "cannot be asked: connect ENOENT" },
  { seen: { error: null, containers: [] }, state: "degraded", error: "no containers" },
  { seen: { error: null, containers: [WELL] }, state: "ok", error: undefined },
  {
    seen: { error: null, containers: [WELL, { ...WELL, service: "cluster", health: "unhealthy" as const }] },
    state: "degraded",
    error: "cluster is unhealthy",
  },
  {
    seen: { error: null, containers: [{ ...WELL, state: "exited" as const, isWanted: false }] },
    state: "degraded",
    error: "kubo is exited, stopped on purpose",
  },
  {
    seen: { error: null, containers: [{ ...WELL, service: "cluster" }] },
    state: "degraded",
    error: "kubo has no container",
  },
])("containers are only called well when they were seen and are: $error", ({ seen, state, error }) => {
  const outcome = judgeContainers(seen, ["kubo"]);
  expect(outcome.state).toBe(state);
  if (error === undefined) expect(outcome.error).toBeUndefined();
  else expect(outcome.error).toContain(error);
});
