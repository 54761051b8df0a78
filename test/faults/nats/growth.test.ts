import { appendFileSync } from "node:fs";
import { Kvm } from "@nats-io/kv";
import { expect, test } from "vitest";
import { systemClock } from "../../../src/lib/kernel/clock.ts";
import { Secret } from "../../../src/lib/kernel/secret.ts";
import { connectNats } from "../../../src/lib/membership/kv/connect.ts";
import { type Growth, type GrowthWish, planGrowth, raiseReplicas } from "../../../src/lib/membership/kv/grow.ts";
import { handLeadOn, removePeer } from "../../../src/lib/membership/kv/peers.ts";
import { readLoadedServers, reloadServer } from "../../../src/lib/membership/kv/reload.ts";
import { type ClusterView, readClusterView } from "../../../src/lib/membership/kv/state.ts";
import { type NatsServers, startNatsServers } from "../../support/nats-servers.ts";
import { until } from "../../support/until.ts";

const TIMEOUT_MS = 20_000;
const BUCKET = "FULA_rooms";
/** A server is taken in, its bucket copied, another one's lead handed on, and that one taken out. */
const GROWING_MS = 180_000;

/** What a master's caretaker does to its servers, a step at a time. */
class Caretaker {
  readonly #servers: NatsServers;
  readonly #at: number;
  readonly #wish: GrowthWish;

  constructor(servers: NatsServers, at: number, witness: string | null) {
    this.#servers = servers;
    this.#at = at;
    this.#wish = { buckets: [BUCKET], replicas: 0, witness };
  }

  async connect(who: "user" | "system") {
    const address = this.#servers.servers[this.#at]?.url ?? "";
    const nkeySeed = new Secret(this.#servers[who].seed);
    return { connection: await connectNats({ servers: [address], nkeySeed, ca: null }, TIMEOUT_MS), address };
  }

  async look(): Promise<ClusterView> {
    const { connection, address } = await this.connect("system");
    try {
      return await readClusterView(connection, { prefix: "FULA", timeoutMs: TIMEOUT_MS, address }, systemClock);
    } finally {
      await connection.close();
    }
  }

  async dismiss(how: Growth["dismiss"]): Promise<void> {
    const { connection, address } = await this.connect("system");
    const target = { timeoutMs: TIMEOUT_MS, address };
    try {
      if (how === "lead") await handLeadOn(connection, target);
      if (how === "member") await removePeer(connection, this.#wish.witness ?? "", target);
    } finally {
      await connection.close();
    }
  }

  async step(): Promise<Growth> {
    const growth = planGrowth(await this.look(), this.#wish);
    const { connection, address } = await this.connect("user");
    for (const each of growth.raise) await raiseReplicas(connection, each, { timeoutMs: TIMEOUT_MS, address });
    await connection.close();
    await this.dismiss(growth.dismiss);
    return growth;
  }
}

function serverAt({ servers }: NatsServers, at: number) {
  const server = servers[at];
  if (server === undefined) throw new Error(`there is no server ${at}`);
  return server;
}

test("a master and its witness grow to three masters, server by server, while what was written stays and is served", async () => {
  const WITNESS = 1;
  // Each knows those that were there before it, as `join` has it; the witness is told of the others later.
  const routes = [[1], [0], [0, 1], [0, 1, 2]];
  await using all = await startNatsServers(4, { start: false, routesOf: (at) => routes[at] ?? [] });
  const witness = serverAt(all, WITNESS);
  const caretaker = new Caretaker(all, 0, witness.name);
  await Promise.all([serverAt(all, 0).process.start(), witness.process.start()]);
  await until("two servers elect", async () => {
    const view = await caretaker.look().catch(() => null);
    return view?.metaLeader != null && view.members.every(({ current }) => current);
  });
  const { connection } = await caretaker.connect("user");
  const kv = await until(
    "the bucket is made",
    async () => await new Kvm(connection).create(BUCKET, { replicas: 1 }).catch(() => null),
  );
  await kv.put("a", "from the beginning");
  const growth = await until("a look at both", async () => {
    const step = await caretaker.step().catch(() => null);
    return step?.waits === null ? step : null;
  });
  expect(growth).toEqual({ raise: [], dismiss: null, waits: null });

  await serverAt(all, 2).process.start();
  // Servers that take others in may elect anew, and answer nobody meanwhile: the next step goes on.
  await until("three servers hold the bucket", async () => {
    await caretaker.step().catch(() => null);
    const [stream] = (await caretaker.look().catch(() => null))?.streams ?? [];
    return stream?.replicas === 3 && stream.peers.length === 2 && stream.peers.every(({ current }) => current);
  });
  await until("a write is taken", async () => await kv.put("b", "with two masters").catch(() => null));

  await serverAt(all, 3).process.start();
  await until(
    "the witness is out",
    async () => (await caretaker.step().catch(() => null))?.dismiss === "server",
    GROWING_MS,
  );
  await witness.process.stop();
  const wanted = [0, 2, 3].map((at) => serverAt(all, at).name);
  const view = await until("the others know one leader", async () => {
    const seen = await caretaker.look().catch(() => null);
    if (seen === null || seen.metaLeader === null) return null;
    const names = [seen.metaLeader, ...seen.members.map(({ name }) => name)].toSorted((a, b) => (a < b ? -1 : 1));
    expect(names).toEqual(wanted);
    return seen;
  });
  expect(view.streams[0]).toMatchObject({ replicas: 3 });

  // Whichever of the three is gone now, the other two go on.
  await serverAt(all, 3).process.kill();
  await until("a write is taken by two of three", async () => await kv.put("c", "of two").catch(() => null));
  // Any of them answers, also one that has heard of a write and not taken it in yet.
  const kept = ["from the beginning", "with two masters", "of two"].join("; ");
  await until("all that was written is read", async () => {
    const read = async (key: string): Promise<string | undefined> => (await kv.get(key))?.string();
    const found = await Promise.all(["a", "b", "c"].map(read)).catch(() => []);
    return found.join("; ") === kept;
  });
  await connection.close();
});

test("a server reads its files anew when it is told to, and says why it will not", async () => {
  await using all = await startNatsServers(1);
  const server = serverAt(all, 0);
  const { connection, address } = await new Caretaker(all, 0, null).connect("system");
  const target = { timeoutMs: TIMEOUT_MS, address };
  const [before] = await readLoadedServers(connection, target);
  if (before === undefined) throw new Error("no server answers");
  expect(before.name).toBe(server.name);
  appendFileSync(server.configPath, "\ndebug: true\n");
  await reloadServer(connection, before, target);
  await until("it says so", async () => server.process.log.includes("Reloaded server configuration"));
  const [after] = await readLoadedServers(connection, target);
  expect(after?.loadedAtMs).toBeGreaterThan(before.loadedAtMs);
  appendFileSync(server.configPath, "\n}{\n");
  await expect(reloadServer(connection, before, target)).rejects.toMatchObject({
    code: "FULA_CONTROL_PLANE_FILES",
    message: expect.stringContaining(server.name),
  });
  await connection.close();
});
