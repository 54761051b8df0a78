import { Registry } from "prom-client";
import { expect, test } from "vitest";
import { createStandbyMetrics } from "../../../src/lib/server/metrics-standby.ts";
import { createStandbyBoard } from "../../../src/lib/server/standby-board.ts";
import type { StandbysSeen } from "../../../src/lib/server/sync-keeper.ts";
import { ManualClock } from "../../support/manual-clock.ts";

const WELL: StandbysSeen = { primary: null, epoch: 1, syncSet: ["two"], standbys: ["two"], waits: null, error: null };
const signal = new AbortController().signal;

test("what was seen of the standbys is well only while they are looked at", async () => {
  const clock = new ManualClock();
  const board = createStandbyBoard({ looked: () => {} }, clock);
  await expect(board.check.run(signal)).resolves.toMatchObject({ state: "ok" });
  board.looked(WELL);
  await expect(board.check.run(signal)).resolves.toMatchObject({ state: "ok", details: { synchronous: ["two"] } });
  await clock.step(61_000);
  await expect(board.check.run(signal)).resolves.toMatchObject({
    state: "degraded",
    error: expect.stringContaining("last looked at 61 s ago"),
  });
  board.looked(WELL);
  await expect(board.check.run(signal)).resolves.toMatchObject({ state: "ok" });
});

test("a box's metrics tell its epoch, whether it is fenced, and how old that is, also where it has no server", async () => {
  const registry = new Registry();
  const metrics = createStandbyMetrics([registry]);
  expect(await registry.metrics()).not.toMatch(/^fula_ledger_/m);
  const epoch = { number: 7, uuid: "0ab6ad9e-53d6-4e48-8c2c-7f0a3f1a0001", phase: "open", primary: "two" } as const;
  metrics.watch(() => ({ state: "fenced", epoch, confirmedAgoMs: 2_500 }));
  const told = await registry.metrics();
  for (const line of ["fula_ledger_epoch 7", "fula_ledger_fenced 1", "fula_ledger_quorum_age_seconds 2.5"]) {
    expect(told).toContain(`\n${line}\n`);
  }
  metrics.watch(() => ({ state: "unknown", epoch: null, confirmedAgoMs: null }));
  expect(await registry.metrics()).toMatch(/^fula_ledger_fenced 0$/m);
  expect(await registry.metrics()).not.toMatch(/^fula_ledger_(?:epoch|quorum_age_seconds) /m);
});
