import { jetstream, StorageType } from "@nats-io/jetstream";
import { Kvm } from "@nats-io/kv";
import { connect, type NatsConnection, nkeyAuthenticator } from "@nats-io/transport-node";
import { expect, test } from "vitest";
import { systemClock } from "../../../src/lib/kernel/clock.ts";
import { type ClusterView, readClusterView } from "../../../src/lib/membership/kv/state.ts";
import { startNatsServers, type NatsServer, type NatsServers, type NatsUser } from "../../support/nats-servers.ts";
import { until } from "../../support/until.ts";

const ADDRESS = "nats://test";
/** What a busy machine may take for one question. */
const PATIENT_MS = 20_000;

async function login(urls: readonly string[], user: NatsUser, stack: AsyncDisposableStack): Promise<NatsConnection> {
  const authenticator = nkeyAuthenticator(new TextEncoder().encode(user.seed));
  const connection = await connect({ servers: [...urls], authenticator, reconnect: false });
  stack.defer(async () => {
    await connection.close();
  });
  return connection;
}

async function look(system: NatsConnection): Promise<ClusterView> {
  return await readClusterView(system, { prefix: "FULA", timeoutMs: PATIENT_MS, address: ADDRESS }, systemClock);
}

function serverNamed({ servers }: NatsServers, name: string): NatsServer {
  const found = servers.find((server) => server.name === name);
  if (found === undefined) throw new Error(`no server ${name}`);
  return found;
}

test("three servers tell who leads, who has what, how they sync, who went away, and that one alone leads nobody", async () => {
  await using stack = new AsyncDisposableStack();
  const nats = stack.use(await startNatsServers(3));
  const [first = "", ...others] = nats.urls;
  const user = await login([first, ...others], nats.user, stack);
  const formed = await until("a bucket on three servers", async () => {
    // One that is asked before a server has met the leader is lost: it is asked again soon.
    const client = jetstream(user, { timeout: 2_000 });
    const kv = await new Kvm(client).create("FULA_users", { replicas: 3, allow_direct: false }).catch(() => null);
    return kv === null ? null : await kv.put("a", "b").catch(() => null);
  });
  expect(formed).toBeGreaterThan(0);
  const system = await login([first], nats.system, stack);
  // Whoever answers much later than the others is not waited for.
  const { view, tookMs } = await until("all servers answer, and all replicas are current", async () => {
    const askedMs = systemClock.monotonicMs();
    const seen = await look(system);
    const [stream] = seen.streams;
    const isWhole = stream?.peers.length === 2 && stream.peers.every(({ current }) => current);
    const areThere = seen.servers.length === 3 && seen.metaLeader !== null && seen.members.length === 2;
    return isWhole && areThere ? { view: seen, tookMs: systemClock.monotonicMs() - askedMs } : null;
  });
  const names = nats.servers.map(({ name }) => name);
  expect(view.servers).toEqual(
    names.map((name) => ({ name, version: "2.15.2", syncAlways: true, clockOffsetMs: expect.any(Number) })),
  );
  // They have one clock; when in the time of the question each has read it, is not known.
  expect(view.servers.every(({ clockOffsetMs }) => Math.abs(clockOffsetMs ?? Number.NaN) < 1_000 + tookMs)).toBe(true);
  expect(view.clustered).toBe(true);
  expect(new Set([view.metaLeader, ...view.members.map(({ name }) => name)])).toEqual(new Set(names));
  expect(view.streams).toMatchObject([{ bucket: "FULA_users", replicas: 3, storage: "file", directGets: false }]);

  const connected = nats.servers[0]?.name;
  const follower = names.find((name) => name !== connected && name !== view.metaLeader) ?? "";
  await serverNamed(nats, follower).process.stop();
  const after = await until("the leader tells who went", async () => {
    const seen = await look(system);
    return seen.members.some(({ offline }) => offline) && seen.metaLeader !== null ? seen : null;
  });
  expect(after.servers.map(({ name }) => name)).not.toContain(follower);
  expect(after.members.find(({ offline }) => offline)).toMatchObject({ name: follower, current: false });

  // The survivor may have led, and goes on saying so: nobody is heard who agrees.
  const last = nats.servers.filter(({ name }) => name !== connected && name !== follower);
  await Promise.all(last.map(async ({ process }) => await process.kill()));
  const alone = await look(system);
  expect([alone.servers.map(({ name }) => name), alone.metaLeader]).toEqual([[connected], null]);
});

test("a server alone that syncs when it likes, and a bucket in memory with direct gets, are told as they are", async () => {
  await using stack = new AsyncDisposableStack();
  const nats = stack.use(await startNatsServers(1, { syncInterval: null }));
  const user = await login(nats.urls, nats.user, stack);
  await new Kvm(user).create("FULA_users", { storage: StorageType.Memory, allow_direct: true });
  await new Kvm(user).create("OTHER_users", {});
  const system = await login(nats.urls, nats.system, stack);
  const view = await look(system);
  expect(view).toMatchObject({ clustered: false, metaLeader: null, members: [] });
  expect(view.servers).toMatchObject([{ syncAlways: false }]);
  const name = view.servers[0]?.name;
  expect(view.streams).toEqual([
    { bucket: "FULA_users", leader: name, replicas: 1, peers: [], storage: "memory", directGets: true },
  ]);
});

test("who is not of the system account gets no view, and is told so", async () => {
  await using stack = new AsyncDisposableStack();
  const nats = stack.use(await startNatsServers(1));
  const user = await login(nats.urls, nats.user, stack);
  await expect(look(user)).rejects.toMatchObject({ code: "FULA_CONTROL_PLANE_UNREACHABLE" });
});
