import fc from "fast-check";
import { expect, test } from "vitest";
import { PostgresProbe } from "../../../src/lib/recovery/postgres/replica-probe.ts";
import type { Lsn } from "../../../src/lib/recovery/lsn.ts";
import { followPrimary } from "../../../src/lib/recovery/postgres/follow.ts";
import { truncateWal } from "../../../src/lib/recovery/postgres/truncate.ts";
import { asLedgerServer, linkTo, patiently, workAt } from "../../support/ledger-servers.ts";
import { openPostgresRig, type PostgresRig, type RigServer } from "../../support/postgres-pair.ts";
import { property } from "../../support/property.ts";
import {
  cutOff,
  endSegment,
  EPOCHS,
  holdInStep,
  makeOrigin,
  promote,
  writeRows,
} from "../../support/recovery-states.ts";
import { until } from "../../support/until.ts";

const never = new AbortController().signal;
const SOAK_RUNS = 40;

interface Plan {
  /** What is written before the fork, and whether that ends its segment. */
  readonly before: number;
  readonly atSegmentStart: boolean;
  /** Whether the standby has written what it replayed, and begins there when it is started. */
  readonly hasRestartPoint: boolean;
  /** What the old primary writes after the fork: from one row to several segments. */
  readonly after: number;
  /** Whether the standby is killed, not stopped. */
  readonly isKilled: boolean;
  /** What the new primary writes, before the standby is back. */
  readonly since: number;
}

const plans: fc.Arbitrary<Plan> = fc.record({
  before: fc.integer({ min: 1, max: 9_000 }),
  atSegmentStart: fc.boolean(),
  hasRestartPoint: fc.boolean(),
  after: fc.constantFrom(1, 7, 300, 9_000, 25_000),
  isKilled: fc.boolean(),
  since: fc.constantFrom(0, 1, 5_000, 25_000),
});

async function contentOf(server: RigServer): Promise<unknown> {
  return await server.sql(
    "select count(*)::int as rows, md5(string_agg(id || text, ',' order by id)) as all from rows",
    [],
    "ledger",
  );
}

/** The standbys' data, made once: each run begins with copies of them. */
async function makeThree(rig: PostgresRig): Promise<readonly RigServer[]> {
  const old = await makeOrigin(rig, "old0", {});
  const standbys = [await rig.standby(old, "heir0"), await rig.standby(old, "other0")];
  for (const each of [old, ...standbys]) await each.stop();
  return [old, ...standbys];
}

/** Cuts the heir off, and has the other standby receive from then on without replaying. */
async function fork(rig: PostgresRig, old: RigServer, heir: RigServer, other: RigServer): Promise<Lsn> {
  using _ = await holdInStep(rig, old, [heir, other]);
  const forkLsn = await cutOff(heir);
  await other.sql("select pg_wal_replay_pause()");
  return forkLsn;
}

async function tryPlan(rig: PostgresRig, three: readonly RigServer[], plan: Plan, run: number): Promise<void> {
  const [old, heir, other] = await Promise.all(three.map(async (each, n) => await rig.copyOf(each, `run${run}of${n}`)));
  if (old === undefined || heir === undefined || other === undefined) throw new Error("There are three");
  await old.start();
  for (const standby of [heir, other]) {
    // The heir's first checkpoint, whenever it comes, is to leave the log that the way back begins with.
    standby.configure({ primary_conninfo: old.conninfo(standby.name), wal_keep_size: "256MB" });
    await standby.start();
    await rig.streaming(old, standby.name);
  }
  await writeRows(old, plan.before);
  if (plan.atSegmentStart) await endSegment(old);
  if (plan.hasRestartPoint) await old.sql("checkpoint");
  for (const standby of [heir, other]) await rig.streaming(old, standby.name);
  if (plan.hasRestartPoint) await other.sql("checkpoint");
  const forkLsn = await fork(rig, old, heir, other);
  await writeRows(old, plan.after);
  await until("the other standby has received it", async () => {
    const rows = await old.sql("select from pg_stat_replication where flush_lsn >= pg_current_wal_flush_lsn()");
    return rows.length === 1;
  });
  await other.stop(plan.isKilled ? "immediate" : "fast");
  await old.stop("immediate");
  await promote(heir, 2, EPOCHS.second);
  await writeRows(heir, plan.since);
  await heir.sql("select pg_create_physical_replication_slot($1, true)", [`fula_${other.name}`]);
  const epoch = { number: 2n, uuid: EPOCHS.second };
  const probe = new PostgresProbe({
    server: asLedgerServer(other),
    primary: linkTo(heir),
    slot: `fula_${other.name}`,
    arbiter: epoch,
    syncNeeded: 0,
    archive: null,
    newestBackup: async () => null,
  });
  const { decision } = await probe.classify(never);
  expect(decision).toMatchObject({ rung: "truncate_only", truncateLsn: forkLsn });
  const work = workAt(other, heir, epoch);
  await truncateWal(work, forkLsn, never);
  await followPrimary(work.server, work.following, patiently());
  await rig.streaming(heir, other.name);
  expect(await contentOf(other)).toEqual(await contentOf(heir));
  await Promise.all([heir.stop("immediate"), other.stop("immediate")]);
}

test("taking away what a standby received too much leaves it as its primary, wherever in a segment the fork is", async () => {
  await using rig = await openPostgresRig();
  const three = await makeThree(rig);
  let run = 0;
  await fc.assert(
    fc.asyncProperty(plans, async (plan) => {
      run += 1;
      await tryPlan(rig, three, plan, run);
    }),
    { ...property(3, SOAK_RUNS), endOnFailure: true },
  );
});
