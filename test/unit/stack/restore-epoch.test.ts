import { expect, test } from "vitest";
import { systemClock } from "../../../src/lib/kernel/clock.ts";
import { isFulaError } from "../../../src/lib/kernel/errors.ts";
import { systemRandom } from "../../../src/lib/kernel/random.ts";
import type { LedgerBox, LedgerEpochRecord } from "../../../src/lib/membership/ledger-records.ts";
import { beginRestoreEpoch, type RestoreEpoch } from "../../../src/lib/stack/restore-epoch.ts";
import { newEpoch, newLedgerBox } from "../../support/ledger-records.ts";
import { MemoryLedger } from "../../support/memory-ledger-store.ts";

const RECOVERED = { timeline: 5, reachedLsn: 0x5000_0000n, lastCommitAt: null };

async function ledgerWith(record: LedgerEpochRecord | null, boxes: readonly LedgerBox[] = []) {
  const ledger = new MemoryLedger();
  await using store = ledger.open();
  if (record !== null) await store.put("epoch", record, 0);
  for (const box of boxes) await store.put("box", box, 0, box.node);
  const begin = async (): Promise<RestoreEpoch | null> =>
    await beginRestoreEpoch(async () => await Promise.resolve(ledger.open()), "fula-1", "base-x", {
      clock: systemClock,
      random: systemRandom,
    });
  return { ledger, begin };
}

test("a ledger that never had a second server has no epoch, restored or not", async () => {
  const { begin } = await ledgerWith(null);
  expect(await begin()).toBeNull();
});

test("a restored ledger begins the next epoch, which stands in the control plane when it is open", async () => {
  const { begin, ledger } = await ledgerWith(newEpoch({ number: 6 }), [newLedgerBox("fula-1", { state: "primary" })]);
  const restore = await begin();
  expect(restore?.epoch.number).toBe(7);
  const [statement] = restore?.statements(RECOVERED) ?? [];
  expect(statement).toContain(
    `values (7, '${restore?.epoch.uuid}', 5, '0/50000000', 'fula-1', 'restored from base-x')`,
  );
  await restore?.finish(RECOVERED);
  const { value } = await ledger.open().get("epoch");
  expect(value).toMatchObject({ ...restore?.epoch, phase: "open", timeline: 5, switchLsn: "0/50000000", syncSet: [] });
  expect(value?.previous).toMatchObject({ number: 6, primary: "fula-1" });
});

const REFUSED: readonly (readonly [string, LedgerEpochRecord, readonly LedgerBox[]])[] = [
  ["another box has a standby", newEpoch(), [newLedgerBox("fula-2")]],
  ["another box gets one", newEpoch(), [newLedgerBox("fula-2", { state: "joining" })]],
  ["somebody may be promoted", newEpoch({ syncSet: ["fula-2"], syncNeeded: 1 }), []],
  ["the primary is elsewhere", newEpoch({ primary: "fula-2" }), []],
  ["a failover is under way", newEpoch({ phase: "fencing" }), []],
];

test.each(REFUSED)("a ledger is not replaced while %s", async (_, record, boxes) => {
  const { begin } = await ledgerWith(record, boxes);
  await expect(begin()).rejects.toSatisfy((error) => isFulaError(error, "FULA_RESTORE_RUNNING"));
});

test("a restore that was killed before its end is gone on with under the next number", async () => {
  const { begin } = await ledgerWith(newEpoch({ number: 7, phase: "promoting", reason: "restored from base-x" }));
  expect((await begin())?.epoch.number).toBe(8);
});

test("whoever changes the epoch meanwhile is not overruled", async () => {
  const { begin, ledger } = await ledgerWith(newEpoch());
  const restore = await begin();
  const store = ledger.open();
  const { revision } = await store.get("epoch");
  await store.put("epoch", newEpoch({ number: 2 }), revision);
  await expect(restore?.finish(RECOVERED)).rejects.toSatisfy((error) => isFulaError(error, "FULA_RESTORE_RUNNING"));
});
