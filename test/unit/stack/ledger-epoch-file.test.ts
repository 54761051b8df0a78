import { readFileSync, writeFileSync } from "node:fs";
import { expect, test } from "vitest";
import {
  assertNotRolledBack,
  ledgerEpochFile,
  noteEpoch,
  readKnownEpochs,
} from "../../../src/lib/stack/ledger-epoch-file.ts";
import { newEpoch } from "../../support/ledger-records.ts";
import { tempDir } from "../../support/temp-dir.ts";

const rolledBack = { code: "FULA_EPOCH_ROLLED_BACK", kind: "refused" };

test("a box remembers the highest epoch that it has seen, and the last that was open", async () => {
  const dir = tempDir();
  await expect(readKnownEpochs(dir)).resolves.toBeNull();
  const first = newEpoch({ number: 1 });
  const { number, uuid, primary, address } = first;
  const followed = { number, uuid, primary, address };
  await expect(noteEpoch(dir, first)).resolves.toEqual({ seen: { number, uuid }, followed });
  const second = newEpoch({ number: 3, phase: "fencing", primary: "fula-2" });
  const known = { seen: { number: 3, uuid: second.uuid }, followed };
  await expect(noteEpoch(dir, second)).resolves.toEqual(known);
  await expect(readKnownEpochs(dir)).resolves.toEqual(known);
  const open = { ...second, phase: "open" as const };
  await expect(noteEpoch(dir, open)).resolves.toMatchObject({ followed: { number: 3, primary: "fula-2" } });
});

test("a control plane that says an older epoch, another one of the same number, or none, is not gone by", async () => {
  const dir = tempDir();
  const second = newEpoch({ number: 2 });
  const known = await noteEpoch(dir, second);
  const before = readFileSync(ledgerEpochFile(dir), "utf8");
  for (const said of [newEpoch({ number: 1 }), newEpoch({ number: 2 })]) {
    await expect(noteEpoch(dir, said)).rejects.toMatchObject(rolledBack);
  }
  expect(() => {
    assertNotRolledBack(known, null);
  }).toThrow(/no epoch, and this box has seen epoch 2/);
  expect(readFileSync(ledgerEpochFile(dir), "utf8")).toBe(before);
});

test("a box that never had an epoch has nothing to compare with", () => {
  for (const said of [null, newEpoch({ number: 7 })]) {
    expect(() => {
      assertNotRolledBack(null, said);
    }).not.toThrow();
  }
});

test.each(["", "{", '{"seen":{"number":0,"uuid":"x"},"followed":null}'])(
  "a file that reads %j is not taken for none",
  async (text) => {
    const dir = tempDir();
    writeFileSync(ledgerEpochFile(dir), text);
    await expect(readKnownEpochs(dir)).rejects.toMatchObject(rolledBack);
    await expect(noteEpoch(dir, newEpoch())).rejects.toMatchObject(rolledBack);
  },
);
