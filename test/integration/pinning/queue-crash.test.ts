import { expect, test } from "vitest";
import { systemClock } from "../../../src/lib/kernel/clock.ts";
import { putsOf } from "../../support/file-pinset.ts";
import { askForMany, jobsLeft, type PinWorkerProcess, startPinWorker } from "../../support/pin-workers.ts";
import { freshDatabase } from "../../support/postgres.ts";
import { tempDir } from "../../support/temp-dir.ts";

const SOAK = process.env["SOAK"] === "1";
const PINS = SOAK ? 20_000 : 2_000;
const KILLS = SOAK ? 20 : 6;
/** Far longer than a content takes on a busy machine: whoever is slower than his claim may do what another does as well. */
const CLAIM_MS = 4_000;

test("two masters of four workers lose no pin and make none twice, however often they are killed", {
  timeout: SOAK ? 600_000 : 180_000,
}, async () => {
  await using database = await freshDatabase();
  const [pinsetDir, compileCacheDir] = [tempDir(), tempDir()];
  const cids = await askForMany(database.pool, PINS);
  const wish = { connection: database.options, pinsetDir, compileCacheDir, workers: 4, claimMs: CLAIM_MS };
  const start = async (_: unknown, index: number): Promise<PinWorkerProcess> =>
    await startPinWorker({ ...wish, node: `m-${index}` });
  // Two at work; each of the others takes the place of one that is killed.
  const masters = await Promise.all(Array.from({ length: 2 + KILLS }, start));
  masters[0]?.go();
  masters[1]?.go();
  let killed = 0;
  let left = PINS;
  while (left > 0) {
    left = await jobsLeft(database.pool);
    // Spread over the whole of the work, and one master after the other.
    const isTime = left > 0 && killed < KILLS && left <= PINS * (1 - (killed + 1) / (KILLS + 2));
    if (isTime) {
      await masters[killed]?.kill();
      masters[killed + 2]?.go();
      killed += 1;
    }
    await systemClock.sleep(1);
  }
  await Promise.all(masters.slice(KILLS).map(async (master) => await master[Symbol.asyncDispose]()));

  expect(killed).toBe(KILLS);
  expect(cids.filter((cid) => putsOf(pinsetDir, cid) !== 1)).toEqual([]);
  const { rows } = await database.pool.query("select status, size, count(*)::int from pins group by 1, 2");
  expect(rows).toEqual([{ status: "pinned", size: "1", count: PINS }]);
  // The triggers of the ledger saw each of them once.
  const { rows: usage } = await database.pool.query("select sum(bytes)::int as bytes from user_usage");
  expect(usage).toEqual([{ bytes: PINS }]);
});
