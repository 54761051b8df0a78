import { expect, test } from "vitest";
import { systemClock } from "../../../src/lib/kernel/clock.ts";
import { openSession } from "../../../src/lib/postgres/session.ts";
import { readEpochRows, writeEpochRow } from "../../../src/lib/recovery/postgres/epoch-row.ts";
import { freshDatabase } from "../../support/postgres.ts";

const EPOCHS = 101;

/** Told apart from a look by which a federation came to a standstill at its tenth epoch: as texts, 9 comes after 10. */
test("the newest epoch of a ledger is the highest number, however many digits it has", async () => {
  await using database = await freshDatabase();
  await using session = await openSession({ ...database.options, node: "m1", part: "recovery" }, systemClock);
  const uuidOf = (number: number): string => `00000000-0000-4000-8000-${String(number).padStart(12, "0")}`;
  for (let number = 1; number <= EPOCHS; number += 1) {
    const epoch = { number: BigInt(number), uuid: uuidOf(number), timeline: number };
    await writeEpochRow(session, { ...epoch, switchLsn: null, primary: "m1", reason: "a test" });
    const rows = await readEpochRows(session);
    expect(rows[0]).toEqual(epoch);
    expect(rows.map((row) => Number(row.number))).toEqual(Array.from({ length: number }, (_, index) => number - index));
  }
});
