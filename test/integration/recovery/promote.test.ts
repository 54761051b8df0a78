import { readFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { formatLsn } from "../../../src/lib/recovery/lsn.ts";
import { detachStandby } from "../../../src/lib/recovery/postgres/detach.ts";
import { followPrimary } from "../../../src/lib/recovery/postgres/follow.ts";
import { writeMarker } from "../../../src/lib/recovery/postgres/marker.ts";
import { readNodeConf } from "../../../src/lib/recovery/postgres/node-conf.ts";
import { promoteStandby, settlePromotion } from "../../../src/lib/recovery/postgres/promote.ts";
import { asLedgerServer, ledgerPair, linkTo, newEpoch, patiently } from "../../support/ledger-servers.ts";
import { openPostgresRig } from "../../support/postgres-pair.ts";

const RESTART = { reason: "a test", settings: {} };

test("a detached standby is promoted with the epoch as its first row, and the old primary, stopped in order, follows it", async () => {
  await using rig = await openPostgresRig();
  const { primary, standby, epoch } = await ledgerPair(rig);
  const [old, chosen] = [asLedgerServer(primary), asLedgerServer(standby)];
  await primary.sql("create table money (n int)", [], "ledger");
  await primary.stop();
  const next = newEpoch(2n);
  const detached = await detachStandby(chosen, next, patiently());
  expect(detached).toMatchObject({ lineage: epoch, timeline: 1 });
  await expect(standby.sql("insert into money values (1)", [], "ledger")).rejects.toThrow(/read-only/);

  const promotion = { ...RESTART, epoch: next };
  const promoted = await promoteStandby(chosen, promotion, patiently());
  expect(promoted).toEqual({ timeline: 2, switchLsn: formatLsn(detached.receivedLsn) });
  await settlePromotion(chosen);
  expect(await promoteStandby(chosen, promotion, patiently())).toEqual(promoted);
  const rows = await standby.sql("select number::int, uuid, switch_lsn, primary_node from ledger_epochs", [], "ledger");
  expect(rows.at(-1)).toEqual({ number: 2, uuid: next.uuid, switch_lsn: promoted.switchLsn, primary_node: "two" });
  await standby.sql("insert into money values (1)", [], "ledger");

  await standby.sql("select pg_create_physical_replication_slot('fula_one', true)");
  const seen = await followPrimary(
    old,
    { primary: linkTo(standby), epoch: next, slot: "fula_one", settings: {} },
    patiently(),
  );
  expect(seen).toBeGreaterThan(0n);
  await rig.streaming(standby, "one");
  expect(await primary.sql("select n from money", [], "ledger")).toEqual([{ n: 1 }]);
});

test("a standby that was detached stays so when it is started again, and goes back behind no epoch", async () => {
  await using rig = await openPostgresRig();
  const { primary, standby, epoch } = await ledgerPair(rig);
  const chosen = asLedgerServer(standby);
  const next = newEpoch(2n);
  await detachStandby(chosen, next, patiently());
  await primary.sql("create table late (n int)", [], "ledger");
  await standby.stop();
  const again = await detachStandby(chosen, next, patiently());
  expect(again.lineage).toMatchObject(epoch);
  expect(await standby.sql("select to_regclass('late') as late", [], "ledger")).toEqual([{ late: null }]);
  expect(JSON.parse(readFileSync(join(standby.rootDir, "epoch.json"), "utf8"))).toEqual({
    number: "2",
    uuid: next.uuid,
  });
  const following = { primary: linkTo(primary), epoch, slot: "fula_two", settings: {} };
  await expect(followPrimary(chosen, following, patiently())).rejects.toMatchObject({
    code: "FULA_RECOVERY_EPOCH_FLOOR",
  });
  await expect(promoteStandby(chosen, { ...RESTART, epoch: newEpoch(2n) }, patiently())).rejects.toMatchObject({
    code: "FULA_RECOVERY_EPOCH_FLOOR",
  });
});

test("nothing is promoted, detached or followed while another session rewrites the data", async () => {
  await using rig = await openPostgresRig();
  const { primary, standby, epoch } = await ledgerPair(rig);
  const chosen = asLedgerServer(standby);
  {
    await using files = await standby.site.open(new AbortController().signal);
    const marker = { session: "7", kind: "rewind", phase: "write", startedAt: "2026-11-20T03:00:00Z" } as const;
    await writeMarker(files, standby.site, marker);
  }
  const marked = { code: "FULA_RECOVERY_MARKER" };
  await expect(promoteStandby(chosen, { ...RESTART, epoch }, patiently())).rejects.toMatchObject(marked);
  await expect(detachStandby(chosen, epoch, patiently())).rejects.toMatchObject(marked);
  const following = { primary: linkTo(primary), epoch, slot: "fula_two", settings: {} };
  await expect(followPrimary(chosen, following, patiently())).rejects.toMatchObject(marked);
});

test("a server takes what it is to do from node.conf, whatever stands in its values", async () => {
  await using rig = await openPostgresRig();
  const { primary, standby, epoch } = await ledgerPair(rig);
  const settings = { log_line_prefix: `it's "%p" \\ # ' `, cluster_name: null };
  await followPrimary(
    asLedgerServer(standby),
    { primary: linkTo(primary), epoch, slot: "fula_two", settings },
    patiently(),
  );
  expect(await standby.sql("show log_line_prefix")).toEqual([{ log_line_prefix: settings.log_line_prefix }]);
  await using files = await standby.site.open(new AbortController().signal);
  expect(await readNodeConf(files, standby.site)).toMatchObject({
    log_line_prefix: settings.log_line_prefix,
    recovery_target_timeline: "latest",
  });
});
