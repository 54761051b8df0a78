import { CID } from "multiformats/cid";
import { expect } from "vitest";
import { systemClock } from "../../../src/lib/kernel/clock.ts";
import { systemRandom } from "../../../src/lib/kernel/random.ts";
import { proveBucket } from "../../support/bucket-proof.ts";
import { clientOf, harass, runWriters, SHARED_KEYS } from "../../support/bucket-workload.ts";
import { runCliForTest } from "../../support/cli.ts";
import { checkHistory, renderVerdict } from "../../support/history-check.ts";
import { HistoryRecorder, type RecordingClient } from "../../support/recording-client.ts";
import type { TwoGateways } from "../../support/two-gateways.ts";
import { until } from "../../support/until.ts";

const SOAK = process.env["SOAK"] === "1";
const SEED = Number(process.env["DRILL_SEED"] ?? (SOAK ? systemRandom.int(2 ** 31) : 20_261_121));
/** How long writers and faults go on, in milliseconds. */
export function stormMs(inCi: number): number {
  return SOAK ? 600_000 : inCi;
}

const WRITERS = 16;
const FAULTS_SHOWN = 5;
/** Fewer would prove little; an idle machine acknowledges forty a second. */
const ACKNOWLEDGED_MIN = 200;
const HARMS_MIN = 12;
const LONGER_AT_MOST = 8;
const LOOK_MS = 200;
const CONTROL_KEYS = 40;
const BUCKET = "storm";

/** That every try lost its race is told as 503, so that a 412 can only be a condition that did not hold. */
export const STORM_SETTINGS = { buckets: { casExhausted: 503 } };

interface RootRow {
  readonly root_cid: string;
  readonly object_count: string;
  readonly total_bytes: string;
}

async function rootOf({ both: [{ box }] }: TwoGateways, bucket: string): Promise<RootRow> {
  const { rows } = await box.database.pool.query<RootRow>(
    "select root_cid, object_count, total_bytes from bucket_roots where bucket = $1",
    [bucket],
  );
  if (rows[0] === undefined) throw new Error(`There is no row of ${bucket}`);
  return rows[0];
}

/** Each gateway puts keys of its own, both at the same time. @returns what was acknowledged and is nowhere at the end */
export async function lostWrites(gateways: TwoGateways, bucket: string): Promise<readonly string[]> {
  const recorder = new HistoryRecorder();
  const clients = gateways.both.map((gateway) => clientOf(gateways, gateway, bucket, recorder, "control"));
  await clients[0]?.createBucket();
  const acknowledged = await Promise.all(
    clients.map(async (client, place) => {
      const keys = Array.from({ length: CONTROL_KEYS }, (_, index) => `from-${place}/${index}`);
      const made: string[] = [];
      for (const key of keys) if ((await client.put(key, 100)) !== null) made.push(key);
      return made;
    }),
  );
  expect(acknowledged.map(({ length }) => length)).toEqual([CONTROL_KEYS, CONTROL_KEYS]);
  // What a gateway still believes is not what is there: the row is, to whoever starts.
  await gateways.stop();
  await gateways.start();
  const found = await Promise.all(clients.map(async (client) => (await client.list("from-", [])) ?? []));
  for (const client of clients) client[Symbol.dispose]();
  return acknowledged.flat().filter((key) => !found.some((listed) => listed.some((one) => one.key === key)));
}

/** Lists everything at a gateway. @returns it beside the row that it was listed at; null where the root moved meanwhile */
async function listedAt(gateways: TwoGateways, client: RecordingClient, keys: readonly string[]) {
  const row = await rootOf(gateways, BUCKET);
  const listed = await client.list("", keys);
  const { root_cid: after } = await rootOf(gateways, BUCKET);
  return listed === null || after !== row.root_cid ? null : { row, listed };
}

async function judgeEnd(gateways: TwoGateways, recorder: HistoryRecorder, own: readonly string[]): Promise<void> {
  for (const gateway of gateways.both) {
    using client = clientOf(gateways, gateway, BUCKET, recorder, "judge");
    // What a client gave up waiting for may still be made.
    const { row, listed } = await until(
      "nobody writes",
      async () => await listedAt(gateways, client, [...SHARED_KEYS, ...own]),
    );
    const bytes = listed.reduce((sum, { size }) => sum + size, 0);
    expect([listed.length, bytes]).toEqual([Number(row.object_count), Number(row.total_bytes)]);
    for (const key of SHARED_KEYS) await client.get(key);
  }
  expect(recorder.complaints).toEqual([]);
  expect(checkHistory(recorder.operations).map(renderVerdict)).toEqual([]);
  expect(recorder.stale.filter(({ value }) => value !== null && recorder.sizeOf(value) === undefined)).toEqual([]);
  const [{ box }, { box: other }] = gateways.both;
  const proof = await proveBucket(box, CID.parse((await rootOf(gateways, BUCKET)).root_cid));
  expect(proof).toMatchObject({ missing: [], unpinned: [] });
  const verified = await runCliForTest(["buckets", "verify", "--all", "--deep"], { baseDir: other.baseDir });
  expect(verified).toMatchObject({ exitCode: 0 });
}

/** Ends a storm when its time is over and enough has happened: on a slow machine that takes longer, up to a limit. */
function endOfStorm(forMs: number, isEnough: () => boolean): AbortSignal {
  const end = new AbortController();
  const watch = async (): Promise<void> => {
    const startedMs = systemClock.monotonicMs();
    for (let tookMs = 0; tookMs < forMs * LONGER_AT_MOST; tookMs = systemClock.monotonicMs() - startedMs) {
      if (tookMs >= forMs && isEnough()) break;
      await systemClock.sleep(LOOK_MS);
    }
    end.abort();
  };
  void watch();
  return end.signal;
}

/** Lets writers and faults loose on one bucket of both gateways, and judges everything that they were told. */
export async function storm(
  gateways: TwoGateways,
  { forMs, meddle }: { readonly forMs: number; readonly meddle?: () => Promise<void> },
): Promise<void> {
  const recorder = new HistoryRecorder();
  using first = clientOf(gateways, gateways.both[0], BUCKET, recorder, "judge");
  await first.createBucket();
  const harms: string[] = [];
  const acknowledged = (): number => recorder.operations.filter(({ answer }) => answer.kind === "done").length;
  const signal = endOfStorm(forMs, () => acknowledged() >= ACKNOWLEDGED_MIN && harms.length >= HARMS_MIN);
  const [own] = await Promise.all([
    runWriters(gateways, recorder, { bucket: BUCKET, writersPerGateway: WRITERS, seed: SEED, signal }),
    harass(gateways, { seed: SEED, signal, ...(meddle && { meddle }) }, harms),
  ]);
  console.log(
    `seed ${SEED}: ${recorder.operations.length} operations, ${acknowledged()} acknowledged writes, ` +
      `${recorder.stale.length} stale reads; ${harms.length} harms; ${JSON.stringify(Object.fromEntries(recorder.statuses))}`,
  );
  const faults = gateways.both.flatMap(({ process: daemon }) =>
    daemon.log.split("\n").filter((line) => line.includes('"status":500')),
  );
  expect(faults.slice(0, FAULTS_SHOWN)).toEqual([]);
  expect(acknowledged()).toBeGreaterThanOrEqual(ACKNOWLEDGED_MIN);
  expect(harms.length).toBeGreaterThanOrEqual(HARMS_MIN);
  await judgeEnd(gateways, recorder, own);
}
