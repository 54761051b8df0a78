import { base36 } from "multiformats/bases/base36";
import { afterAll, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { makePin } from "../../../src/lib/cluster/pins.ts";
import { systemClock } from "../../../src/lib/kernel/clock.ts";
import { AlertLog } from "../../../src/lib/pinset/alert-log.ts";
import { inOrder } from "../../../src/lib/pinset/in-order.ts";
import { type LedgerCid, ledgerPins } from "../../../src/lib/pinset/ledger-pins.ts";
import { SweepMemory } from "../../../src/lib/pinset/sweep-memory.ts";
import { sweep } from "../../../src/lib/pinset/sweep.ts";
import { createPool } from "../../../src/lib/postgres/pool.ts";
import { createMemoryCluster } from "../../support/memory-cluster.ts";
import { cidOfBytes, collect, manyPins, rawBytes, rawCid } from "../../support/pins.ts";
import { emptyDatabase, freshDatabase, type TestDatabase } from "../../support/postgres.ts";
import { tempDir } from "../../support/temp-dir.ts";

let database: TestDatabase;
beforeAll(async () => {
  database = await freshDatabase();
});
afterAll(async () => {
  await database.drop();
});
beforeEach(async () => {
  await database.pool.query("truncate pins, gateway_buckets, gateway_objects, blocked_cids");
});

const signal = new AbortController().signal;

async function addRow(
  cid: string,
  status: string,
  more: { readonly meta?: string; readonly origins?: string } = {},
): Promise<void> {
  const { meta = "{}", origins = "[]" } = more;
  await database.pool.query(
    `insert into pins (requestid, cid, name, status, meta, origins, updated_at)
     values (gen_random_uuid()::text, $1, 'name of ' || left($1, 4), $2, $3, $4, '2026-01-01T00:00:00Z')`,
    [cid, status, meta, origins],
  );
}

async function addObject(cid: string, key: string): Promise<void> {
  await database.pool.query(
    `insert into gateway_buckets (owner_id, name) values ('${"ab".repeat(16)}', 'photos') on conflict do nothing`,
  );
  await database.pool.query(
    `insert into gateway_objects (bucket_id, key, root_cid, size_bytes, headers, metadata, checksums, modified_at)
     select bucket_id, $2, $1, 1, '{}', '{}', '{}', now() from gateway_buckets limit 1`,
    [cid, key],
  );
}

async function read(): Promise<readonly LedgerCid[]> {
  return await collect(ledgerPins(database.pool, tempDir(), null).cids(signal));
}

describe("what the ledger wants pinned", () => {
  test("is what users were promised or wait for, and what the gateway published, each CID once and in order", async () => {
    const [a, b, c, d, e] = Array.from({ length: 5 }, (_, n) => rawCid(`ledger ${n}`).toString());
    if (!a || !b || !c || !d || !e) throw new Error("cids");
    for (const status of ["queued", "pinned", "failed"]) await addRow(a, status);
    await addRow(b, "pinning");
    for (const status of ["failed", "deleted"]) await addRow(c, status);
    await addObject(d, "one.jpg");
    await addObject(d, "two.jpg");
    await addObject(b, "three.jpg");
    const found = await read();
    expect(found.map(({ cid, state }) => `${cid} ${state}`)).toEqual(
      [`${a} pinned`, `${b} pinned`, `${d} pinned`].toSorted(),
    );
  });

  test("is named as the cluster names it, however a client wrote it", async () => {
    const cid = rawCid("written in base 36");
    const other = cid.toString(base36);
    await addRow(other, "pinned");
    await addRow(cid.toString(), "pinned");
    expect(await read()).toMatchObject([{ cid: cid.toString(), isCid: true }]);
    expect(await ledgerPins(database.pool, tempDir(), null).record({ cid: cid.toString(), text: other })).toMatchObject(
      {
        state: "pinned",
      },
    );
  });

  test("may be no CID at all, which is told and does not end the reading", async () => {
    await addRow("no cid\tat\nall", "pinned");
    await addRow(rawCid("fine").toString(), "pinned");
    expect((await read()).map(({ isCid }) => isCid)).toEqual([false, true]);
  });

  test("is only waited for as long as nobody was told that it is pinned, however its CID is written", async () => {
    const v1 = cidOfBytes(rawBytes("awaited"), 0x70);
    const key = v1.toString();
    const ledger = ledgerPins(database.pool, tempDir(), null);
    const add = async (cid: string, status: string): Promise<void> => {
      await addRow(cid, status);
      await database.pool.query("update pins set cid_key = $1 where cid = $2", [key, cid]);
    };
    expect(await ledger.isAwaited(key)).toBe(false);
    await add(key, "pinning");
    expect(await ledger.isAwaited(key)).toBe(true);
    await add(v1.toV0().toString(), "pinned");
    expect(await ledger.isAwaited(key)).toBe(false);
  });

  test("is what it is pinned again with: name, metadata and origins, as far as they are texts", async () => {
    const cid = rawCid("again").toString();
    await addRow(cid, "pinned", { meta: '{"app":"x","n":1}', origins: '["/ip4/127.0.0.1/tcp/1/p2p/Qm", 2]' });
    const ledger = ledgerPins(database.pool, tempDir(), null);
    expect(await ledger.record({ cid, text: cid })).toMatchObject({
      isBlocked: false,
      options: {
        name: `name of ${cid.slice(0, 4)}`,
        metadata: { app: "x", source: "pinning" },
        origins: ["/ip4/127.0.0.1/tcp/1/p2p/Qm"],
      },
    });
    const object = rawCid("object").toString();
    await addObject(object, "a/b.jpg");
    expect(await ledger.record({ cid: object, text: object })).toMatchObject({
      options: { name: "photos/a/b.jpg", metadata: { source: "gateway" } },
    });
    await database.pool.query("insert into blocked_cids (cid) values ($1)", [object]);
    expect(await ledger.record({ cid: object, text: object })).toMatchObject({ isBlocked: true });
    expect(await ledger.record({ cid: rawCid("nobody's").toString(), text: "" })).toBe(null);
  });

  test("is read by a cursor, and no connection is left behind, also where nobody reads to the end", async () => {
    await database.pool.query(
      `insert into pins (requestid, cid, status) select n::text, 'cid-' || n, 'pinned' from generate_series(1, 5000) n`,
    );
    for await (const _ of ledgerPins(database.pool, tempDir(), null).cids(signal)) break;
    expect(await read()).toHaveLength(5_000);
    expect(database.pool.totalCount).toBe(database.pool.idleCount);
  });

  test("cannot be known where the database has no ledger, or does not answer", async () => {
    await using empty = await emptyDatabase();
    const noTable = collect(ledgerPins(empty.pool, tempDir(), null).cids(signal));
    await expect(noTable).rejects.toMatchObject({ code: "FULA_LEDGER_UNREADABLE", kind: "unavailable" });
    const pool = createPool({ ...database.options, port: 1 });
    const noServer = ledgerPins(pool, tempDir(), null);
    await expect(collect(noServer.cids(signal))).rejects.toMatchObject({ code: "FULA_LEDGER_UNREADABLE" });
    await expect(noServer.record({ cid: "a", text: "a" })).rejects.toMatchObject({ code: "FULA_LEDGER_UNREADABLE" });
    await pool.end();
  });
});

describe("a sweep with a real ledger", () => {
  test("finds what differs on either side, and makes the ledger's pins again when told", async () => {
    const pins = manyPins(300, (number) => makePin(rawCid(`held ${number}`).toString(), "2026-01-01T00:00:00Z"));
    const cluster = createMemoryCluster({ pins, sorted: false });
    for (const { cid } of pins.slice(10)) await addRow(cid, "pinned");
    const lost = ["lost by the pinset", "lost as well"].map((seed) => rawCid(seed).toString());
    await addRow(lost[0] ?? "", "pinned");
    await addObject(lost[1] ?? "", "object");
    const dir = tempDir();
    const run = async (repairLedger: boolean): ReturnType<typeof sweep> => {
      await using memory = await SweepMemory.open(`${dir}/sweep.sqlite`, systemClock);
      await using alerts = new AlertLog(null);
      const deps = {
        cluster,
        sources: inOrder(cluster, dir),
        ledger: ledgerPins(database.pool, dir, null),
        memory,
        alerts,
      };
      const options = { replMin: 1, graceMs: 0, waitMs: 0, deep: false, repair: true, acceptEmpty: false };
      return await sweep(
        { ...deps, clock: systemClock, signal },
        { ...options, repairLedger, lastPins: null, forwardAlerts: false },
      );
    };
    const found = await run(false);
    expect(found).toMatchObject({ outcome: "problems", ledger: { cids: 292, missing: 2, notInLedger: 10 } });
    expect(found.ledger?.shown.map(({ cid }) => cid)).toEqual(lost.toSorted());
    expect(await run(true)).toMatchObject({ outcome: "ok", ledger: { missing: 0, repinned: 2 }, alertsCleared: 2 });
    expect(cluster.records.get(lost[1] ?? "")).toMatchObject({
      name: "photos/object",
      metadata: { source: "gateway" },
    });
    expect(await run(false)).toMatchObject({ outcome: "ok", pins: 302, ledger: { missing: 0 } });
  });
});
