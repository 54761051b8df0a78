import { expect, test } from "vitest";
import { systemClock } from "../../../src/lib/kernel/clock.ts";
import { isFulaError } from "../../../src/lib/kernel/errors.ts";
import { openSession } from "../../../src/lib/postgres/session.ts";
import { collectDeadPins } from "../../../src/lib/recovery/dead-pins.ts";
import { parseLsn } from "../../../src/lib/recovery/lsn.ts";
import { readSlot, readSlots } from "../../../src/lib/recovery/postgres/slot-look.ts";
import {
  ensureFloor,
  ensureSlot,
  FLOOR_SLOT,
  listSlotPins,
  pinBaseBySlot,
  pinWalBySlot,
} from "../../../src/lib/recovery/postgres/slots.ts";
import { openPostgresRig, type RigServer } from "../../support/postgres-pair.ts";
import { endSegment, makeOrigin, writeRows } from "../../support/recovery-states.ts";
import { linkTo } from "../../support/ledger-servers.ts";

const MB = 1024n * 1024n;

async function head(server: RigServer): Promise<bigint> {
  const [row] = await server.sql<{ lsn: string }>("select pg_current_wal_flush_lsn()::text as lsn");
  return parseLsn(row?.lsn ?? "");
}

async function writeSegments(server: RigServer, count: number): Promise<void> {
  for (let segment = 0; segment < count; segment += 1) {
    await writeRows(server, 100);
    await endSegment(server);
  }
}

test("WAL of the past is pinned by a clone of the floor, found by its name, and let go", async () => {
  await using rig = await openPostgresRig();
  const primary = await makeOrigin(rig, "one", {});
  // A standby's role may replicate, and nothing else.
  await primary.sql("create role replicator login replication");
  const connection = { ...primary.connection("ledger"), user: "replicator", part: "test", node: "two" };
  const link = async () => await openSession({ ...connection, tls: "disable" }, systemClock);
  await using session = await linkTo(primary).connect();

  await ensureFloor(session, 64n * MB);
  const start = await head(primary);
  await writeSegments(primary, 4);
  await primary.sql("checkpoint");
  {
    await using pin = await pinWalBySlot(link, { startLsn: start }, 7n);
    expect(pin.name).toBe("fm_pin_7_wal");
    const clone = await readSlot(session, pin.name);
    expect(clone?.walStatus).toBe("reserved");
    expect((clone?.restartLsn ?? start + 1n) <= start).toBe(true);
    // The floor goes on, and the pin stays where it is.
    const floor = await ensureFloor(session, 0n);
    expect(floor).toBeGreaterThan(start);
    await writeSegments(primary, 2);
    await primary.sql("checkpoint");
    expect(await readSlot(session, pin.name)).toEqual(clone);
  }
  expect(await readSlot(session, "fm_pin_7_wal")).toBeNull();

  // No slot reaches back any more: a new one would keep nothing of it.
  const late = await pinWalBySlot(link, { startLsn: start }, 8n).catch((error: unknown) => error);
  expect(isFulaError(late, "FULA_RECOVERY_PIN")).toBe(true);
  expect((await readSlots(session)).map(({ name }) => name)).toEqual([FLOOR_SLOT]);

  // Of two sessions that left their pins behind, one is dead.
  await pinBaseBySlot(link, 9n);
  await pinWalBySlot(link, { startLsn: await head(primary) }, 10n);
  const dead = await collectDeadPins(
    async () => await listSlotPins(link),
    async () => new Set([10n]),
  );
  expect(dead).toEqual({ collected: ["fm_pin_9_base"], failed: [] });
  expect((await readSlots(session)).map(({ name }) => name)).toEqual(["fm_pin_10_wal", FLOOR_SLOT]);
});

test("a slot that was lost is not cloned, and is made anew", async () => {
  await using rig = await openPostgresRig();
  const primary = await makeOrigin(rig, "one", { settings: { max_slot_wal_keep_size: "2MB", wal_keep_size: "0" } });
  const to = linkTo(primary);
  const link = async () => await to.connect();
  await using session = await link();
  await ensureSlot(session, FLOOR_SLOT);
  const start = await head(primary);
  await writeSegments(primary, 5);
  await primary.sql("checkpoint");
  expect(await readSlot(session, FLOOR_SLOT)).toMatchObject({ walStatus: "lost", restartLsn: null });
  await expect(pinWalBySlot(link, { startLsn: start }, 7n)).rejects.toMatchObject({ code: "FULA_RECOVERY_PIN" });
  const floor = await ensureSlot(session, FLOOR_SLOT);
  expect(floor.walStatus).toBe("reserved");
  await using pin = await pinWalBySlot(link, { startLsn: await head(primary) }, 7n);
  expect(pin.name).toBe("fm_pin_7_wal");
});

test("a standby has a floor of its own, so that what it keeps outlives its promotion", async () => {
  await using rig = await openPostgresRig();
  const primary = await makeOrigin(rig, "one", { settings: { wal_keep_size: "0" } });
  const standby = await rig.standby(primary, "two", { wal_keep_size: "0" });
  {
    await using session = await linkTo(standby).connect();
    await ensureFloor(session, 64n * MB);
  }
  const before = await head(primary);
  await writeSegments(primary, 3);
  await rig.streaming(primary, "two");
  await standby.sql("select pg_promote()");
  await standby.sql("checkpoint");
  await writeSegments(standby, 2);
  await standby.sql("checkpoint");
  const to = linkTo(standby);
  await using pin = await pinWalBySlot(async () => await to.connect(), { startLsn: before }, 7n);
  expect(pin.name).toBe("fm_pin_7_wal");
});
