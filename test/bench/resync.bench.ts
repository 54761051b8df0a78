import { rmSync } from "node:fs";
import { join } from "node:path";
import { systemClock } from "../../src/lib/kernel/clock.ts";
import { silentLog } from "../../src/lib/kernel/log.ts";
import { RecoveryEngine } from "../../src/lib/recovery/engine.ts";
import type { Epoch } from "../../src/lib/recovery/epoch.ts";
import { parseLsn } from "../../src/lib/recovery/lsn.ts";
import { followPrimary } from "../../src/lib/recovery/postgres/follow.ts";
import { lookInSync } from "../../src/lib/recovery/postgres/in-sync.ts";
import { PostgresProbe } from "../../src/lib/recovery/postgres/replica-probe.ts";
import { PostgresReplica } from "../../src/lib/recovery/postgres/replica-io.ts";
import type { DivergedTail } from "../../src/lib/recovery/postgres/replica-work.ts";
import { ensureSlot } from "../../src/lib/recovery/postgres/slots.ts";
import { PostgresStorage } from "../../src/lib/recovery/postgres/storage-adapter.ts";
import { RecoveryLog } from "../../src/lib/recovery/recovery-log.ts";
import { recoverReplica } from "../../src/lib/recovery/recover.ts";
import type { Rung } from "../../src/lib/recovery/types.ts";
import { failOver, ledgerPair, linkTo, patiently, workAt, writeUnder } from "../support/ledger-servers.ts";
import { openPostgresRig, type PostgresRig, type RigServer } from "../support/postgres-pair.ts";
import { until } from "../support/until.ts";
import { measureInTurns, printAgainstFirst } from "./measure.ts";

const ROUNDS = Number(process.env["BENCH_ROUNDS"] ?? 5);
/** A row of it is about 1 kB. */
const ROWS = Number(process.env["BENCH_ROWS"] ?? 560_000);
const DIVERGED_ROWS = ROWS / 7;
const never = new AbortController().signal;
const noShelf = { unpack: async () => await Promise.reject(new Error("there is no backup")) };
const BUDGET = { maxDurationMs: 0, maxEntries: 0n, progressDeadlineMs: 120_000 };

/** Servers that were away, stopped, and the primary to which each comes back. */
interface Scene {
  readonly rig: PostgresRig;
  readonly primary: RigServer;
  readonly epoch: Epoch;
  readonly behind: RigServer;
  readonly ahead: RigServer;
  readonly former: RigServer;
  readonly tail: DivergedTail;
}

function fill(table: string, rows: number): string {
  return `insert into ${table} select n, repeat(md5(n::text), 30) from generate_series(1, ${rows}) as n`;
}

async function position(server: RigServer, text: string): Promise<bigint> {
  const [row] = await server.sql<{ lsn: string }>(text, [], "ledger");
  return parseLsn(row?.lsn ?? "");
}

async function makeScene(rig: PostgresRig): Promise<Scene> {
  const { primary: former, standby: primary } = await ledgerPair(rig);
  await former.sql("create table bulk (n int, body text)", [], "ledger");
  await former.sql(fill("bulk", ROWS), [], "ledger");
  await former.sql("checkpoint");
  const behind = await rig.standby(former, "behind");
  await behind.stop();
  const ahead = await rig.standby(former, "ahead");
  await rig.streaming(former, primary.name);
  await ahead.sql("select pg_wal_replay_pause()");
  const epoch = await failOver(primary, async () => {
    await former.sql(fill("bulk", DIVERGED_ROWS), [], "ledger");
    const written = await position(former, "select pg_current_wal_flush_lsn()::text as lsn");
    await until("the standby has received it", async () => {
      const received = await position(ahead, "select pg_last_wal_receive_lsn()::text as lsn");
      return received >= written;
    });
  });
  const endLsn = await position(former, "select pg_current_wal_flush_lsn()::text as lsn");
  await Promise.all([former.stop("immediate"), ahead.stop("immediate")]);
  await writeUnder(primary, epoch, fill("bulk", DIVERGED_ROWS / 10));
  await primary.sql("checkpoint");
  const forkLsn = await position(primary, "select switch_lsn::text as lsn from ledger_epochs where number = 2");
  const tail = { timeline: 1, forkLsn, endLsn };
  return { rig, primary, epoch, behind, ahead, former, tail };
}

let session = 0;

/** From the first look to "in sync" by both sides' word, as `fula-master resync` does it. */
async function comeBack(
  { rig, primary, epoch }: Scene,
  from: RigServer | null,
  tail: DivergedTail | null,
): Promise<Rung> {
  session += 1;
  const name = `away${session}`;
  const server = from === null ? await rig.empty(name) : await rig.copyOf(from, name);
  const startedMs = performance.now();
  const work = workAt(server, primary, epoch, { tail, session: BigInt(session) });
  const sides = {
    primary: linkTo(primary),
    slot: `fula_${name}`,
    syncNeeded: 0,
    archive: null,
    newestBackup: async () => await Promise.resolve(null),
  };
  {
    await using asked = await work.following.primary.connect();
    await ensureSlot(asked, sides.slot);
  }
  const engine = new RecoveryEngine(systemClock, new RecoveryLog(systemClock, silentLog));
  const endpoint = { dataAddr: "here:1", ctrlAddr: "here:1", version: 1 };
  await engine.assign({ epoch, replicas: [{ replicaId: name, endpoint }], recoveryTargets: new Map() }, new Map());
  const { outcome, because, rungs } = await recoverReplica(engine, name, {
    probe: new PostgresProbe({ ...sides, server: work.server, arbiter: epoch }),
    storage: new PostgresStorage({ ...sides, pinBackup: async () => await Promise.reject(new Error("there is none")) }),
    io: new PostgresReplica(() => work, noShelf),
    budget: BUDGET,
    sessions: { newSessionIds: async () => await Promise.resolve([BigInt((session += 1))]) },
  });
  if (outcome !== "in_sync") throw new Error(because);
  const target = await position(primary, "select pg_current_wal_flush_lsn()::text as lsn");
  await followPrimary(work.server, work.following, patiently());
  await until("both say so", async () => (await lookInSync(work.server, work.following, target)).ok);
  tookMs.push(performance.now() - startedMs);
  await discard(primary, server, sides.slot);
  return rungs[0] ?? "zero_gap";
}

/** Of the last round alone: the copying of its data directory is not to be measured. */
const tookMs: number[] = [];

async function discard(primary: RigServer, server: RigServer, slot: string): Promise<void> {
  await server.stop("immediate");
  rmSync(server.rootDir, { recursive: true, force: true });
  await until("nobody uses the slot", async () => {
    const rows = await primary.sql("select 1 from pg_replication_slots where slot_name = $1 and active", [slot]);
    return rows.length === 0;
  });
  await primary.sql("select pg_drop_replication_slot($1)", [slot]);
}

/** What the tools alone take, without a proof, a look at the result, or anything kept. */
async function bareCopy({ rig, primary }: Scene): Promise<void> {
  session += 1;
  const server = await rig.empty(`bare${session}`);
  await using files = await server.site.open(never);
  const startedMs = performance.now();
  const args = ["-D", server.dataDir, "-d", primary.conninfo("bare"), "-X", "stream", "-c", "fast"];
  const { exitCode, stderr } = await files.run("pg_basebackup", { args });
  if (exitCode !== 0) throw new Error(stderr);
  tookMs.push(performance.now() - startedMs);
  rmSync(server.rootDir, { recursive: true, force: true });
}

async function bareRewind({ rig, primary, former }: Scene): Promise<void> {
  session += 1;
  const server = await rig.copyOf(former, `bare${session}`);
  await using files = await server.site.open(never);
  const startedMs = performance.now();
  const config = `--config-file=${join(server.rootDir, "server.conf")}`;
  const args = ["-D", server.dataDir, `--source-server=${primary.conninfo("bare")}`, config];
  const { exitCode, stderr } = await files.run("pg_rewind", { args });
  if (exitCode !== 0) throw new Error(stderr);
  tookMs.push(performance.now() - startedMs);
  rmSync(server.rootDir, { recursive: true, force: true });
}

async function expectRung(expected: Rung, work: Promise<Rung>): Promise<void> {
  const rung = await work;
  if (rung !== expected) throw new Error(`${rung} instead of ${expected}`);
}

/** Bringing a server of 600 MB back by each way, with proof and verification, against the bare tools in the same run. */
export async function bench(): Promise<void> {
  await using rig = await openPostgresRig();
  const scene = await makeScene(rig);
  const [size] = await scene.primary.sql<{ mb: number }>(
    "select (sum(pg_database_size(oid)) / 1e6)::int as mb from pg_database",
  );
  console.log(
    `${size?.mb ?? 0} MB, of which a former primary has ${Math.round(DIVERGED_ROWS / 1000)} MB alone; ${ROUNDS} rounds`,
  );
  const ways = [
    { name: "pg_basebackup alone", run: async () => await bareCopy(scene) },
    { name: "full base", run: async () => await expectRung("full_base", comeBack(scene, null, null)) },
    { name: "pg_rewind alone", run: async () => await bareRewind(scene) },
    { name: "rewind", run: async () => await expectRung("rewind", comeBack(scene, scene.former, scene.tail)) },
    { name: "catch-up", run: async () => await expectRung("catchup", comeBack(scene, scene.behind, null)) },
    { name: "truncation", run: async () => await expectRung("truncate_only", comeBack(scene, scene.ahead, null)) },
  ];
  const timesMs = new Map(ways.map(({ name }) => [name, [] as number[]]));
  await measureInTurns(
    ways.map(({ name, run }) => ({
      name,
      run: async () => {
        tookMs.length = 0;
        await run();
        timesMs.get(name)?.push(...tookMs);
      },
    })),
    ROUNDS,
  );
  printAgainstFirst(
    [...timesMs].map(([name, times]) => {
      // The first round is not counted.
      const counted = times.slice(1).toSorted((a, b) => a - b);
      return { name, medianMs: counted[Math.floor(counted.length / 2)] ?? Number.NaN, minMs: counted[0] ?? Number.NaN };
    }),
  );
}
