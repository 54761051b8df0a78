import { afterAll, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { type LoadedConfig, loadConfig } from "../../../src/lib/config/load.ts";
import { listAudit } from "../../../src/lib/identity/audit.ts";
import { deny, lift, type NamedTarget } from "../../../src/lib/identity/denials.ts";
import { listDenials, readDenialNews } from "../../../src/lib/identity/denial-table.ts";
import { createDenyList, type DenyList } from "../../../src/lib/identity/deny-list.ts";
import type { Identity } from "../../../src/lib/identity/bearer.ts";
import { createSecretSealer } from "../../../src/lib/identity/sealed-secret.ts";
import { FulaError } from "../../../src/lib/kernel/errors.ts";
import { type Clock, systemClock } from "../../../src/lib/kernel/clock.ts";
import { silentLog } from "../../../src/lib/kernel/log.ts";
import { openAccessKeys } from "../../../src/lib/server/access-keys.ts";
import { type IdentitiesDeps, openIdentities, type OpenIdentities } from "../../../src/lib/server/identities.ts";
import { createMetrics, type Metrics } from "../../../src/lib/server/metrics.ts";
import { FaultProxy, type Verdict } from "../../support/fault-proxy.ts";
import { freshDatabase, type TestDatabase } from "../../support/postgres.ts";
import { until } from "../../support/until.ts";

const USER = "a".repeat(64);
const WALLET = `0x${"b".repeat(40)}`;
const DIGEST = "c".repeat(64);
const ACT = { actor: "operator@m-1", reason: "a test" };

let database: TestDatabase;
beforeAll(async () => {
  database = await freshDatabase();
});
beforeEach(async () => {
  await database.pool.query("delete from credential_denials; delete from admin_audit_log");
});
afterAll(async () => {
  await database.drop();
});

function credential(digest: string, expiresMs: number | null = null): NamedTarget {
  return { kind: "digest", subject: digest, expiresMs };
}

async function denyNow(target: NamedTarget, issuedBeforeMs: number | null = null): Promise<boolean> {
  return (await deny(database.pool, target, { ...ACT, issuedBeforeMs })).changed;
}

function masterList(): DenyList {
  const readNews = async (after: bigint): ReturnType<typeof readDenialNews> =>
    await readDenialNews(database.pool, after);
  return createDenyList({ readNews, clock: systemClock, maxAgeMs: 30_000 });
}

function identityOf(digest: string, issuedMs: number | null = systemClock.nowMs()): Identity {
  const who = { digest, issuedMs, expiresMs: null };
  return { subject: { kind: "user", userId: USER }, scopes: new Set(["read"]), by: "jwt", credential: who };
}

describe("a denial in the ledger", () => {
  test("is read by every master with its next look, and so is that it was lifted", async () => {
    const [one, other] = [masterList(), masterList()];
    await Promise.all([one.refresh(), other.refresh()]);
    expect(await denyNow(credential(DIGEST))).toBe(true);
    expect(one.judge(identityOf(DIGEST))).toBe("allowed");
    await Promise.all([one.refresh(), other.refresh()]);
    expect([one, other].map((list) => list.judge(identityOf(DIGEST)))).toEqual(["denied", "denied"]);
    await lift(database.pool, credential(DIGEST), ACT);
    await Promise.all([one.refresh(), other.refresh()]);
    expect([one, other].map((list) => list.judge(identityOf(DIGEST)))).toEqual(["allowed", "allowed"]);
  });

  test("of everything until now takes what a clock that is ahead has dated, and of sessions what was there before", async () => {
    const { rows } = await database.pool.query<{ now: Date }>("select clock_timestamp() as now");
    const before = rows[0]?.now.getTime() ?? 0;
    await denyNow({ kind: "user", subject: USER, expiresMs: null });
    const list = masterList();
    await list.refresh();
    // A token may say that it is issued five minutes from now.
    expect([before, before + 300_000].map((ms) => list.judge(identityOf("1", ms)))).toEqual(["denied", "denied"]);
    const [denial] = await listDenials(database.pool, false, 10);
    const stands = Date.parse(denial?.issuedBefore ?? "");
    expect([stands, stands + 1].map((ms) => list.judge(identityOf("1", ms)))).toEqual(["denied", "allowed"]);
    const session = (issuedMs: number): Identity => ({ ...identityOf("1", issuedMs), by: "session" });
    const madeMs = [before, Date.parse(denial?.deniedAt ?? "") + 1];
    expect(madeMs.map((ms) => list.judge(session(ms)))).toEqual(["denied", "allowed"]);
  });

  test("of everything before a time that was given takes that time, sessions too", async () => {
    const given = systemClock.nowMs() - 60_000;
    await denyNow({ kind: "user", subject: USER, expiresMs: null }, given);
    const list = masterList();
    await list.refresh();
    const judged = [given - 1, given].flatMap((ms) =>
      (["jwt", "session"] as const).map((by) => list.judge({ ...identityOf("1", ms), by })),
    );
    expect(judged).toEqual(["denied", "denied", "allowed", "allowed"]);
  });

  test("said twice stays, and the later time of both counts", async () => {
    const target = { kind: "wallet", subject: WALLET, expiresMs: null } as const;
    expect(await denyNow(target, 2_000)).toBe(true);
    expect(await denyNow(target, 1_000)).toBe(false);
    expect(await denyNow(target, 3_000)).toBe(true);
    const [denial] = await listDenials(database.pool, false, 10);
    expect(denial?.issuedBefore).toBe("1970-01-01T00:00:03.000Z");
    await lift(database.pool, target, ACT);
    expect(await lift(database.pool, target, ACT)).toMatchObject({ changed: false });
    // What was lifted begins anew.
    expect(await denyNow(target, 1_000)).toBe(true);
  });

  test("is written down with who made it, once, and so is its lifting", async () => {
    await denyNow(credential(DIGEST));
    await denyNow(credential(DIGEST));
    await lift(database.pool, credential(DIGEST), { actor: "admin:x", reason: "wrong one" });
    const entries = await listAudit(database.pool, {
      sinceMs: null,
      actor: null,
      action: "credential.*",
      target: DIGEST,
      limit: 10,
    });
    expect(entries.map(({ actor, action, details }) => [actor, action, details["reason"]])).toEqual([
      ["admin:x", "credential.lift", "wrong one"],
      ["operator@m-1", "credential.deny", "a test"],
    ]);
  });

  test("of which there is none cannot be lifted", async () => {
    const lifting = lift(database.pool, credential(DIGEST), ACT);
    await expect(lifting).rejects.toMatchObject({ code: "FULA_DENIAL_NOT_FOUND" });
    expect((await database.pool.query("select from admin_audit_log")).rowCount).toBe(0);
  });

  test("goes when its credential has been over for an hour, with the next one that is made", async () => {
    await denyNow(credential(DIGEST, systemClock.nowMs() - 3_700_000));
    await denyNow(credential("d".repeat(64), systemClock.nowMs() + 60_000));
    expect((await listDenials(database.pool, true, 10)).map(({ subject }) => subject)).toEqual(["d".repeat(64)]);
  });

  test("is known to masters for a while after its credential is over: their clocks may be behind", async () => {
    await denyNow(credential(DIGEST, systemClock.nowMs() - 300_000));
    const list = masterList();
    await list.refresh();
    expect(list.judge(identityOf(DIGEST))).toBe("denied");
  });

  test("made by many at once is read whole: no look skips one that was committed late", async () => {
    const list = masterList();
    await list.refresh();
    const digests = Array.from({ length: 24 }, (_, index) => index.toString(16).padStart(64, "0"));
    const looks = Promise.all(Array.from({ length: 24 }, async () => await list.refresh()));
    await Promise.all(digests.map(async (digest) => await denyNow(credential(digest))));
    await looks;
    await list.refresh();
    expect(digests.filter((digest) => list.judge(identityOf(digest)) === "allowed")).toEqual([]);
  });

  test("that a restored ledger never heard of is forgotten, and one that it alone knows is learned", async () => {
    const list = masterList();
    await denyNow(credential(DIGEST));
    await list.refresh();
    await database.pool.query(`
      truncate credential_denials;
      update credential_denial_clock set revision = 0`);
    await denyNow(credential("e".repeat(64)));
    await database.pool.query("update credential_denial_clock set revision = 1000");
    await list.refresh();
    expect([DIGEST, "e".repeat(64)].map((digest) => list.judge(identityOf(digest)))).toEqual(["allowed", "denied"]);
  });
});

describe("a master", () => {
  let ledger: FaultProxy;
  let verdict: Verdict = "pass";
  let port: number;
  let loaded: LoadedConfig;
  let opened: AsyncDisposableStack;
  let master: OpenIdentities;
  let metrics: Metrics;

  beforeEach(async () => {
    verdict = "pass";
    opened = new AsyncDisposableStack();
    ledger = opened.use(new FaultProxy(database.options.host, database.options.port, () => verdict));
    port = await ledger.listen();
    const settings = { "identity.denyListRefresh": "100ms", "identity.denyListMaxAge": "1s" };
    const given = Object.entries(settings).map(([key, value]) => [key, { flag: "--set", value }]);
    const env = { ENCRYPTION_KEY: "5a".repeat(32), JWT_SECRET: "6b".repeat(32) };
    loaded = await loadConfig({ globals: { baseDir: "/nonexistent" }, env, cwd: "/" }, Object.fromEntries(given));
    const { pool } = database;
    const deps = { pool, sealer: createSecretSealer(loaded.secrets.encryptionKey), clock: systemClock, log: silentLog };
    const keys = opened.use(await openAccessKeys(loaded.config, deps));
    const connection = { ...database.options, host: "127.0.0.1", port };
    metrics = createMetrics({ version: "0", nodeVersion: "0" });
    master = opened.use(await openIdentities(loaded, { ...deps, connection, keys, metrics: metrics.identity }));
  });

  async function outcome(): Promise<string> {
    try {
      return (await master.identities.admit(identityOf(DIGEST))).state;
    } catch (error) {
      return error instanceof FulaError ? error.code : String(error);
    }
  }

  test("whose ledger swallows everything lets nobody in after the bound, and goes on when it answers", async () => {
    await using _ = opened;
    await until("the master lets it in", async () => (await outcome()) === "accepted");
    await denyNow(credential(DIGEST));
    await until("the master refuses it", async () => (await outcome()) === "refused");
    await lift(database.pool, credential(DIGEST), ACT);
    await until("the master lets it in again", async () => (await outcome()) === "accepted");
    verdict = "swallow";
    await until("nobody is let in", async () => (await outcome()) === "FULA_DENY_LIST_STALE");
    expect(await master.checks[0].run(AbortSignal.timeout(10_000))).toMatchObject({ state: "failed" });
    verdict = "pass";
    await until("the list is read again", async () => (await outcome()) === "accepted");
    const check = await until("it says that it is well", async () => {
      const seen = await master.checks[0].run(AbortSignal.timeout(10_000));
      return seen.state === "ok" ? seen : null;
    });
    expect(check).toMatchObject({ details: { entries: 0 } });
  });

  function depsAt(ledgerPort: number, clock: Clock): IdentitiesDeps {
    const keys = { findKey: async () => null, onKeyUsed: () => {}, [Symbol.asyncDispose]: async () => {} };
    const connection = { ...database.options, host: "127.0.0.1", port: ledgerPort };
    return { pool: database.pool, connection, keys, clock, log: silentLog, metrics: metrics.identity };
  }

  test("that cannot read what was revoked does not begin to serve", async () => {
    await using _ = opened;
    const opening = openIdentities(loaded, depsAt(1, systemClock));
    await expect(opening).rejects.toMatchObject({ code: "FULA_DATABASE_UNREACHABLE" });
  });

  test("whose ledger is late with the first answer waits for it", async () => {
    await using _ = opened;
    verdict = "swallow";
    // It sleeps once it has asked in vain.
    const sleep: Clock["sleep"] = async (ms, signal) => {
      verdict = "pass";
      await systemClock.sleep(ms, signal);
    };
    await using late = await openIdentities(loaded, depsAt(port, { ...systemClock, sleep }));
    expect(late.denials).toBeDefined();
  });
});
