import { readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { systemClock } from "../../../src/lib/kernel/clock.ts";
import { silentLog } from "../../../src/lib/kernel/log.ts";
import { LocalArchive } from "../../../src/lib/recovery/backup/archive-reach.ts";
import { openShelf } from "../../../src/lib/recovery/backup/shelf.ts";
import { archiveDir } from "../../../src/lib/recovery/backup/wal-archive.ts";
import { RecoveryEngine } from "../../../src/lib/recovery/engine.ts";
import type { Epoch } from "../../../src/lib/recovery/epoch.ts";
import { parseLsn } from "../../../src/lib/recovery/lsn.ts";
import type { Verdict } from "../../../src/lib/recovery/postgres/classify.ts";
import { followPrimary } from "../../../src/lib/recovery/postgres/follow.ts";
import { lookInSync } from "../../../src/lib/recovery/postgres/in-sync.ts";
import { PostgresReplica } from "../../../src/lib/recovery/postgres/replica-io.ts";
import { PostgresProbe } from "../../../src/lib/recovery/postgres/replica-probe.ts";
import type { KnownBackup } from "../../../src/lib/recovery/postgres/retained.ts";
import { ensureFloor, ensureSlot, listSlotPins } from "../../../src/lib/recovery/postgres/slots.ts";
import { PostgresStorage } from "../../../src/lib/recovery/postgres/storage-adapter.ts";
import { RecoveryLog } from "../../../src/lib/recovery/recovery-log.ts";
import { type Recovery, recoverReplica } from "../../../src/lib/recovery/recover.ts";
import { archived, archiverOf, type BackupBox, backupBox } from "../../support/backup-box.ts";
import { ledgerPair, linkTo, patiently, workAt } from "../../support/ledger-servers.ts";
import { openPostgresRig, type RigServer } from "../../support/postgres-pair.ts";
import { until } from "../../support/until.ts";

const never = new AbortController().signal;

interface Away {
  readonly primary: RigServer;
  readonly standby: RigServer;
  readonly epoch: Epoch;
  readonly box: BackupBox;
  readonly backup: KnownBackup;
}

let session = 100;

/** Goes on at the primary until it has removed what the standby would need next; the archive has it. */
async function moveOn({ primary, standby, box }: Omit<Away, "backup">): Promise<void> {
  await until("nobody uses the slot", async () => {
    const rows = await primary.sql("select from pg_replication_slots where slot_name = 'fula_two' and active");
    return rows.length === 0;
  });
  await primary.sql("select pg_drop_replication_slot('fula_two')");
  for (let segment = 0; segment < 4; segment += 1) {
    await primary.sql(
      "insert into user_credits (user_id) values ($1)",
      [`${standby.name}${session}-${segment}`],
      "ledger",
    );
    await primary.sql("select pg_switch_wal()");
  }
  await archived(box, primary);
  {
    await using link = await linkTo(primary).connect();
    await ensureFloor(link, 0n);
  }
  await until("the primary has removed it", async () => {
    await primary.sql("checkpoint");
    const [row] = await primary.sql<{ count: string }>(
      "select count(*) from pg_ls_waldir() where name <= pg_walfile_name(pg_current_wal_lsn())",
    );
    return Number(row?.count) < 4;
  });
  await primary.sql("insert into user_credits (user_id) values ($1)", [`${session}-last`], "ledger");
  await archived(box, primary);
}

/** Brings the standby back as a resync does. @returns what was proven first, and each recovery that it took */
async function comeBack(
  { primary, standby, epoch, box, backup }: Away,
  archive: LocalArchive,
): Promise<{ readonly verdict: Verdict; readonly ends: readonly Recovery[] }> {
  const sides = {
    primary: linkTo(primary),
    slot: "fula_two",
    syncNeeded: 0,
    archive,
    newestBackup: async () => await Promise.resolve(backup),
  };
  {
    await using asked = await sides.primary.connect();
    await ensureSlot(asked, sides.slot);
  }
  const shelf = openShelf(box.backupDir, box.signer, systemClock);
  const probe = new PostgresProbe({ ...sides, server: workAt(standby, primary, epoch).server, arbiter: epoch });
  const verdict = await probe.classify(never);
  const ends: Recovery[] = [];
  do {
    const engine = new RecoveryEngine(systemClock, new RecoveryLog(systemClock, silentLog));
    const endpoint = { dataAddr: "here:1", ctrlAddr: "here:1", version: 1 };
    const replicas = [{ replicaId: "two", endpoint }];
    await engine.assign({ epoch, replicas, recoveryTargets: new Map() }, new Map());
    ends.push(
      await recoverReplica(engine, "two", {
        probe,
        storage: new PostgresStorage({ ...sides, pinBackup: async (lsn, id) => await shelf.pin(lsn, id) }),
        io: new PostgresReplica(() => workAt(standby, primary, epoch, { session: BigInt(session), archive }), shelf),
        budget: { maxDurationMs: 0, maxEntries: 0n, progressDeadlineMs: 120_000 },
        sessions: { newSessionIds: async () => await Promise.resolve([BigInt((session += 1))]) },
      }),
    );
  } while (archive.giveUp());
  expect(ends.at(-1)).toMatchObject({ outcome: "in_sync" });
  const [row] = await primary.sql<{ lsn: string }>("select pg_current_wal_flush_lsn()::text as lsn");
  const target = parseLsn(row?.lsn ?? "");
  const work = workAt(standby, primary, epoch);
  await followPrimary(work.server, work.following, patiently());
  await until("both say so", async () => (await lookInSync(work.server, work.following, target)).ok);
  const accounts = "select user_id from user_credits order by 1";
  expect(await standby.sql(accounts, [], "ledger")).toEqual(await primary.sql(accounts, [], "ledger"));
  expect(await listSlotPins(async () => await sides.primary.connect())).toEqual([]);
  const left = readdirSync(standby.rootDir).filter((name) => /^(?:wal|data)\.new\.|^recovery\.inprogress$/.test(name));
  expect(left).toEqual([]);
  return { verdict, ends };
}

/** Changes a byte of a segment that is whole: its digest tells. */
function damage(dir: string): void {
  const [name = ""] = readdirSync(dir)
    .filter((file) => /^[0-9A-F]{24}$/.test(file))
    .toSorted()
    .slice(-2);
  const content = readFileSync(join(dir, name));
  content.writeUInt8(content.readUInt8(100) ^ 1, 100);
  writeFileSync(join(dir, name), content);
}

test("log that the primary has removed comes from the archive, for streaming and after a backup; a damaged one is gone on without", async () => {
  await using rig = await openPostgresRig();
  const pair = await ledgerPair(rig);
  const { primary, standby } = pair;
  const box = backupBox();
  await using _ = archiverOf(box, primary);
  const { endLsn } = await box.take(primary);
  await rig.streaming(primary, "two");
  const away: Away = { ...pair, box, backup: { endLsn, isTrusted: true } };

  await standby.stop();
  await moveOn(away);
  const caughtUp = await comeBack(away, new LocalArchive(box.backupDir));
  expect(caughtUp.verdict.decision.rung).toBe("catchup");
  expect(caughtUp.verdict.log).toMatchObject({ source: "mixed" });
  expect(caughtUp.verdict.log.segmentsFound).toBe(caughtUp.verdict.log.segmentsNeeded);
  expect(caughtUp.ends).toMatchObject([{ outcome: "in_sync", rungs: ["catchup"] }]);

  await standby.stop();
  rmSync(standby.dataDir, { recursive: true });
  const restored = await comeBack(away, new LocalArchive(box.backupDir));
  expect(restored.verdict.log).toMatchObject({ source: "mixed" });
  expect(restored.ends).toMatchObject([{ outcome: "in_sync", rungs: ["snapshot_tail"] }]);

  await standby.stop();
  await moveOn(away);
  damage(archiveDir(box.backupDir));
  const copied = await comeBack(away, new LocalArchive(box.backupDir));
  expect(copied.ends.map(({ outcome, rungs }) => [outcome, rungs[0]])).toEqual([
    ["stopped", "catchup"],
    ["in_sync", "full_base"],
  ]);
  expect(copied.ends[0]?.because).toMatch(/other contents than were archived/);
}, 300_000);
