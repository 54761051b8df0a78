import { readFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, afterEach, beforeAll, describe, expect, test } from "vitest";
import { readConfig } from "../../../src/lib/config/load.ts";
import { createAccessKey, findAccessKey } from "../../../src/lib/identity/key-table.ts";
import { systemRandom } from "../../../src/lib/kernel/random.ts";
import { createMasterToken } from "../../../src/lib/membership/token-table.ts";
import { FEDERATION_POOLS } from "../../../src/lib/stack/federation-secrets.ts";
import { givenSecrets } from "../../../src/lib/stack/given-secrets.ts";
import { type Entry, readEntry } from "../../../src/lib/stack/join-entry.ts";
import { controlPlaneStep } from "../../../src/lib/stack/leave-control-plane.ts";
import { rekeyOnePool, removeMaster } from "../../../src/lib/stack/membership-rekey.ts";
import { syncMembership, type SyncReport } from "../../../src/lib/stack/membership-sync.ts";
import { boxOperatorId } from "../../../src/lib/stack/operators.ts";
import { sealerOf } from "../../../src/lib/stack/other-epochs.ts";
import { makeMasterBox, type MasterBox } from "../../support/master-boxes.ts";
import { type NatsServers, startNatsServers } from "../../support/nats-servers.ts";

const KEYS = ["SYSTEM_KEY", "JWT_SECRET", "SESSION_SECRET", "ENCRYPTION_KEY"] as const;

let servers: NatsServers;
let opened: MasterBox[] = [];

beforeAll(async () => {
  servers = await startNatsServers(1);
});
afterAll(async () => {
  await servers[Symbol.asyncDispose]();
});
afterEach(async () => {
  // The first one owns the ledger.
  for (const box of opened.toReversed()) await box[Symbol.asyncDispose]();
  opened = [];
});

async function master(name: string, beside: MasterBox | null, where: NatsServers | null): Promise<MasterBox> {
  const box = await makeMasterBox(name, where, beside);
  opened.push(box);
  return box;
}

/** Masters that share one control plane, which is emptied before. */
async function masters(count: number): Promise<readonly MasterBox[]> {
  const first = await master("master-1", null, servers);
  await first.inStore(async (store) => {
    await store.importSnapshot({ format: 1, pools: [], members: [], sealedKeys: [], operators: [] });
  });
  await first.join();
  const all = [first];
  for (let at = 2; at <= count; at += 1) {
    const next = await master(`master-${at}`, first, servers);
    await next.join(await first.bundle());
    all.push(next);
  }
  return all;
}

function envOf(box: MasterBox): Readonly<Record<string, string>> {
  const lines = readFileSync(join(box.baseDir, ".env"), "utf8").split("\n");
  return Object.fromEntries(lines.filter((line) => line.includes("=")).map((line) => line.split(/=(.*)/s, 2)));
}

async function sync(box: MasterBox, forgetOld = false, dryRun = false): Promise<SyncReport> {
  return await syncMembership(box.context, { dryRun, forgetOld, report: () => {} });
}

/** What `join` on a box takes from a token that another master has made just now. */
async function entryOf(box: MasterBox, maker: MasterBox): Promise<Entry | null> {
  const made = await createMasterToken(maker.database.pool, await maker.bundle(), {
    validMs: 60_000,
    random: systemRandom,
  });
  return await readEntry(box.context, { token: made.text.reveal() }, await readConfig(box.context), await box.load());
}

async function rekey(box: MasterBox, pool: string): Promise<number> {
  return (await rekeyOnePool(box.context, { pool, dryRun: false, confirm: async () => {} })).epoch;
}

async function standingOf(box: MasterBox): Promise<readonly (number | null)[]> {
  return (await sync(box, false, true)).pools.map(({ inUse }) => inUse);
}

/** An access key that this master makes, as it seals now. */
async function makeKey(box: MasterBox): Promise<string> {
  const sealer = sealerOf((await box.load()).secrets, "access key secrets");
  const key = {
    subject: { kind: "user", userId: "a".repeat(64) },
    scopes: ["storage:read"],
    label: box.name,
    expiresMs: null,
    bearerOnly: false,
    actor: "test",
  } as const;
  return (await createAccessKey(box.database.pool, key, { sealer, random: systemRandom })).pair.keyId;
}

/** Names of the masters that open this key; those that do not are locked out. */
async function readersOf(keyId: string, boxes: readonly MasterBox[]): Promise<readonly string[]> {
  const readers: string[] = [];
  for (const box of boxes) {
    const sealer = sealerOf((await box.load()).secrets, "access key secrets");
    const found = await findAccessKey(box.database.pool, sealer, keyId).catch(() => null);
    if (found?.secret != null) readers.push(box.name);
  }
  return readers;
}

describe("the first master", () => {
  test("makes the pools from the secrets that it has, seals them to itself alone, and finds all done the second time", async () => {
    const box = await master("master-1", null, null);
    const before = envOf(box);
    const todo = await box.assess();
    expect([todo.state, todo.changes.length]).toEqual(["todo", 3]);
    expect(await box.join()).toMatch(/^pool masters made, epoch 1; pool cluster made, epoch 1/);
    expect(await box.assess()).toMatchObject({ state: "already" });
    expect(await box.join()).toBe("this master was in already");
    expect(envOf(box)).toEqual(before);
    const { secrets, epochs } = await givenSecrets(await box.load(), box.context);
    expect(epochs).toEqual({ masters: 1, cluster: 1, swarm: null });
    expect(secrets.encryptionKey.reveal()).toBe(before["ENCRYPTION_KEY"]);
    expect(secrets.clusterSecret?.reveal()).toBe(before["CLUSTER_SECRET"]);
    const snapshot = await box.inStore(async (store) => await store.exportSnapshot());
    expect(snapshot.members.map(({ pool, name, role, appliedEpoch }) => [pool, name, role, appliedEpoch])).toEqual([
      ["cluster", "master-1", "owner", 1],
      ["masters", "master-1", "owner", 1],
    ]);
    for (const secret of Object.values(before)) expect(JSON.stringify(snapshot)).not.toContain(secret);
  });

  test("whose .env has secrets that the control plane never had is stopped, and told their names alone", async () => {
    const box = await master("master-1", null, null);
    await box.join();
    box.changeEnv({ JWT_SECRET: "f".repeat(64) });
    const error: unknown = await box.assess().catch((caught: unknown) => caught);
    expect(error).toMatchObject({ code: "FULA_SECRETS_DIFFER", details: { secrets: ["JWT_SECRET"] } });
    expect(JSON.stringify(error)).not.toContain("ffff");
    await expect(sync(box)).rejects.toMatchObject({ code: "FULA_SECRETS_DIFFER" });
    box.changeEnv({ JWT_SECRET: null });
    expect((await sync(box)).changed).toContain("JWT_SECRET");
    expect(await box.assess()).toMatchObject({ state: "already" });
  });

  test("that is killed before it has written itself in goes on from what is there", async () => {
    const box = await master("master-1", null, null);
    await box.join();
    await box.inStore(async (store) => {
      await store.deletePool("cluster");
    });
    expect((await box.assess()).changes).toEqual(["make the pool cluster from what this box has"]);
    expect(await box.join()).toBe("pool cluster made, epoch 1");
  });
});

const AUTHORITY = "certificate authority of the control plane";

describe("further masters", () => {
  test("admit themselves by what their token brought, and open the same secrets as the first", async () => {
    const all = await masters(3);
    const given = await Promise.all(all.map(async (box) => await givenSecrets(await box.load(), box.context)));
    expect(new Set(given.map(({ secrets }) => secrets.jwtSecret.reveal())).size).toBe(1);
    expect(new Set(given.map(({ secrets }) => secrets.clusterSecret?.reveal())).size).toBe(1);
    const { members } = await (all[0] ?? fail()).inStore(async (store) => await store.exportSnapshot());
    expect(
      members
        .filter(({ pool }) => pool === "masters")
        .map(({ name }) => name)
        .toSorted(),
    ).toEqual(["master-1", "master-2", "master-3"]);
    for (const box of all) expect(await box.assess()).toMatchObject({ state: "already" });
  });

  test("with a token of before a rekey, or with none, are not let in", async () => {
    const [first = fail()] = await masters(1);
    const old = await first.bundle();
    await rekey(first, "cluster");
    await sync(first);
    const next = await master("master-2", first, servers);
    await expect(next.join(old)).rejects.toMatchObject({ code: "FULA_SECRETS_BEHIND", details: { pool: "cluster" } });
    const another = await master("master-3", first, servers);
    await expect(another.join()).rejects.toMatchObject({ code: "FULA_TOKEN_NEEDED" });
  });

  test("that are killed once they are let in, before anything says so, are waited for by the next rekey all the same", async () => {
    const [first = fail(), second = fail()] = await masters(2);
    const before = await first.inStore(async (store) => await store.exportSnapshot());
    const members = before.members.map((member) =>
      member.name === "master-2" ? { ...member, appliedEpoch: 0 } : member,
    );
    await first.inStore(async (store) => {
      await store.importSnapshot({ ...before, members });
    });
    expect((await second.assess()).changes).toEqual([
      "note that this master works with the secret of masters",
      "note that this master works with the secret of cluster",
    ]);
    await rekey(first, "masters");
    await second.join();
    expect((await sync(first)).pools[0]).toMatchObject({ epoch: 2, inUse: 1, waitingFor: ["master-2"] });
    expect(await readersOf(await makeKey(first), [second])).toEqual(["master-2"]);
  });

  test("whose server has not come together with the others' make no second control plane", async () => {
    const [first = fail()] = await masters(1);
    const bundle = await first.bundle();
    await using lonely = await startNatsServers(1);
    const next = await master("master-2", first, lonely);
    await expect(next.join(bundle)).rejects.toMatchObject({ code: "FULA_CONTROL_PLANE_UNREACHABLE" });
    expect(await next.inStore(async (store) => await store.listPools())).toEqual([]);
  });
});

describe("a rekey of the masters", () => {
  test("locks no master out of what any other has sealed, whichever has synced how often", async () => {
    const all = await masters(2);
    const [first = fail(), second = fail()] = all;
    const names = all.map(({ name }) => name);
    const keys = [await makeKey(first)];
    expect(await rekey(first, "masters")).toBe(2);
    const everybodyReads = async (): Promise<void> => {
      for (const box of all) keys.push(await makeKey(box));
      for (const key of keys) expect(await readersOf(key, all)).toEqual(names);
    };
    await everybodyReads();
    const early = await sync(first);
    expect(early.pools[0]).toMatchObject({ epoch: 2, inUse: 1, waitingFor: ["master-2"] });
    expect(early.changed).toEqual(["OTHER_MASTER_SECRETS", AUTHORITY]);
    await everybodyReads();
    await expect(rekey(first, "masters")).rejects.toMatchObject({ code: "FULA_REKEY_UNFINISHED" });
    await expect(first.bundle()).rejects.toMatchObject({ code: "FULA_SECRETS_BEHIND" });
    expect((await sync(second)).pools[0]).toMatchObject({ inUse: 2, waitingFor: [] });
    await everybodyReads();
    await expect(sync(second, true)).rejects.toMatchObject({
      code: "FULA_REKEY_UNFINISHED",
      details: { masters: ["master-1"] },
    });
    const late = await sync(first);
    expect(late.pools[0]).toMatchObject({ inUse: 2 });
    expect(late.resealed).toMatchObject({ unopened: 0 });
    await everybodyReads();
    const old = KEYS.map((name) => first.secrets[name] ?? "");
    for (const box of all) expect((await sync(box, true)).changed).toEqual(["OTHER_MASTER_SECRETS", AUTHORITY]);
    await everybodyReads();
    for (const box of all) for (const secret of old) expect(Object.values(envOf(box))).not.toContain(secret);
    expect(envOf(first)["OTHER_MASTER_SECRETS"]).toBe(Buffer.from("[]").toString("base64url"));
  });

  test("that was stopped before the ledger was sealed anew is finished by the next run", async () => {
    const [first = fail()] = await masters(1);
    const key = await makeKey(first);
    await rekey(first, "masters");
    first.changeEnv({ FULA_MASTER_POSTGRES_PORT: "1" });
    await expect(sync(first)).rejects.toMatchObject({ code: "FULA_DATABASE_UNREACHABLE" });
    first.changeEnv({ FULA_MASTER_POSTGRES_PORT: null });
    expect(await readersOf(key, [first])).toEqual(["master-1"]);
    await expect(sync(first, true)).resolves.toMatchObject({ resealed: { resealed: 1, current: 0, unopened: 0 } });
    expect(await readersOf(key, [first])).toEqual(["master-1"]);
  });
});

describe("a master that is taken out", () => {
  test("opens no secret of afterwards, while the others do, and can be taken out again after a kill", async () => {
    const all = await masters(3);
    const [first = fail(), second = fail(), third = fail()] = all;
    const request = { who: "master-3", confirm: async () => {} };
    expect((await removeMaster(first.context, { ...request, dryRun: true })).pools).toEqual([
      { pool: "cluster", epoch: 2 },
      { pool: "masters", epoch: 2 },
    ]);
    expect(await standingOf(third)).toEqual([1, 1, null]);
    await removeMaster(first.context, { ...request, dryRun: false });
    await expect(sync(third)).rejects.toMatchObject({ code: "FULA_NOT_JOINED" });
    for (const box of [first, second, first]) await sync(box);
    expect(await standingOf(first)).toEqual([2, 2, null]);
    expect(envOf(first)["CLUSTER_SECRET"]).toBe(envOf(second)["CLUSTER_SECRET"]);
    for (const name of [...KEYS, "CLUSTER_SECRET"]) expect(envOf(first)[name]).not.toBe(envOf(third)[name]);
    await first.inStore(async (store) => {
      for (const pool of FEDERATION_POOLS.filter((each) => each !== "swarm")) {
        expect((await store.listMembers(pool)).map(({ name }) => name).toSorted()).toEqual(["master-1", "master-2"]);
      }
    });
  });
});

describe("a master that leaves", () => {
  test("takes itself out of the pools and of those who may act, and says who has to rekey", async () => {
    const [first = fail(), second = fail()] = await masters(2);
    const step = controlPlaneStep({ loaded: await second.load(), context: second.context });
    const own = (await boxOperatorId(await second.load())) ?? "";
    expect((await step.assess()).changes).toEqual([
      "take master-2 out of the pool masters",
      "take master-2 out of the pool cluster",
      `revoke the operator ${own}`,
    ]);
    expect(await entryOf(second, first)).toBeNull();
    expect(await step.apply(() => {})).toMatch(
      /^out of masters, cluster; .* fula-master membership rekey masters, fula-master membership rekey cluster; operator revoked$/,
    );
    expect(await step.assess()).toMatchObject({ state: "already" });
    await first.inStore(async (store) => {
      expect((await store.listMembers("masters")).map(({ name }) => name)).toEqual(["master-1"]);
      expect(await store.getOperator(own)).toMatchObject({ status: "revoked" });
    });
    await expect(second.join()).rejects.toMatchObject({ code: "FULA_TOKEN_NEEDED" });
    const entry = await entryOf(second, first);
    expect(entry?.bundle.issuer).toBe("master-1");
    await second.join(entry?.bundle ?? null);
    expect((await second.assess()).why).toContain(`membership operator restore ${own}`);
  });

  test("alone keeps what it is, and one whose control plane is silent is told what is left to do", async () => {
    const [first = fail()] = await masters(1);
    const lonely = controlPlaneStep({ loaded: await first.load(), context: first.context });
    expect(await lonely.assess()).toMatchObject({ state: "already" });
    const gone = await startNatsServers(1);
    const next = await master("master-2", first, gone);
    await gone[Symbol.asyncDispose]();
    const silent = controlPlaneStep({ loaded: await next.load(), context: next.context });
    const { state, why } = await silent.assess();
    expect(state).toBe("left");
    expect(why).toContain("on another master: fula-master membership member remove masters master-2");
  });
});

function fail(): never {
  throw new Error("There are fewer masters than the test needs");
}
