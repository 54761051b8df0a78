import {
  DiscardPolicy,
  jetstream,
  type JetStreamManager,
  jetstreamManager,
  type JsMsg,
  PersistMode,
  RetentionPolicy,
  type StreamConfig,
  StorageType,
} from "@nats-io/jetstream";
import { type KV, Kvm } from "@nats-io/kv";
import { connect, type NatsConnection, nkeyAuthenticator } from "@nats-io/transport-node";
import { afterAll, beforeAll, expect, test } from "vitest";
import type { Log, LogFields } from "../../../src/lib/kernel/log.ts";
import { silentLog } from "../../../src/lib/kernel/log.ts";
import { Bucket } from "../../../src/lib/membership/kv/bucket.ts";
import { Budget } from "../../../src/lib/membership/kv/budget.ts";
import { NatsLink } from "../../../src/lib/membership/kv/connect.ts";
import { openKvStore } from "../../../src/lib/membership/kv/kv-store.ts";
import { Pools } from "../../../src/lib/membership/kv/pools.ts";
import { KV_DEPS, kvTarget, openTestKv } from "../../support/kv-stores.ts";
import { EMPTY_SNAPSHOT, endpointOf, newMember, newOperator, newPool, sealedTo } from "../../support/membership.ts";
import { type NatsServers, startNatsServers } from "../../support/nats-servers.ts";

/** What a busy machine may take for one question. */
const PATIENT_MS = 20_000;

let servers: NatsServers;
let connection: NatsConnection;
let manager: JetStreamManager;

beforeAll(async () => {
  servers = await startNatsServers(1);
  const authenticator = nkeyAuthenticator(new TextEncoder().encode(servers.user.seed));
  connection = await connect({ servers: [...servers.urls], authenticator });
  manager = await jetstreamManager(connection, { timeout: PATIENT_MS });
});

afterAll(async () => {
  await connection.close();
  await servers[Symbol.asyncDispose]();
});

/** A bucket as any other client of NATS sees it. */
async function bucket(prefix: string, name: string): Promise<KV> {
  return await new Kvm(jetstream(connection, { timeout: PATIENT_MS })).open(`${prefix}_${name}`);
}

test("the six buckets are plain KV buckets on disk, of one revision a key, whose answers come from the leader", async () => {
  await using store = await openTestKv(servers, { prefix: "PLAIN" });
  await store.createPool(newPool("masters"));
  const names: string[] = [];
  for await (const { config } of manager.streams.list()) {
    if (!config.name.startsWith("KV_PLAIN_")) continue;
    names.push(config.name);
    expect(config).toMatchObject({ storage: "file", allow_direct: false, max_msgs_per_subject: 1, num_replicas: 1 });
  }
  const buckets = ["ledger", "members", "room_keys", "rooms", "rooms_by_member", "users"];
  expect(names.toSorted((a, b) => (a < b ? -1 : 1))).toEqual(buckets.map((name) => `KV_PLAIN_${name}`));
  const entry = await (await bucket("PLAIN", "rooms")).get("masters");
  expect(entry?.json()).toMatchObject({ format: 1, pool: { id: "masters" } });
});

const UNFIT: readonly (readonly [string, Partial<StreamConfig>])[] = [
  ["lies in memory", { storage: StorageType.Memory }],
  ["lets servers answer that may be behind", { allow_direct: true }],
  ["forgets after a day", { max_age: 86_400_000_000_000 }],
  ["forgets the oldest when it is full", { max_bytes: 1_000_000, discard: DiscardPolicy.Old }],
  ["forgets what was read", { retention: RetentionPolicy.Workqueue }],
  ["acknowledges before it is on disk", { persist_mode: PersistMode.Async }],
];

test.each(UNFIT)("a bucket that %s is refused, and stays as it is", async (_name, config) => {
  const prefix = `UNFIT${UNFIT.findIndex(([name]) => name === _name)}`;
  const name = `KV_${prefix}_users`;
  await manager.streams.add({ name, subjects: [`$KV.${prefix}_users.>`], ...config });
  await expect(openTestKv(servers, { prefix })).rejects.toMatchObject({
    code: "FULA_CONTROL_PLANE_UNFIT",
    message: expect.stringContaining(`${prefix}_users`),
  });
  expect((await manager.streams.info(name)).config).toMatchObject(config);
});

test("a bucket with fewer replicas than the settings want is used, and the log says so", async () => {
  await (await openTestKv(servers, { prefix: "FEWER" })).close();
  const said: LogFields[] = [];
  const log: Log = { ...silentLog, warn: (event, fields = {}) => said.push({ event, ...fields }) };
  await (await openKvStore(kvTarget(servers, { prefix: "FEWER", replicas: 3 }), { ...KV_DEPS, log })).close();
  expect(said).toContainEqual({ event: "control-plane.replicas", bucket: "FEWER_rooms", wanted: 3, is: 1 });
});

test.each(["delete", "purge"] as const)(
  "what another client took away by %s is not there, and can be made again",
  async (how) => {
    const prefix = `GONE${how.toUpperCase()}`;
    await using store = await openTestKv(servers, { prefix });
    await store.createPool(newPool("masters"));
    await store.addMember(newMember("masters", "fula-1"), []);
    await store.addOperator(newOperator("system", "admin"));
    await (await bucket(prefix, "members"))[how](`masters.${endpointOf("fula-1").replace(":", "=3A")}`);
    await (await bucket(prefix, "users"))[how]("operators");
    await expect(store.listMembers("masters")).resolves.toEqual([]);
    await expect(store.listPoolsFor(endpointOf("fula-1"))).resolves.toEqual([]);
    await expect(store.hasAdmin()).resolves.toBe(false);
    await store.addMember(newMember("masters", "fula-1"), []);
    await store.addOperator(newOperator("system", "admin"));
    await expect(store.listPoolsFor(endpointOf("fula-1"))).resolves.toMatchObject([{ id: "masters" }]);
    await expect(store.isAuthorized("system", "admin")).resolves.toMatchObject({ allowed: true });
    await (await bucket(prefix, "rooms"))[how]("masters");
    await store.createPool(newPool("masters", { name: "again" }));
    await expect(store.getPool("masters")).resolves.toMatchObject({ name: "again" });
  },
);

const UNREADABLE: readonly (readonly [string, string, RegExp])[] = [
  ["is no JSON", "{", /is no JSON/],
  ["has no format", JSON.stringify({ pool: newPool("masters") }), /says no format/],
  [
    "is of a later format",
    JSON.stringify({ format: 2, pool: newPool("masters") }),
    /has format 2, and this version knows 1/,
  ],
  [
    "lacks a field",
    JSON.stringify({ format: 1, pool: newPool("masters"), pending: null }),
    /is not as it must be: change/,
  ],
];

test.each(UNREADABLE)(
  "a record that %s is named by bucket and key, and never taken for none",
  async (_name, text, why) => {
    const prefix = `BAD${UNREADABLE.findIndex(([name]) => name === _name)}`;
    await using store = await openTestKv(servers, { prefix });
    await (await bucket(prefix, "rooms")).put("masters", text);
    const ways = [
      async () => await store.getPool("masters"),
      async () => await store.listPools(),
      async () => await store.createPool(newPool("masters")),
      async () => await store.exportSnapshot(),
    ];
    for (const ask of ways) {
      await expect(ask()).rejects.toMatchObject({
        code: "FULA_CONTROL_PLANE_UNREADABLE",
        message: expect.stringMatching(why),
        details: { bucket: `${prefix}_rooms`, key: "masters" },
      });
    }
  },
);

test("operators that cannot be read let nobody in", async () => {
  await using store = await openTestKv(servers, { prefix: "DAMAGED" });
  await store.addOperator(newOperator("system", "admin"));
  await (await bucket("DAMAGED", "users")).put("operators", "{");
  await expect(store.isAuthorized("system", "operator")).resolves.toMatchObject({
    allowed: false,
    reason: "unreachable",
  });
  await expect(store.hasAdmin()).rejects.toMatchObject({ code: "FULA_CONTROL_PLANE_UNREADABLE" });
});

test("lists longer than what is asked for record by record are whole too", async () => {
  await using store = await openTestKv(servers, { prefix: "LONG" });
  const ids = Array.from({ length: 230 }, (_, at) => `pool-${String(at).padStart(3, "0")}`);
  await Promise.all(ids.map(async (id) => await store.createPool(newPool(id))));
  await store.deletePool("pool-007");
  const listed = (await store.listPools()).map(({ id }) => id);
  expect(listed).toEqual(ids.filter((id) => id !== "pool-007"));
});

/** A reader of the list of records, in the shape that `Bucket` gives it. */
interface Reader {
  readonly pending: number;
  readonly read: (count: number, timeoutMs: number) => Promise<readonly JsMsg[]>;
}

function isReader(answer: unknown): answer is Reader {
  return typeof answer === "object" && answer !== null && "read" in answer;
}

/** The way to servers of which those that the first readers come to have not heard of the newest record yet. */
class LaggingLink {
  readonly #link: NatsLink;
  lagging: number;

  constructor(link: NatsLink, lagging: number) {
    this.#link = link;
    this.lagging = lagging;
  }

  ask: NatsLink["ask"] = async (budget, what, work) => {
    const answer = await this.#link.ask(budget, what, work);
    if (!isReader(answer) || this.lagging === 0) return answer;
    this.lagging -= 1;
    const { pending, read } = answer;
    const behind = async (count: number, timeoutMs: number): Promise<readonly JsMsg[]> => {
      const messages = await read(count, timeoutMs);
      return messages.map((message) => Object.create(message, { info: { value: { ...message.info, pending: 0 } } }));
    };
    return { ...answer, pending: pending - 1, read: behind };
  };
}

test("a list that came from a server which is behind is asked for again, and never given", async () => {
  await using store = await openTestKv(servers, { prefix: "LAG" });
  const ids = Array.from({ length: 60 }, (_, at) => `pool-${at}`);
  await Promise.all(ids.map(async (id) => await store.createPool(newPool(id))));
  const link = new NatsLink(kvTarget(servers), KV_DEPS);
  try {
    const patience = (): Budget => new Budget(KV_DEPS.clock, PATIENT_MS);
    const listed = async (lagging: number): Promise<number> =>
      (await new Bucket(new LaggingLink(link, lagging), "LAG", "pool").list(patience, ">")).length;
    expect(await listed(1)).toBe(60);
    await expect(listed(100)).rejects.toMatchObject({ code: "FULA_CONTROL_PLANE_UNREACHABLE" });
  } finally {
    await link.close();
  }
});

/** The buckets of pools, as a store has them. */
function poolsOf(link: NatsLink, prefix: string, member: Bucket<"member">): Pools {
  const [pool, index, epoch] = [
    new Bucket(link, prefix, "pool"),
    new Bucket(link, prefix, "index"),
    new Bucket(link, prefix, "epoch"),
  ];
  return new Pools({ pool, member, index, epoch }, KV_DEPS);
}

/** The bucket of members, with something that happens right after its first reading. */
class Interrupted extends Bucket<"member"> {
  meanwhile: (() => Promise<void>) | null = null;

  override async get(...question: Parameters<Bucket<"member">["get"]>): ReturnType<Bucket<"member">["get"]> {
    const answer = await super.get(...question);
    const { meanwhile } = this;
    this.meanwhile = null;
    await meanwhile?.();
    return answer;
  }
}

test("an entry of the index that is taken back takes neither the pool's end nor a member's note amiss", async () => {
  await using store = await openTestKv(servers, { prefix: "BACK" });
  const link = new NatsLink(kvTarget(servers), KV_DEPS);
  try {
    const members = new Interrupted(link, "BACK", "member");
    const pools = poolsOf(link, "BACK", members);
    await pools.retract(link.budget(PATIENT_MS), "gone", endpointOf("fula-1"));
    await store.createPool(newPool("masters"));
    await store.addMember(newMember("masters", "fula-1"), []);
    await store.rekey({ pool: "masters", expectedEpoch: 0, sealed: sealedTo(["fula-1"]) });
    members.meanwhile = async () => await store.noteApplied("masters", endpointOf("fula-1"), 1);
    await pools.retract(link.budget(PATIENT_MS), "masters", endpointOf("fula-1"));
    expect(await store.getMember("masters", endpointOf("fula-1"))).toMatchObject({ appliedEpoch: 1 });
  } finally {
    await link.close();
  }
});

test("a pool that no longer fits into a record is refused, and stays as it is", async () => {
  await using store = await openTestKv(servers, { prefix: "LARGE" });
  await store.createPool(newPool("masters"));
  const names = Array.from({ length: 20 }, (_, at) => `fula-${at}`);
  for (const name of names) await store.addMember(newMember("masters", name), []);
  const sealed = sealedTo(names, "x".repeat(45_000));
  await expect(store.rekey({ pool: "masters", expectedEpoch: 0, sealed })).rejects.toMatchObject({
    code: "FULA_MEMBERSHIP_INVALID",
    message: expect.stringContaining("too large"),
  });
  expect(await store.getPool("masters")).toMatchObject({ epoch: 0 });
});

test("an import that has failed writes nothing afterwards", async () => {
  await using store = await openTestKv(servers, { prefix: "CUT" });
  const pools = Array.from({ length: 64 }, (_, at) => newPool(`pool-${at}`));
  let told = 0;
  const onProgress = (): void => {
    told += 1;
    if (told === 1) throw new Error("cut off");
  };
  await expect(store.importSnapshot({ ...EMPTY_SNAPSHOT, pools }, { onProgress })).rejects.toThrow("cut off");
  expect((await store.exportSnapshot()).pools.length).toBeLessThan(pools.length);
});
