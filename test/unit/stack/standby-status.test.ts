import { expect, test } from "vitest";
import { systemClock } from "../../../src/lib/kernel/clock.ts";
import { FulaError } from "../../../src/lib/kernel/errors.ts";
import { silentLog } from "../../../src/lib/kernel/log.ts";
import { systemRandom } from "../../../src/lib/kernel/random.ts";
import type { LedgerStore } from "../../../src/lib/membership/ledger-records.ts";
import { readStandbyStatus, type StandbyStatus } from "../../../src/lib/stack/standby-status.ts";
import { newEpoch, newLedgerBox } from "../../support/ledger-records.ts";
import { MemoryLedger } from "../../support/memory-ledger-store.ts";
import { loadedBox } from "../../support/schedules.ts";

async function statusBy(store: LedgerStore): Promise<StandbyStatus> {
  const loaded = await loadedBox({ yaml: "node: { name: three }\npostgres: { mode: external }\n" });
  const { signal } = new AbortController();
  const deps = { clock: systemClock, random: systemRandom, log: silentLog, signal, env: {}, cwd: "/", globals: {} };
  return await readStandbyStatus({ context: deps, loaded, store, name: "three" });
}

test("what a server tells that the quorum does not confirm is shown, and is not well", async () => {
  const control = new MemoryLedger();
  const epoch = newEpoch({ primary: "one", syncSet: ["two"], syncNeeded: 1 });
  await control.open().put("epoch", epoch, 0);
  await control.open().put("box", { ...newLedgerBox("two"), state: "standby" }, 0, "two");
  expect(await statusBy(control.open())).toMatchObject({ wouldLoseBytes: 0, problems: [] });

  const before = (operation: string): void => {
    if (operation === "confirm") throw new FulaError("FULA_CONTROL_PLANE_UNREACHABLE", "Its servers have no quorum.");
  };
  const status = await statusBy(control.open({ before }));
  expect(status.epoch).toMatchObject({ number: 1, primary: "one" });
  expect(status.problems).toEqual([
    { severity: "bad", message: expect.stringContaining("does not confirm what it tells") },
  ]);
});

test("a box that lost the primary and did not come back is not passed over", async () => {
  const control = new MemoryLedger();
  await control.open().put("epoch", newEpoch({ number: 2, primary: "two", syncSet: [], syncNeeded: 0 }), 0);
  await control.open().put("box", { ...newLedgerBox("one"), state: "primary" }, 0, "one");
  expect((await statusBy(control.open())).problems).toEqual([
    { severity: "bad", message: "one had the primary before, and copies nothing now: fula-master resync on one" },
  ]);
});
