import { cpSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { systemClock } from "../../../src/lib/kernel/clock.ts";
import { openSession, type Session } from "../../../src/lib/postgres/session.ts";
import { LocalArchive } from "../../../src/lib/recovery/backup/archive-reach.ts";
import type { Epoch } from "../../../src/lib/recovery/epoch.ts";
import { type Lsn, parseLsn, parseWalFileName, walFileName } from "../../../src/lib/recovery/lsn.ts";
import { lookAtNode } from "../../../src/lib/recovery/postgres/node-look.ts";
import { PostgresProbe } from "../../../src/lib/recovery/postgres/replica-probe.ts";
import type { WalArchive } from "../../../src/lib/recovery/postgres/archived-wal.ts";
import type { KnownBackup } from "../../../src/lib/recovery/postgres/retained.ts";
import type { ProofReason, Rung } from "../../../src/lib/recovery/types.ts";
import { asLedgerServer, linkTo } from "../../support/ledger-servers.ts";
import { openPostgresRig, type PostgresRig, type RigServer } from "../../support/postgres-pair.ts";
import { until } from "../../support/until.ts";
import {
  cutOff,
  damage,
  endSegment,
  EPOCHS,
  type History,
  makeHistory,
  makeOrigin,
  makeStandby,
  promote,
  writeRows,
} from "../../support/recovery-states.ts";

const SEGMENT_BYTES = 1024 * 1024;
const SECOND: Epoch = { number: 2n, uuid: EPOCHS.second };
const never = new AbortController().signal;

/** Against whom a case is judged. */
interface Ground {
  readonly primary: RigServer;
  readonly arbiter?: Epoch;
  readonly archive?: WalArchive;
  readonly backup?: KnownBackup;
  readonly connect?: () => Promise<Session>;
  readonly slot?: string;
}

/** One returned box, and how it has to come back. */
interface Case {
  readonly is: string;
  /** Its data: as they lie there, or copied and changed by a script that runs beside the data directory. */
  readonly of: () => RigServer;
  readonly change?: string | (() => string);
  /** Set where the script writes into files. */
  readonly isOverwritten?: boolean;
  readonly against?: () => Ground;
  readonly rung: Rung;
  readonly proof: ProofReason;
}

interface Row {
  readonly case: string;
  readonly expected: string;
  readonly found: string;
}

let rig: PostgresRig;
let history: History;
const early: Row[] = [];

function state(name: string): RigServer {
  const server = history.states.get(name);
  if (server === undefined) throw new Error(`No state ${name}`);
  return server;
}

async function endOf(name: string): Promise<Lsn> {
  const { data } = await lookAtNode(asLedgerServer(state(name)), never);
  if (data.kind !== "readable") throw new Error(`${name} cannot be read`);
  return data.end.lsn;
}

let copies = 0;

async function judge({ is, of, change, isOverwritten = false, against, rung, proof }: Case): Promise<Row> {
  let server = of();
  if (change !== undefined) {
    copies += 1;
    server = await rig.copyOf(server, `case${copies}`, isOverwritten ? "copied" : "linked");
    damage(rig, server, typeof change === "string" ? change : change());
  }
  const ground = against?.() ?? { primary: history.primary };
  const probe = new PostgresProbe({
    server: asLedgerServer(server),
    primary: ground.connect === undefined ? linkTo(ground.primary) : { connect: ground.connect },
    slot: ground.slot ?? "fula_nobody",
    arbiter: ground.arbiter ?? SECOND,
    syncNeeded: 0,
    archive: ground.archive ?? null,
    newestBackup: async () => ground.backup ?? null,
  });
  const verdict = await probe.classify(never);
  const { decision } = verdict;
  const found = `${decision.rung} (${decision.proof.code})`;
  const expected = `${rung} (${proof})`;
  const why = found === expected ? "" : ` because ${decision.proof.reason}; ${JSON.stringify(decision.refused)}`;
  return { case: is, expected, found: `${found}${why}` };
}

/** Of a standby that streams: a primary writes a record of its own every now and then, and may do so during a look. */
async function judgeInStep(each: Case): Promise<Row> {
  return await until(`${each.is} is in step`, async () => {
    const row = await judge(each);
    return row.found === "catchup (gap_within_retention)" ? null : row;
  });
}

/** Fails with every wrong row at once. */
async function judgeAll(cases: readonly Case[]): Promise<readonly Row[]> {
  const rows: Row[] = [];
  for (const each of cases) rows.push(await judge(each));
  return rows;
}

function expectRight(rows: readonly Row[]): void {
  const wrong = rows.filter(({ expected, found }) => expected !== found);
  const text = wrong.map((row) => `${row.case}\n    expected ${row.expected}\n    found    ${row.found}`).join("\n");
  expect(wrong.length, `${wrong.length} of ${rows.length} rungs are wrong:\n${text}`).toBe(0);
}

const EARLY: readonly Case[] = [
  {
    is: "an old primary with one row of its own, before the new one's first checkpoint",
    of: () => state("old-1"),
    rung: "rewind",
    proof: "truncation_unsafe",
  },
  {
    is: "an old primary with 500 rows of its own, before the new one's first checkpoint",
    of: () => state("old-500"),
    rung: "rewind",
    proof: "truncation_unsafe",
  },
  {
    is: "a standby that received too much, before the new one's first checkpoint",
    of: () => state("received"),
    rung: "truncate_only",
    proof: "replica_ahead_needs_truncation",
  },
  {
    is: "a standby that is behind, before the new one's first checkpoint",
    of: () => state("far"),
    rung: "catchup",
    proof: "gap_within_retention",
  },
];

const CATCHUP = { rung: "catchup", proof: "gap_within_retention" } as const;
const REWIND = { rung: "rewind", proof: "truncation_unsafe" } as const;
const TRUNCATE = { rung: "truncate_only", proof: "replica_ahead_needs_truncation" } as const;
const BASE_FOR_CONTROL = { rung: "full_base", proof: "control_unreadable" } as const;
const INTERRUPTED = { rung: "full_base", proof: "interrupted" } as const;

const LEFT: readonly Case[] = [
  { is: "a standby that is far behind", of: () => state("far"), ...CATCHUP },
  { is: "a standby that is some rows behind", of: () => state("near"), ...CATCHUP },
  { is: "a standby that is some rows behind and was killed", of: () => state("near-crashed"), ...CATCHUP },
  { is: "a standby that stopped at the fork", of: () => state("at-fork"), ...CATCHUP },
  { is: "a standby that received too much and did not replay it", of: () => state("received"), ...TRUNCATE },
  { is: "a standby that received too much and was killed", of: () => state("received-crashed"), ...TRUNCATE },
  {
    is: "a standby that replayed too much in memory alone and was killed",
    of: () => state("replayed-crashed"),
    ...TRUNCATE,
  },
  { is: "a standby that replayed too much", of: () => state("replayed"), ...REWIND },
  { is: "a standby that replayed too much, wrote it and was killed", of: () => state("replayed-settled"), ...REWIND },
  { is: "an old primary that was killed with nothing of its own", of: () => state("old-0"), ...CATCHUP },
  { is: "an old primary that was killed with one row of its own", of: () => state("old-1"), ...REWIND },
  { is: "an old primary that was killed with 500 rows of its own", of: () => state("old-500"), ...REWIND },
  { is: "an old primary that was stopped in order after its own rows", of: () => state("old-stopped"), ...REWIND },
];

const BROKEN: readonly Case[] = [
  { is: "no directory", of: () => state("near"), change: "rm -r data", rung: "full_base", proof: "empty" },
  {
    is: "an empty directory",
    of: () => state("near"),
    change: "rm -r data; mkdir data",
    rung: "full_base",
    proof: "empty",
  },
  {
    is: "a control file without a byte",
    of: () => state("near"),
    change: ": >data/global/pg_control",
    isOverwritten: true,
    ...BASE_FOR_CONTROL,
  },
  {
    is: "a control file that was cut off",
    of: () => state("near"),
    change: "truncate -s 100 data/global/pg_control",
    isOverwritten: true,
    ...BASE_FOR_CONTROL,
  },
  {
    is: "a control file with a wrong byte",
    of: () => state("near"),
    change: "printf x | dd of=data/global/pg_control bs=1 seek=40 conv=notrunc status=none",
    isOverwritten: true,
    ...BASE_FOR_CONTROL,
  },
  { is: "no control file", of: () => state("near"), change: "rm data/global/pg_control", ...BASE_FOR_CONTROL },
  { is: "no WAL", of: () => state("near"), change: "rm -r data/pg_wal/*", ...BASE_FOR_CONTROL },
  {
    is: "a standby whose last record is torn",
    of: () => state("near"),
    change: () => tear(ends.near, 1, 200),
    isOverwritten: true,
    ...CATCHUP,
  },
  {
    is: "an old primary whose last record is torn",
    of: () => state("old-500"),
    change: () => tear(ends.old500, 1, 200),
    isOverwritten: true,
    ...REWIND,
  },
  {
    is: "a standby with old segments under the names of later ones",
    of: () => state("near"),
    change: () => recycle(ends.near),
    ...CATCHUP,
  },
  {
    is: "an old primary without the WAL of its last checkpoint",
    of: () => state("old-500"),
    change: () => `rm ${segmentBefore(history.forkLsn)}`,
    ...BASE_FOR_CONTROL,
  },
  { is: "an old primary that went on for segments", of: () => state("old-moved"), ...REWIND },
  {
    is: "an old primary without the checkpoint before the fork",
    of: () => state("old-moved"),
    change: () => `rm ${segmentBefore(history.forkLsn)}`,
    rung: "full_base",
    proof: "truncation_unsafe",
  },
  {
    is: "an old primary without the WAL at the fork",
    of: () => state("old-moved"),
    change: () => `rm data/pg_wal/${walFileName(1, history.forkLsn, SEGMENT_BYTES)}`,
    rung: "full_base",
    proof: "no_common_epoch",
  },
];

const MARKED: readonly Case[] = [
  {
    is: "a rewind that had only read",
    of: () => state("old-500"),
    change: () => marker("rewind", "scan"),
    ...REWIND,
  },
  {
    is: "a copy that had only been begun, beside a standby that is some rows behind",
    of: () => state("near"),
    change: () => marker("full_base", "scan"),
    ...CATCHUP,
  },
  {
    is: "a truncation that had only read",
    of: () => state("received"),
    change: () => marker("truncate", "scan"),
    ...TRUNCATE,
  },
  {
    is: "a rewind that had begun to write",
    of: () => state("old-500"),
    change: () => marker("rewind", "write"),
    ...INTERRUPTED,
  },
  {
    is: "a truncation that was cut off",
    of: () => state("received"),
    change: () => marker("truncate", "write"),
    ...INTERRUPTED,
  },
  {
    is: "a restore that was cut off",
    of: () => state("near"),
    change: () => marker("restore", "write"),
    ...INTERRUPTED,
  },
  {
    is: "a copy that was cut off",
    of: () => state("near"),
    change: () => marker("full_base", "write"),
    ...INTERRUPTED,
  },
  {
    is: "an exchange of directories that was cut off",
    of: () => state("near"),
    change: () => marker("full_base", "swap"),
    ...INTERRUPTED,
  },
  {
    is: "a marker that nobody can read",
    of: () => state("near"),
    change: "echo nonsense >recovery.inprogress",
    ...INTERRUPTED,
  },
  {
    is: "a marker beside no data",
    of: () => state("near"),
    change: () => `rm -r data; ${marker("full_base", "write")}`,
    ...INTERRUPTED,
  },
];

const CLAIMING: readonly Case[] = [
  {
    is: "a box that has seen a higher epoch than the control plane knows",
    of: () => state("near"),
    change: () => floor(9, EPOCHS.third),
    rung: "halt",
    proof: "epoch_above_arbiter",
  },
  {
    is: "no directory, at a box that has seen a higher epoch than the control plane knows",
    of: () => state("near"),
    change: () => `rm -r data; ${floor(9, EPOCHS.third)}`,
    rung: "halt",
    proof: "epoch_above_arbiter",
  },
  {
    is: "an old primary of a higher epoch than the control plane knows",
    of: () => state("old-500"),
    change: () => floor(3, EPOCHS.third),
    rung: "halt",
    proof: "epoch_above_arbiter",
  },
  {
    is: "a box that has seen the epoch of now",
    of: () => state("near"),
    change: () => floor(2, EPOCHS.second),
    ...CATCHUP,
  },
  {
    is: "a box that has seen the epoch before alone",
    of: () => state("old-500"),
    change: () => floor(1, EPOCHS.first),
    ...REWIND,
  },
  {
    is: "a box that was told of another epoch of the same number and did nothing under it",
    of: () => state("near"),
    change: () => floor(2, EPOCHS.beside),
    ...CATCHUP,
  },
  { is: "a copy of another box's data", of: () => state("far"), change: "true", ...CATCHUP },
];

/** Old segments under the names of later ones, as PostgreSQL leaves them after a checkpoint. */
function recycle(end: Lsn): string {
  const later = [1, 2, 3].map((n) => walFileName(1, end + BigInt(n * SEGMENT_BYTES), SEGMENT_BYTES));
  return later.map((name) => `cp data/pg_wal/${walFileName(1, end, SEGMENT_BYTES)} data/pg_wal/${name}`).join("; ");
}

function segmentBefore(lsn: Lsn): string {
  return `data/pg_wal/${walFileName(1, lsn - BigInt(SEGMENT_BYTES), SEGMENT_BYTES)}`;
}

const cleanUps: (() => void)[] = [];
let ends: { readonly near: Lsn; readonly old500: Lsn };

beforeAll(async () => {
  rig = await openPostgresRig();
  history = await makeHistory(rig, "h", {
    atSegmentStart: false,
    beforeCheckpoint: async (unsettled) => {
      history = unsettled;
      ends = { near: await endOf("near"), old500: await endOf("old-500") };
      early.push(...(await judgeAll(EARLY)));
    },
  });
}, 300_000);

afterAll(async () => {
  for (const cleanUp of cleanUps) cleanUp();
  await rig[Symbol.asyncDispose]();
});

/** Servers of which more than the common history is needed; made where a test first asks. */
interface Grounds {
  /** The primary has only its newest WAL left. */
  readonly recycled: RigServer;
  /** It was promoted once more. */
  readonly third: RigServer;
  readonly withoutHistory: RigServer;
  readonly careless: RigServer;
  readonly archives: Archives;
}

async function copyOfPrimary(name: string, script: string | null): Promise<RigServer> {
  const copy = await rig.copyOf(history.primary, name);
  if (script !== null) damage(rig, copy, script);
  copy.configure({ wal_keep_size: "256MB" });
  return copy;
}

/** Archives with the WAL of a server, as `backup create` and what receives WAL leave them. */
class Archives {
  readonly dir = mkdtempSync(join(tmpdir(), "fula-test-archive-"));
  readonly whole = join(this.dir, "whole");
  readonly holed = join(this.dir, "holed");
  readonly foreign = join(this.dir, "foreign");

  /** @param endLsn where the server's log ends: its last segment is only begun */
  add(from: RigServer, systemId: string, endLsn: Lsn): void {
    for (const archive of [this.whole, this.holed, this.foreign]) {
      const wal = join(archive, "wal");
      mkdirSync(wal, { recursive: true });
      for (const name of readdirSync(join(from.dataDir, "pg_wal"))) {
        const source = join(from.dataDir, "pg_wal", name);
        const segment = parseWalFileName(name, SEGMENT_BYTES);
        if (name.endsWith(".history")) cpSync(source, join(wal, name));
        if (segment === null || segment.startLsn >= endLsn) continue;
        const bytes = Number(endLsn - segment.startLsn);
        if (bytes < SEGMENT_BYTES) {
          writeFileSync(join(wal, `${name}.partial`), readFileSync(source).subarray(0, bytes));
        } else {
          cpSync(source, join(wal, name));
          writeFileSync(join(wal, `${name}.sha256`), "");
        }
      }
      const identity = { systemId: archive === this.foreign ? "7" : systemId, segmentBytes: SEGMENT_BYTES };
      writeFileSync(join(wal, "archive.json"), JSON.stringify(identity));
    }
    const second = walFileName(2, history.forkLsn + BigInt(SEGMENT_BYTES), SEGMENT_BYTES);
    rmSync(join(this.holed, "wal", second), { force: true });
  }
}

async function flushedBy(server: RigServer): Promise<Lsn> {
  const [row] = await server.sql<{ lsn: string }>("select pg_current_wal_flush_lsn()::text as lsn");
  return parseLsn(row?.lsn ?? "");
}

async function makeGrounds(): Promise<Grounds> {
  const { primary } = history;
  for (let segment = 0; segment < 3; segment += 1) {
    await writeRows(primary, 500);
    await endSegment(primary);
  }
  const [row] = await primary.sql<{ id: string }>("select system_identifier::text as id from pg_control_system()");
  const writtenLsn = await flushedBy(primary);
  await primary.stop();
  const systemId = row?.id ?? "";
  const archives = new Archives();
  cleanUps.push(() => {
    rmSync(archives.dir, { recursive: true, force: true });
  });
  archives.add(primary, systemId, writtenLsn);
  const recycled = await copyOfPrimary(
    "recycled",
    "cd data/pg_wal; ls | grep -E '^[0-9A-F]{24}$' | sort | head -n -1 | xargs rm -f",
  );
  const third = await copyOfPrimary("third", "touch data/standby.signal");
  const withoutHistory = await copyOfPrimary("without-history", "rm data/pg_wal/00000002.history");
  const careless = await copyOfPrimary("careless", null);
  careless.set({ full_page_writes: "off" });
  recycled.configure({ max_slot_wal_keep_size: "2MB" });
  await Promise.all([primary, recycled, third, withoutHistory, careless].map(async (each) => await each.start()));
  await promote(third, 3, EPOCHS.third);
  await recycled.sql("select pg_create_physical_replication_slot('fula_away', true)");
  for (let segment = 0; segment < 4; segment += 1) {
    await writeRows(recycled, 100);
    await endSegment(recycled);
  }
  // Archive and primary have the beginning of the last segment both: by that, the archive is proven.
  await writeRows(recycled, 1);
  archives.add(recycled, systemId, await flushedBy(recycled));
  await recycled.sql("checkpoint");
  return { recycled, third, withoutHistory, careless, archives };
}

/** A standby that stopped at the fork, promoted by itself: as PostgreSQL has it, the same timeline as the primary's. */
async function makeTwin(name: string, uuid: string | null): Promise<RigServer> {
  const twin = await rig.copyOf(state("at-fork"), name);
  makeStandby(rig, twin);
  await twin.start();
  await promote(twin, 2, uuid);
  await writeRows(twin, 20);
  return twin;
}

async function stopped(server: RigServer, how: "fast" | "immediate" = "fast"): Promise<RigServer> {
  await server.stop(how);
  return server;
}

function marker(kind: string, phase: string): string {
  const text = JSON.stringify({ session: "7", kind, phase, startedAt: "2026-11-20T03:00:00Z" });
  return `echo '${text}' >recovery.inprogress`;
}

function floor(number: number, uuid: string): string {
  return `echo '${JSON.stringify({ number: String(number), uuid })}' >epoch.json`;
}

/** Overwrites what lies behind the middle of the last segment that has anything in it. */
function tear(lsn: Lsn, timeline: number, back: number): string {
  const at = Number((lsn - BigInt(back)) % BigInt(SEGMENT_BYTES));
  const file = walFileName(timeline, lsn - BigInt(back), SEGMENT_BYTES);
  return `dd if=/dev/zero of=data/pg_wal/${file} bs=1 seek=${at} count=${back} conv=notrunc status=none`;
}

describe("the rung of a returned box", () => {
  test("is right before the new primary has made a checkpoint", () => {
    expect(early.length).toBe(EARLY.length);
    expectRight(early);
  });

  test("is right for standbys and old primaries in whichever state they were left", async () => {
    expectRight(await judgeAll(LEFT));
  });

  test("is a new copy, or nothing at all, where the data cannot be built on", async () => {
    const foreign = await stopped(await rig.primary("foreign", { checksums: false }));
    expectRight(
      await judgeAll([
        { is: "another ledger's data", of: () => foreign, rung: "full_base", proof: "foreign_system" },
        ...BROKEN,
        ...MARKED,
        ...CLAIMING,
      ]),
    );
  });

  test("is right for those who went their own way", async () => {
    const twin = await makeTwin("twin", EPOCHS.beside);
    const unnamed = await makeTwin("unnamed", null);
    const running = await makeTwin("running", EPOCHS.beside);
    const twinCrashed = await rig.copyOf(await stopped(twin, "immediate"), "twin-crashed");
    const again = await rig.copyOf(twinCrashed, "again");
    makeStandby(rig, again);
    await again.start();
    await promote(again, 3, EPOCHS.third);
    const later = (): Ground => ({ primary: history.primary, arbiter: { number: 5n, uuid: EPOCHS.third } });
    const sameTimeline = { rung: "full_base", proof: "same_tli_uuid_mismatch" } as const;
    expectRight(
      await judgeAll([
        { is: "a twin that was killed", of: () => twinCrashed, ...sameTimeline },
        { is: "a twin that runs and takes writes", of: () => running, ...sameTimeline },
        { is: "a twin that wrote no epoch", of: () => unnamed, ...sameTimeline },
        {
          is: "a twin that lost the history of its timeline",
          of: () => twinCrashed,
          change: "rm data/pg_wal/00000002.history",
          ...sameTimeline,
        },
        { is: "a twin that was promoted again", of: () => again, against: later, ...sameTimeline },
      ]),
    );
    await Promise.all([unnamed, running, again].map(async (each) => await stopped(each)));
    expectRight(
      await judgeAll([
        { is: "a twin that was promoted again and stopped", of: () => again, against: later, ...sameTimeline },
        { is: "a twin that was stopped in order", of: () => running, ...sameTimeline },
        { is: "a twin that wrote no epoch and was stopped", of: () => unnamed, ...sameTimeline },
      ]),
    );
  });

  test("is right for servers that run", async () => {
    const { primary } = history;
    const live = await rig.copyOf(state("at-fork"), "live");
    makeStandby(rig, live, { primary_conninfo: primary.conninfo("live") });
    await live.start();
    await rig.streaming(primary, "live");
    const phantom = await rig.copyOf(state("replayed"), "phantom");
    makeStandby(rig, phantom, { primary_conninfo: primary.conninfo("phantom") });
    await phantom.start();
    const running: readonly Case[] = [
      {
        is: "a standby that serves rows of nobody else",
        of: () => phantom,
        rung: "rewind",
        proof: "truncation_unsafe",
      },
      {
        is: "a standby that knows an epoch which the control plane has lost",
        of: () => live,
        against: () => ({ primary, arbiter: { number: 1n, uuid: EPOCHS.first } }),
        rung: "halt",
        proof: "epoch_above_arbiter",
      },
    ];
    const streams: Case = { is: "a standby that streams", of: () => live, rung: "zero_gap", proof: "zero_gap" };
    expectRight([await judgeInStep(streams), ...(await judgeAll(running))]);
    await cutOff(live);
    await writeRows(primary, 200);
    expectRight(
      await judgeAll([
        { is: "a standby that was cut off", of: () => live, rung: "catchup", proof: "gap_within_retention" },
      ]),
    );
    await live.stop();
    expectRight(
      await judgeAll([
        { is: "a standby of the new timeline", of: () => live, rung: "catchup", proof: "gap_within_retention" },
        {
          is: "a standby of the new timeline that lost its history",
          of: () => live,
          change: "rm data/pg_wal/00000002.history",
          rung: "catchup",
          proof: "gap_within_retention",
        },
      ]),
    );
  });

  test("is right where the primary does not have, or does not allow, what the cheaper one needs", async () => {
    const { recycled, third, withoutHistory, careless, archives } = await makeGrounds();
    const { primary } = history;
    await grantLittle(primary);
    const [lsn] = await recycled.sql<{ redo: string }>("select redo_lsn::text as redo from pg_control_checkpoint()");
    const recent = parseLsn(lsn?.redo ?? "");
    const onThird: Ground = { primary: third, arbiter: { number: 3n, uuid: EPOCHS.third } };
    const beyond = { rung: "full_base", proof: "gap_beyond_retention" } as const;
    const archive =
      (dir: string): (() => Ground) =>
      () => ({ primary: recycled, archive: new LocalArchive(dir) });
    const backup =
      (endLsn: Lsn, isTrusted: boolean): (() => Ground) =>
      () => ({ primary: recycled, backup: { endLsn, isTrusted } });
    expectRight(
      await judgeAll([
        {
          is: "behind what the primary has",
          of: () => state("near"),
          against: () => ({ primary: recycled }),
          ...beyond,
        },
        {
          is: "behind what the primary has, and within the archive",
          of: () => state("near"),
          against: archive(archives.whole),
          ...CATCHUP,
        },
        {
          is: "far behind, and within the archive",
          of: () => state("far"),
          against: archive(archives.whole),
          ...CATCHUP,
        },
        { is: "behind a hole of the archive", of: () => state("near"), against: archive(archives.holed), ...beyond },
        {
          is: "with the archive of another ledger",
          of: () => state("near"),
          against: archive(archives.foreign),
          ...beyond,
        },
        {
          is: "with a trusted backup",
          of: () => state("near"),
          against: backup(recent, true),
          rung: "snapshot_tail",
          proof: "gap_beyond_retention",
        },
        {
          is: "with a backup that nobody vouches for",
          of: () => state("near"),
          against: backup(recent, false),
          ...beyond,
        },
        {
          is: "with a trusted backup whose WAL is gone",
          of: () => state("near"),
          against: backup(history.forkLsn, true),
          ...beyond,
        },
        {
          is: "with a slot that was lost",
          of: () => state("near"),
          against: () => ({ primary: recycled, slot: "fula_away" }),
          rung: "full_base",
          proof: "slot_lost",
        },
        {
          is: "too much received, and what follows is gone",
          of: () => state("received"),
          against: () => ({ primary: recycled }),
          ...beyond,
        },
        {
          is: "rows of its own, and the WAL after the checkpoint before them is gone",
          of: () => state("old-500"),
          against: () => ({ primary: recycled }),
          rung: "full_base",
          proof: "truncation_unsafe",
        },
        { is: "behind two promotions", of: () => state("near"), against: () => onThird, ...CATCHUP },
        {
          is: "too much received before two promotions",
          of: () => state("received"),
          against: () => onThird,
          ...TRUNCATE,
        },
        { is: "rows of its own before two promotions", of: () => state("old-500"), against: () => onThird, ...REWIND },
        {
          is: "behind a primary without the history of its timeline",
          of: () => state("near"),
          against: () => ({ primary: withoutHistory }),
          rung: "full_base",
          proof: "no_common_epoch",
        },
        {
          is: "rows of its own, and a primary that writes no full pages",
          of: () => state("old-500"),
          against: () => ({ primary: careless }),
          rung: "full_base",
          proof: "truncation_unsafe",
        },
        {
          is: "rows of its own, and a role that may not read the primary's files",
          of: () => state("old-500"),
          against: () => ({ primary, connect: asLittle(primary) }),
          rung: "full_base",
          proof: "truncation_unsafe",
        },
      ]),
    );
  });

  test("is no rewind where nothing says which pages were changed", async () => {
    const old = await makeOrigin(rig, "plain", { checksums: false, settings: { wal_log_hints: "off" } });
    const heir = await rig.standby(old, "plainheir", { wal_log_hints: "off", wal_keep_size: "256MB" });
    await writeRows(old, 10);
    await rig.streaming(old, heir.name);
    await cutOff(heir);
    await writeRows(old, 10);
    await promote(heir, 2, EPOCHS.second);
    await old.stop("immediate");
    const hinting = await rig.copyOf(old, "hinting");
    hinting.configure({ wal_log_hints: "on" });
    await hinting.start();
    await hinting.stop();
    const against = (): Ground => ({ primary: heir });
    expectRight(
      await judgeAll([
        { is: "neither checksums nor hints", of: () => old, against, rung: "full_base", proof: "truncation_unsafe" },
        { is: "hints alone", of: () => hinting, against, ...REWIND },
      ]),
    );
  });

  test("is right where the fork is the beginning of a segment", async () => {
    const mid = history;
    history = await makeHistory(rig, "s", { atSegmentStart: true });
    try {
      expect(history.forkLsn % BigInt(SEGMENT_BYTES)).toBe(0n);
      expectRight(await judgeAll(LEFT));
    } finally {
      history = mid;
    }
  });
});

const LITTLE = "little";

/** A role that may list the primary's files and read them, and lacks one function that a rewind calls. */
async function grantLittle(primary: RigServer): Promise<void> {
  const statements = [
    `create role ${LITTLE} login replication`,
    `grant execute on function pg_ls_dir(text, boolean, boolean), pg_read_binary_file(text),
       pg_read_binary_file(text, bigint, bigint, boolean) to ${LITTLE}`,
    `grant select on ledger_epochs to ${LITTLE}`,
  ];
  for (const statement of statements) await primary.sql(statement, [], "ledger");
}

function asLittle(primary: RigServer): () => Promise<Session> {
  const connection = { ...primary.connection("ledger"), user: LITTLE, part: "test", node: "test" };
  return async () => await openSession({ ...connection, tls: "disable" }, systemClock);
}
