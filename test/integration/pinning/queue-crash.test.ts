import { expect, test } from "vitest";
import { systemClock } from "../../../src/lib/kernel/clock.ts";
import type { Pool } from "../../../src/lib/postgres/pool.ts";
import { putsOf } from "../../support/file-pinset.ts";
import { askForMany, jobsLeft, type PinWorkerProcess, startPinWorker } from "../../support/pin-workers.ts";
import { freshDatabase } from "../../support/postgres.ts";
import { tempDir } from "../../support/temp-dir.ts";

const SOAK = process.env["SOAK"] === "1";
const PINS = SOAK ? 20_000 : 2_000;
const KILLS = SOAK ? 20 : 6;
/** A kill comes in the middle of each of them but the first and the last. */
const PARTS = KILLS + 2;
/** As masters have it. Whoever is slower than his claim may do what another does as well, which is not to come about here. */
const CLAIM_MS = 60_000;

/** What the killed have in hand is free at once, as it is a minute later. */
async function endClaims(pool: Pool, killed: number): Promise<void> {
  await pool.query(
    `update pin_jobs set claimed_until = clock_timestamp() - interval '1 second'
      where claimed_by = any($1) and claimed_until >= clock_timestamp()`,
    [Array.from({ length: killed }, (_, index) => `m-${index}`)],
  );
}

test("two masters of four workers lose no pin and make none twice, however often they are killed", {
  timeout: SOAK ? 600_000 : 180_000,
}, async () => {
  await using database = await freshDatabase();
  const [pinsetDir, compileCacheDir] = [tempDir(), tempDir()];
  const cids = await askForMany(database.pool, PINS);
  const partOf = (part: number): readonly string[] =>
    cids.slice(Math.floor((part * PINS) / PARTS), Math.floor(((part + 1) * PINS) / PARTS));
  const makeDue = async (part: number, at: "now" | "infinity"): Promise<void> => {
    await database.pool.query("update pin_jobs set due_at = $2::timestamptz where cid = any($1)", [partOf(part), at]);
  };
  // Each part is due once the kill two parts before it is over: however fast they work, none of the kills comes too late.
  for (let part = 2; part < PARTS; part += 1) await makeDue(part, "infinity");
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
    if (killed < KILLS && left <= PINS * (1 - (killed + 1) / PARTS)) {
      await masters[killed]?.kill();
      masters[killed + 2]?.go();
      await makeDue(killed + 2, "now");
      killed += 1;
    }
    if (killed > 0) await endClaims(database.pool, killed);
    await systemClock.sleep(5);
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
