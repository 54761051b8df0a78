import { existsSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { systemClock } from "../../../src/lib/kernel/clock.ts";
import { openShelf } from "../../../src/lib/recovery/backup/shelf.ts";
import { type Lsn, parseLsn } from "../../../src/lib/recovery/lsn.ts";
import type { Epoch } from "../../../src/lib/recovery/epoch.ts";
import { lookInSync } from "../../../src/lib/recovery/postgres/in-sync.ts";
import { settleLeftovers } from "../../../src/lib/recovery/postgres/leftovers.ts";
import { PostgresReplica } from "../../../src/lib/recovery/postgres/replica-io.ts";
import type { DivergedTail, ReplicaWork } from "../../../src/lib/recovery/postgres/replica-work.ts";
import { asLedgerServer, failOver, ledgerPair, workAt, writeUnder } from "../../support/ledger-servers.ts";
import { backupBox } from "../../support/backup-box.ts";
import { openBusyboxRig, type PostgresRig, type RigServer } from "../../support/postgres-pair.ts";

const never = new AbortController().signal;
const noShelf = { unpack: async () => await Promise.reject(new Error("there is no backup")) };

async function flushed(server: RigServer): Promise<Lsn> {
  const [row] = await server.sql<{ lsn: string }>("select pg_current_wal_flush_lsn()::text as lsn");
  return parseLsn(row?.lsn ?? "");
}

async function catchUp(work: ReplicaWork, primary: RigServer): Promise<readonly Lsn[]> {
  const target = await flushed(primary);
  const reached: Lsn[] = [];
  for await (const lsn of new PostgresReplica(() => work, noShelf).streamWal(0n, target, never)) reached.push(lsn);
  expect(reached.at(-1)).toBe(target);
  expect(await lookInSync(work.server, work.following, target)).toEqual({ ok: true, lacks: [] });
  return reached;
}

/** A pair whose standby was promoted, while the old primary went on by itself with rows that nobody else has. */
async function diverged(
  rig: PostgresRig,
): Promise<{ primary: RigServer; old: RigServer; next: Epoch; tail: DivergedTail }> {
  // What the old primary commits by itself after the fork would be counted with what somebody wrote.
  const { primary: old, standby: primary } = await ledgerPair(rig, ["one", "two"], { autovacuum: "off" });
  await old.sql("insert into user_credits (user_id) values ('both')", [], "ledger");
  await rig.streaming(old, "two");
  const next = await failOver(primary, async () => {
    await old.sql("insert into user_credits (user_id) values ('old'), ('older')", [], "ledger");
  });
  const endLsn = await flushed(old);
  await writeUnder(primary, next, "insert into user_credits (user_id) values ('new')");
  await primary.sql("select pg_create_physical_replication_slot('fula_one', true)");
  const [row] = await primary.sql<{ lsn: string }>(
    "select switch_lsn::text as lsn from ledger_epochs where number = 2",
    [],
    "ledger",
  );
  const forkLsn = parseLsn(row?.lsn ?? "");
  return { primary, old, next, tail: { timeline: 1, forkLsn, endLsn } };
}

async function accounts(server: RigServer): Promise<readonly string[]> {
  const rows = await server.sql<{ user_id: string }>("select user_id from user_credits order by 1", [], "ledger");
  return rows.map(({ user_id: id }) => id);
}

test("a server that is behind catches up to the target, which it does not chase", async () => {
  await using rig = await openBusyboxRig();
  const { primary, standby, epoch } = await ledgerPair(rig);
  await standby.stop();
  await primary.sql("create table filling as select generate_series(1, 20000) as n", [], "ledger");
  const reached = await catchUp(workAt(standby, primary, epoch), primary);
  expect(reached).toEqual([...reached].toSorted((one, other) => (one < other ? -1 : 1)));
});

test("a standby that received more than the new primary gives that up and streams: nothing of it was in its data", async () => {
  await using rig = await openBusyboxRig();
  const { primary: old, standby: primary } = await ledgerPair(rig);
  const third = await rig.standby(old, "three");
  await third.sql("select pg_wal_replay_pause()");
  const next = await failOver(primary, async () => {
    await old.sql("insert into user_credits (user_id) values ('old')", [], "ledger");
    const lsn = await flushed(old);
    for (;;) {
      const [row] = await third.sql<{ there: boolean }>("select pg_last_wal_receive_lsn() >= $1 as there", [
        `${(lsn >> 32n).toString(16)}/${(lsn & 0xffffffffn).toString(16)}`,
      ]);
      if (row?.there === true) break;
    }
  });
  await old.stop("immediate");
  await third.stop("immediate");
  await writeUnder(primary, next, "insert into user_credits (user_id) values ('new')");
  await primary.sql("select pg_create_physical_replication_slot('fula_three', true)");
  const work = workAt(third, primary, next);
  const [row] = await primary.sql<{ lsn: string }>(
    "select switch_lsn::text as lsn from ledger_epochs where number = 2",
    [],
    "ledger",
  );
  await new PostgresReplica(() => work, noShelf).truncate(parseLsn(row?.lsn ?? ""), never);
  expect(readdirSync(join(third.rootDir, "quarantine", "42"))).not.toEqual([]);
  await catchUp(work, primary);
  expect(await accounts(third)).toEqual(["new"]);
});

test("a former primary is rewound after what it alone had was kept, and has its own settings still", async () => {
  await using rig = await openBusyboxRig();
  const { primary, old, next, tail } = await diverged(rig);
  await old.stop("immediate");
  rig.write(join(old.dataDir, "postgresql.conf"), "work_mem = '7MB'\n");
  const said: string[] = [];
  const work = workAt(old, primary, next, { tail, said });
  await new PostgresReplica(() => work, noShelf).rewind(0n, never);
  await catchUp(work, primary);
  expect(await accounts(old)).toEqual(["both", "new"]);
  expect(await old.sql("show work_mem")).toEqual([{ work_mem: "7MB" }]);

  const kept = join(old.rootDir, "salvage", "2", "42");
  expect(JSON.parse(readFileSync(join(kept, "manifest.json"), "utf8"))).toMatchObject({
    transactions: 1,
    rows: 2,
    failure: null,
  });
  const rows = readFileSync(join(kept, "rows", "user_credits.jsonl"), "utf8")
    .trim()
    .split("\n");
  expect(rows.map((line) => JSON.parse(line).row.user_id)).toEqual(["old", "older"]);
  expect(readdirSync(old.rootDir).toSorted()).not.toContain("recovery.inprogress");
  expect(existsSync(join(old.rootDir, "conf.kept"))).toBe(false);
});

test("a copy is made beside the old data, checked, and takes their place", async () => {
  await using rig = await openBusyboxRig();
  const { primary, old, next, tail } = await diverged(rig);
  await old.stop("immediate");
  const work = workAt(old, primary, next, { tail });
  const replica = new PostgresReplica(() => work, noShelf);
  const achieved = await replica.transferFullBase(0n, never);
  expect(achieved).toBeGreaterThan(tail.forkLsn);
  await catchUp(work, primary);
  expect(await accounts(old)).toEqual(["both", "new"]);
  expect(existsSync(join(old.rootDir, "data.old.42"))).toBe(true);
  expect(existsSync(join(old.rootDir, "data.new.42"))).toBe(false);
});

test("a signed backup takes the place of the old data, checked again, and what came after it is streamed; that of a twin does not", async () => {
  await using rig = await openBusyboxRig();
  const { primary, standby, epoch } = await ledgerPair(rig);
  const box = backupBox();
  await primary.sql("select pg_create_physical_replication_slot('fula_floor', true)");
  const { endLsn } = await box.take(primary);
  await standby.stop();
  await primary.stop();
  const twin = await rig.copyOf(primary, "twin");
  await primary.start();
  await twin.start();
  await twin.sql("insert into user_credits (user_id) values ('the twin''s')", [], "ledger");
  const { endLsn: twinLsn } = await box.take(twin);
  for (let segment = 0; segment < 3; segment += 1) {
    await primary.sql("insert into user_credits (user_id) values ($1)", [`own-${segment}`], "ledger");
    await primary.sql("select pg_switch_wal()");
  }
  await primary.sql("insert into user_credits (user_id) values ('after the backup')", [], "ledger");
  const work = workAt(standby, primary, epoch);
  const replica = new PostgresReplica(() => work, openShelf(box.backupDir, box.signer, systemClock));
  await expect(replica.transferSnapshot(endLsn + 1n, never)).rejects.toMatchObject({ code: "FULA_BASE_BACKUP_ABSENT" });
  const ofTwin = expect.objectContaining({ message: expect.stringContaining("is of another history") });
  await expect(replica.transferSnapshot(twinLsn, never)).rejects.toEqual(ofTwin);
  expect(readdirSync(standby.rootDir).filter((name) => name.startsWith("data."))).toEqual([]);
  expect(await replica.transferSnapshot(endLsn, never)).toBeGreaterThanOrEqual(endLsn);
  expect(existsSync(join(standby.rootDir, "data.old.42"))).toBe(true);
  await catchUp(work, primary);
  expect(await accounts(standby)).toEqual(["after the backup", "own-0", "own-1", "own-2"]);
});

test("a rewind that is ended while it writes leaves its marker, and nothing starts there; a copy brings the server back", async () => {
  await using rig = await openBusyboxRig();
  const { primary, old, next, tail } = await diverged(rig);
  await old.stop("immediate");
  const stop = new AbortController();
  const work: ReplicaWork = {
    ...workAt(old, primary, next, { tail }),
    onProgress: (line) => {
      if (line.includes("need to copy")) stop.abort(new Error("killed"));
    },
  };
  await expect(new PostgresReplica(() => work, noShelf).rewind(0n, stop.signal)).rejects.toThrow("killed");
  await expect(old.site.start()).rejects.toMatchObject({ code: "FULA_RECOVERY_MARKER" });
  await using files = await old.site.open(never);
  expect(await settleLeftovers(files, asLedgerServer(old))).toMatchObject({ kind: "rewind", phase: "write" });
  const again = workAt(old, primary, next, { tail, session: 43n });
  const replica = new PostgresReplica(() => again, noShelf);
  await replica.transferFullBase(0n, never);
  expect(existsSync(join(old.rootDir, "data.old.43.keep"))).toBe(true);
  await catchUp(again, primary);
});
