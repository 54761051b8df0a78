import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { PostgresRoots } from "../../../../src/lib/buckets/roots/postgres-roots.ts";
import type { BucketState, Move, MoveOutcome } from "../../../../src/lib/buckets/roots/root-pointer.ts";
import { systemClock } from "../../../../src/lib/kernel/clock.ts";
import { isFulaError } from "../../../../src/lib/kernel/errors.ts";
import { systemRandom } from "../../../../src/lib/kernel/random.ts";
import { createPool, type Pool } from "../../../../src/lib/postgres/pool.ts";
import { bucketNamed, deletionOf, moveTo, rootCid } from "../../../support/bucket-moves.ts";
import { type ClientMessage, FaultProxy, type Verdict } from "../../../support/fault-proxy.ts";
import { freshDatabase, type TestDatabase } from "../../../support/postgres.ts";
import { seededRandom } from "../../../support/seeded-random.ts";
import { until } from "../../../support/until.ts";

/** So long a statement waits for its answer here. */
const ANSWER_MS = 500;
const IS_SOAK = process.env["SOAK"] === "1";
/** Saves of each of three masters. */
const ROUNDS = IS_SOAK ? 300 : 12;
/** What a busy machine does not answer in time is looked for, and made again. */
const STORM_MS = IS_SOAK ? 3_600_000 : 360_000;

let database: TestDatabase;
/** Beside the proxy. */
let direct: PostgresRoots;
let opened: AsyncDisposableStack;
beforeAll(async () => {
  database = await freshDatabase();
  await database.pool.query("update bucket_mode set mode = 'cas'");
  direct = new PostgresRoots({ pool: database.pool, node: "direct", clock: systemClock, random: systemRandom });
});
beforeEach(async () => {
  opened = new AsyncDisposableStack();
  await database.pool.query("truncate bucket_roots, bucket_commits, bucket_garbage");
});
afterEach(async () => {
  await opened.disposeAsync();
});
afterAll(async () => {
  await database.drop();
});

interface Master {
  readonly roots: PostgresRoots;
  readonly pool: Pool;
  readonly proxy: FaultProxy;
}

/** A master whose every message to the server is judged. */
async function masterThrough(judge: (message: ClientMessage) => Verdict, settleMs = 45_000): Promise<Master> {
  const proxy = opened.use(new FaultProxy(database.options.host, database.options.port, judge));
  const port = await proxy.listen();
  const pool = createPool({
    ...database.options,
    host: "127.0.0.1",
    port,
    queryTimeoutMs: ANSWER_MS,
    connectTimeoutMs: 30_000,
  });
  opened.defer(async () => {
    await pool.end();
  });
  // A connection is there before anything goes wrong; a busy server may not have answered in the time that is given here.
  await until("a connection is there", async () => await pool.query("select 1").catch(() => null));
  const options = { pool, node: "far", clock: systemClock, random: systemRandom, settleMs };
  return { roots: new PostgresRoots(options), pool, proxy };
}

/** Passes everything but, once it is armed, the first message of a type. */
function trap(type: string, verdict: Verdict): { judge: (message: ClientMessage) => Verdict; armed: boolean } {
  const made = {
    armed: false,
    judge: (message: ClientMessage): Verdict => {
      if (!made.armed || message.type !== type) return "pass";
      made.armed = false;
      return verdict;
    },
  };
  return made;
}

const photos = bucketNamed("photos");

async function present(): Promise<BucketState> {
  const state = await direct.get(photos);
  if (state === null) throw new Error("the bucket is not there");
  return state;
}

const MOVES: readonly (readonly [string, () => Promise<Move>])[] = [
  ["a move", async () => await Promise.resolve(moveTo(await present(), rootCid(2)))],
  ["a deletion", async () => await Promise.resolve(deletionOf(await present()))],
  [
    "a bucket that is made anew",
    async () => {
      await direct.cas(photos, deletionOf(await present()));
      return moveTo(null, rootCid(2));
    },
  ],
  ["a bucket that is made", async () => await Promise.resolve(moveTo(null, rootCid(2)))],
];

async function prepared([what, make]: (typeof MOVES)[number]): Promise<Move> {
  if (what !== "a bucket that is made") await direct.cas(photos, moveTo(null, rootCid(1), { objects: 0 }));
  return await make();
}

async function committed(commitId: string): Promise<boolean> {
  const { rowCount } = await database.pool.query("select from bucket_commits where commit_id = $1", [commitId]);
  return rowCount === 1;
}

describe("a move whose answer is lost", () => {
  test.each(MOVES)("%s: was made, is told as won", async (...which) => {
    // A server that is not through with the move when the look for its outcome comes is overtaken by it: once more.
    for (;;) {
      const move = await prepared(which);
      const before = (await direct.get(photos))?.version ?? null;
      const fault = trap("S", "swallow answers");
      const { roots } = await masterThrough(fault.judge);
      fault.armed = true;
      const outcome = await roots.cas(photos, move);
      expect([outcome.kind, await committed(move.commitId)]).toEqual([outcome.kind, outcome.kind === "won"]);
      if (outcome.kind !== "won") continue;
      expect(outcome.version).toBeGreaterThan(before ?? 0n);
      return;
    }
  });

  test.each(
    (["cut before", "cut within", "reset", "swallow"] as const).flatMap((verdict) =>
      // How it is lost makes no difference to what it was; one of each way, and each move in one way.
      MOVES.filter((_, index) => verdict === "cut before" || index === 0).map((which) => [verdict, ...which] as const),
    ),
  )("by %s, %s: was not made, is told as lost and never is, whatever still comes of it", async (verdict, ...which) => {
    const move = await prepared(which);
    const before = await direct.get(photos);
    const fault = trap("P", verdict);
    const { roots } = await masterThrough(fault.judge);
    fault.armed = true;
    expect(await roots.cas(photos, move)).toMatchObject({
      kind: "conflict",
      current: before === null ? null : { root: before.root, objectCount: before.objectCount },
    });
    // The statement comes after all.
    expect(await direct.cas(photos, move)).toMatchObject({ kind: "conflict" });
    expect(await committed(move.commitId)).toBe(false);
    // Another try of the same client is one of its own. Nothing is lost any more, but on a busy machine the answer may be late.
    await until("another try is made", async () => {
      const now = await direct.get(photos);
      return (await roots.cas(photos, moveTo(now, rootCid(3)))).kind === "won";
    });
  });

  test.each(MOVES)(
    "%s: still waits in the server for somebody else's lock, is waited for and told as won",
    async (...which) => {
      // On a busy machine the look may overtake the move, which is then told as lost, rightly: once more.
      for (;;) {
        const move = { ...(await prepared(which)), garbage: ["bafyheld"] };
        const blocker = await database.pool.connect();
        await blocker.query("begin");
        await blocker.query("insert into bucket_garbage (cid) values ('bafyheld')");
        const fault = trap("S", "cut after");
        const { roots } = await masterThrough(fault.judge);
        fault.armed = true;
        let isTold = false;
        const outcome = roots.cas(photos, move).finally(() => {
          isTold = true;
        });
        try {
          await until("what makes it impossible waits behind it", async () => {
            const { rowCount } = await database.pool.query(
              "select from pg_stat_activity where wait_event_type = 'Lock' and datname = current_database()",
            );
            return isTold || (rowCount ?? 0) >= 2;
          });
        } finally {
          await blocker.query("rollback");
          blocker.release();
        }
        const wasOvertaken = isTold;
        expect(await outcome).toMatchObject({ kind: wasOvertaken ? "conflict" : "won" });
        expect(await committed(move.commitId)).toBe(!wasOvertaken);
        if (!wasOvertaken) return;
      }
    },
  );

  test("is told as unknown where the server does not come back in time", async () => {
    const move = await prepared(["a bucket that is made", async () => await Promise.resolve(moveTo(null, rootCid(2)))]);
    let isConnected = false;
    let isGone = false;
    const { roots } = await masterThrough(({ type }) => {
      isGone ||= isConnected && type === "P";
      return isGone ? "cut before" : "pass";
    }, 300);
    isConnected = true;
    await expect(roots.cas(photos, move)).rejects.toMatchObject({ code: "FULA_COMMIT_UNKNOWN" });
  });

  test("is told as not made where the server could not be reached in the first place", async () => {
    const { roots, proxy, pool } = await masterThrough(() => "pass");
    await proxy[Symbol.asyncDispose]();
    await until("the connection is known to be gone", async () => await Promise.resolve(pool.totalCount === 0));
    await expect(roots.cas(photos, moveTo(null, rootCid(1)))).rejects.toMatchObject({
      code: "FULA_DATABASE_UNREACHABLE",
    });
  });
});

test("in a storm of cuts, what is told as won is there, and what is told as lost is not", {
  timeout: STORM_MS,
}, async () => {
  const random = seededRandom(IS_SOAK ? systemRandom.int(2 ** 31) : 57);
  const cuts: readonly Verdict[] = ["cut before", "cut within", "cut after", "reset"];
  // A login without an answer would only be waited for, for as long as a login may take.
  const draw = (type: string): Verdict => {
    const verdicts: readonly Verdict[] = type === "p" ? cuts : [...cuts, "swallow answers"];
    return verdicts[random.int(verdicts.length)] ?? "pass";
  };
  let isStormy = false;
  const judge = ({ type }: ClientMessage): Verdict =>
    isStormy && type !== "" && type !== "X" && random.int(15) === 0 ? draw(type) : "pass";
  const masters = await Promise.all([1, 2, 3].map(async () => await masterThrough(judge)));
  const told: { readonly commitId: string; readonly outcome: MoveOutcome["kind"] | "unknown" }[] = [];
  const wonMoves = (): number => told.filter(({ outcome }) => outcome === "won").length;
  isStormy = true;
  await Promise.all(
    masters.map(async ({ roots }, master) => {
      // The slower the machine is, the fewer moves come through within the time that their answers are given.
      for (let round = 0; round < ROUNDS || wonMoves() <= ROUNDS / 2; round += 1) {
        const state = await direct.get(photos);
        const isDeletion = state !== null && random.int(6) === 0;
        const move = isDeletion ? deletionOf(state) : moveTo(state, rootCid(master * 1_000 + round), { objects: 0 });
        try {
          told.push({ commitId: move.commitId, outcome: (await roots.cas(photos, move)).kind });
        } catch (error) {
          // A connection that was cut while it was made: nothing was sent. Or the last word was not to be had.
          if (isFulaError(error, "FULA_COMMIT_UNKNOWN")) told.push({ commitId: move.commitId, outcome: "unknown" });
          else if (isFulaError(error, "FULA_DATABASE_UNREACHABLE"))
            told.push({ commitId: move.commitId, outcome: "unknown" });
          else throw error;
        }
      }
    }),
  );
  isStormy = false;
  await until("nothing runs any more", async () => {
    const { rowCount } = await database.pool.query(
      "select from pg_stat_activity where state = 'active' and datname = current_database() and pid <> pg_backend_pid()",
    );
    return rowCount === 0;
  });
  const { rows } = await database.pool.query<{ commit_id: string; version: string }>(
    "select commit_id, version from bucket_commits where commit_id not like 'void:%' order by version",
  );
  const made = new Set(rows.map(({ commit_id: id }) => id));
  for (const { commitId, outcome } of told) {
    if (outcome !== "unknown") expect([commitId, made.has(commitId)]).toEqual([commitId, outcome === "won"]);
  }
  expect(wonMoves()).toBeGreaterThan(ROUNDS / 2);
  const { rows: versions } = await database.pool.query<{ gaps: string }>(
    "select count(*) filter (where version <> place) as gaps from (select version, row_number() over (order by version) as place from bucket_commits) as all_of_them",
  );
  expect(versions).toEqual([{ gaps: "0" }]);
});
