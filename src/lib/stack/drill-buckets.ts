import type { CID } from "multiformats/cid";
import { createCid, RAW_CODEC } from "../blocks/cid.ts";
import { PostgresRoots } from "../buckets/roots/postgres-roots.ts";
import type { BucketName, BucketState, Expected, Move, MoveOutcome } from "../buckets/roots/root-pointer.ts";
import { messageOf } from "../kernel/errors.ts";
import { sqlStateOf } from "../postgres/database-errors.ts";
import { withTransaction } from "../postgres/transaction.ts";
import { defineDrill, type DrillScene, expectThat } from "./drill.ts";
import { type DrillLedger, openDrillLedger, whyNoScratch } from "./drill-masters.ts";
import { peekLedger } from "./ledger-peek.ts";

const ROUNDS = 50;
const CHANGES_EACH = 25;
/** A writer that loses more often than this in a row is not only unlucky. */
const TRIES_MAX = 100;
const OWNER_ID = "d".repeat(32);
const FOREIGN_REFUSED = "55000";

/** The buckets of a drill's own ledger, and two masters that write to them. */
interface Contest {
  readonly ledger: DrillLedger;
  readonly writers: readonly [PostgresRoots, PostgresRoots];
  newRoot(): CID;
  move(expected: Expected, objectCount: bigint, root?: CID): Move;
}

async function openContest({ random, clock }: DrillScene, ledger: DrillLedger): Promise<Contest> {
  await ledger.pool.query("update bucket_mode set mode = 'cas'");
  const writer = (node: string): PostgresRoots => new PostgresRoots({ pool: ledger.pool, node, clock, random });
  const newRoot = (): CID => createCid(RAW_CODEC, random.bytes(32));
  return {
    ledger,
    writers: [writer("drill-a"), writer("drill-b")],
    newRoot,
    move: (expected, objectCount, root = newRoot()) => ({
      expected,
      next: {
        kind: "content",
        content: { root, objectCount, totalBytes: objectCount, metadata: { tags: {} } },
        userId: null,
      },
      commitId: random.uuid(),
      claims: [],
      garbage: [],
      deadlineMs: null,
    }),
  };
}

const at = ({ version, root }: BucketState): Expected => ({ kind: "at", version, root });

async function stateOf({ writers: [reader] }: Contest, name: BucketName): Promise<BucketState> {
  const state = await reader.get(name);
  expectThat(state !== null, `there is no bucket ${name.bucket}`);
  return state;
}

async function makeBucket(contest: Contest, bucket: string): Promise<BucketName> {
  const name = { ownerId: OWNER_ID, bucket };
  const made = await contest.writers[0].cas(name, contest.move({ kind: "absent" }, 0n));
  expectThat(made.kind === "won", `bucket ${bucket} was there already`);
  return name;
}

const winners = (outcomes: readonly MoveOutcome[]): number => outcomes.filter(({ kind }) => kind === "won").length;

/** Both writers move the root that both have seen, again and again. */
async function exactlyOneWins(contest: Contest): Promise<string> {
  const name = await makeBucket(contest, "one-wins");
  for (let round = 1; round <= ROUNDS; round += 1) {
    const before = await stateOf(contest, name);
    const moves = contest.writers.map(() => contest.move(at(before), BigInt(round)));
    const outcomes = await Promise.all(
      contest.writers.map(async (writer, place) => await writer.cas(name, must(moves[place]))),
    );
    expectThat(winners(outcomes) === 1, `${winners(outcomes)} of 2 won round ${round}`);
    const { version } = await stateOf(contest, name);
    expectThat(version === before.version + 1n, `version ${before.version} became ${version} in round ${round}`);
  }
  return `${ROUNDS} rounds, one winner each`;
}

function must<T>(value: T | undefined): T {
  expectThat(value !== undefined, "a writer has no move");
  return value;
}

/** Both count the same counter up, each on what it was told stands there: what is lost of it is missing at the end. */
async function nothingIsLost(contest: Contest): Promise<string> {
  const name = await makeBucket(contest, "counted");
  const lost = await Promise.all(
    contest.writers.map(async (writer) => {
      let conflicts = 0;
      for (let change = 0; change < CHANGES_EACH; change += 1) conflicts += await countUp(contest, writer, name);
      return conflicts;
    }),
  );
  const { objectCount } = await stateOf(contest, name);
  const expected = BigInt(2 * CHANGES_EACH);
  expectThat(objectCount === expected, `${objectCount} of ${expected} acknowledged changes are there`);
  return `${expected} changes by two writers are all there; ${lost.reduce((sum, each) => sum + each, 0)} were tried again`;
}

/** @returns how often it lost */
async function countUp(contest: Contest, writer: PostgresRoots, name: BucketName): Promise<number> {
  let seen: BucketState | null = await writer.get(name);
  for (let lost = 0; ; lost += 1) {
    expectThat(lost < TRIES_MAX, `a writer lost ${TRIES_MAX} times in a row`);
    expectThat(seen !== null, "a writer was told that the bucket is not there");
    const outcome = await writer.cas(name, contest.move(at(seen), seen.objectCount + 1n));
    if (outcome.kind === "won") return lost;
    expectThat(outcome.kind === "conflict", "a move without a deadline was late");
    seen = outcome.current;
  }
}

async function claimsNothing(contest: Contest): Promise<string> {
  const name = { ownerId: OWNER_ID, bucket: "never-made" };
  const expected = { kind: "at", version: 1n, root: contest.newRoot() } as const;
  const outcome = await contest.writers[0].cas(name, contest.move(expected, 1n));
  expectThat(outcome.kind === "conflict" && outcome.current === null, "a root was written where there was none");
  return "a conflict with nothing";
}

async function goesOnCounting(contest: Contest): Promise<string> {
  const [writer] = contest.writers;
  const name = await makeBucket(contest, "made-again");
  const first = await stateOf(contest, name);
  const removed = await writer.cas(name, { ...contest.move(at(first), 0n), next: { kind: "deleted" } });
  expectThat(removed.kind === "won", "an empty bucket was not deleted");
  const again = await writer.cas(name, contest.move({ kind: "absent" }, 0n, first.root));
  expectThat(
    again.kind === "won" && again.version === first.version + 2n,
    `made again as ${JSON.stringify(again.kind)}`,
  );
  const late = await writer.cas(name, contest.move(at(first), 1n));
  expectThat(late.kind === "conflict", "a writer of the deleted bucket moved the new one");
  return `version ${first.version} is ${again.version} now, and its old writer lost`;
}

/** Ends the transaction whatever happened in it. */
class RolledBack extends Error {
  override readonly name = "RolledBack";
}

/** Writes a root into the box's own ledger as the fleet's gateway does, and takes it back whatever came of it. */
async function foreignIsRefused({ loaded, random, signal }: DrillScene): Promise<string> {
  const owner = Buffer.from(random.bytes(16)).toString("hex");
  const root = createCid(RAW_CODEC, random.bytes(32)).toString();
  const answer = await peekLedger(loaded, async (pool) => {
    let seen = "the root was written";
    const tryIt = withTransaction(
      pool,
      async (client) => {
        await client.query("update bucket_mode set mode = 'cas'");
        try {
          await client.query("insert into bucket_roots (owner_id, bucket, root_cid) values ($1, 'drill', $2)", [
            owner,
            root,
          ]);
        } catch (error) {
          seen = sqlStateOf(error) ?? messageOf(error);
        }
        throw new RolledBack();
      },
      { signal },
    );
    await tryIt.catch((error: unknown) => {
      if (!(error instanceof RolledBack)) throw error;
    });
    return { seen };
  });
  expectThat(answer !== null, "PostgreSQL does not run");
  expectThat(answer.seen === FOREIGN_REFUSED, answer.seen);
  return `refused (${FOREIGN_REFUSED})`;
}

/** D10: the row that arbitrates between gateways, in a ledger of the drill's own. */
export const bucketRootsDrill = defineDrill({
  id: "D10",
  title: "Of two writers of one bucket one wins, and neither loses what the other wrote",
  claims: {
    foreign:
      "The ledger of this box takes no root from software that knows nothing of commits (in a transaction that is rolled back)",
    one: `Two writers move the same root ${ROUNDS} times: exactly one wins each time`,
    lost: "Whoever loses is told what stands there and writes after it: no acknowledged change is missing",
    claim: "Expecting a root where there is none claims nothing",
    again: "A bucket that is deleted and made again goes on counting, and its old writer cannot move it",
  },
  unfitFor: ({ config }) => (config.node.role === "storage" ? "a storage node has no ledger" : null),
  unableHere: whyNoScratch,
  run: async (scene, check) => {
    await check("foreign", async () => await foreignIsRefused(scene));
    await using ledger = await openDrillLedger(scene, 0);
    const contest = await openContest(scene, ledger);
    await check("one", async () => await exactlyOneWins(contest));
    await check("lost", async () => await nothingIsLost(contest));
    await check("claim", async () => await claimsNothing(contest));
    await check("again", async () => await goesOnCounting(contest));
  },
});
