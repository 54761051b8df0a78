import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { systemClock } from "../../../src/lib/kernel/clock.ts";
import {
  listControlPlaneRoutes,
  listFederationNodes,
  mastersOf,
  type NodeRegistration,
  noteControlPlaneRoute,
  noteNodeSeen,
  registerNode,
  removeNode,
  removeOwnNode,
} from "../../../src/lib/membership/federation-nodes.ts";
import { makePeer, makeRegistration, PEER_IDS } from "../../support/federation.ts";
import { freshDatabase, type TestDatabase } from "../../support/postgres.ts";

let database: TestDatabase;

beforeEach(async () => {
  database = await freshDatabase();
});
afterEach(async () => {
  await database.drop();
});

async function register(changes: Partial<NodeRegistration> = {}): Promise<void> {
  await registerNode(database.pool, makeRegistration(changes), { clock: systemClock });
}

const SECOND = {
  name: "master-2",
  clusterPeerId: PEER_IDS.other,
  clusterAddresses: [],
  signingKey: `ed25519:${"cd".repeat(32)}`,
};

describe("the boxes of a federation", () => {
  test("are those that have written themselves down, and again changes nothing but what is new", async () => {
    await register();
    await register({ version: "0.2.0" });
    const nodes = await listFederationNodes(database.pool);
    expect(nodes).toMatchObject([{ ...makeRegistration(), version: "0.2.0" }]);
  });

  test("of another cluster id have no place in this ledger", async () => {
    await register();
    await expect(register({ ...SECOND, clusterId: "ffffffff-9d54-4b52-8ff5-0a4f5c1d2e3f" })).rejects.toMatchObject({
      code: "FULA_FEDERATION_FOREIGN",
    });
  });

  test("have a name each: another box of the same one is refused until the first is forgotten", async () => {
    await register();
    const twin = { ...SECOND, name: "master-1" };
    await expect(register(twin)).rejects.toMatchObject({ code: "FULA_NODE_NAME_TAKEN" });
    expect(await removeNode(database.pool, "master-1")).toMatchObject({ clusterPeerId: PEER_IDS.cluster });
    await register(twin);
    expect(await removeNode(database.pool, "nobody")).toBeNull();
  });

  test("take themselves out when they leave, and never another box of their name", async () => {
    await register();
    const { name, signingKey } = makeRegistration();
    expect(await removeOwnNode(database.pool, { name, signingKey: SECOND.signingKey })).toBe(false);
    expect(await removeOwnNode(database.pool, { name, signingKey: null })).toBe(false);
    expect(await removeOwnNode(database.pool, { name, signingKey })).toBe(true);
    expect(await listFederationNodes(database.pool)).toEqual([]);
  });

  test("that get a new name, or a new peer id, are still one box", async () => {
    await register();
    await register({ name: "renamed" });
    await register({ name: "renamed", clusterPeerId: PEER_IDS.other });
    expect((await listFederationNodes(database.pool)).map(({ name }) => name)).toEqual(["renamed"]);
  });

  test("of one name that join at the same time: one is written down, the others are refused", async () => {
    const keys = Array.from({ length: 6 }, (_, index) => `ed25519:${String(index).repeat(64)}`);
    const outcomes = await Promise.allSettled(
      keys.map(async (signingKey) => await register({ signingKey, clusterPeerId: null })),
    );
    expect(outcomes.filter(({ status }) => status === "fulfilled")).toHaveLength(1);
    for (const outcome of outcomes) {
      if (outcome.status === "rejected") expect(outcome.reason).toMatchObject({ code: "FULA_NODE_NAME_TAKEN" });
    }
  });

  test("that can be reached as masters are those with a cluster peer, an address and that role", async () => {
    await register();
    await register(SECOND);
    await register({ name: "box", role: "storage", clusterPeerId: "12D3KooWstorage", signingKey: null });
    const signingKey = makeRegistration().signingKey;
    expect(mastersOf(await listFederationNodes(database.pool))).toEqual([makePeer({ signingKey })]);
  });

  test("are seen alive when they say so, and not when another box of their name does", async () => {
    await register();
    await database.pool.query("update federation_nodes set seen_at = now() - interval '1 day'");
    const { name, signingKey } = makeRegistration();
    expect(await noteNodeSeen(database.pool, { name, signingKey: SECOND.signingKey })).toBe(false);
    expect(await noteNodeSeen(database.pool, { name, signingKey: null })).toBe(false);
    expect(await noteNodeSeen(database.pool, { name: "nobody", signingKey })).toBe(false);
    const [before] = await listFederationNodes(database.pool);
    expect(Date.parse(before?.seenAt ?? "")).toBeLessThan(Date.parse(before?.joinedAt ?? "") - 60_000);
    expect(await noteNodeSeen(database.pool, { name, signingKey })).toBe(true);
    const [node] = await listFederationNodes(database.pool);
    expect(Date.parse(node?.seenAt ?? "")).toBeGreaterThan(Date.parse(node?.joinedAt ?? "") - 60_000);
  });
});

describe("a master's server of the control plane", () => {
  const route = "192.0.2.7:6222";
  const own = { name: makeRegistration().name, signingKey: makeRegistration().signingKey };

  test("is found by its route once it has written that down, and stays so when the master registers anew", async () => {
    await register();
    expect(await listControlPlaneRoutes(database.pool)).toEqual([]);
    expect(await noteControlPlaneRoute(database.pool, own, route)).toBe(true);
    expect(await noteControlPlaneRoute(database.pool, own, route)).toBe(false);
    await register({ version: "0.2.0" });
    expect(await listControlPlaneRoutes(database.pool)).toEqual([{ name: own.name, route }]);
    expect(await noteControlPlaneRoute(database.pool, own, null)).toBe(true);
    expect(await listControlPlaneRoutes(database.pool)).toEqual([]);
  });

  test("is nobody's to write down but that master's own, and only as host and port", async () => {
    await register();
    const stranger = { ...own, signingKey: `ed25519:${"0".repeat(64)}` };
    expect(await noteControlPlaneRoute(database.pool, stranger, route)).toBe(false);
    await expect(noteControlPlaneRoute(database.pool, own, "nats://a b")).rejects.toThrow(
      /federation_nodes_route_form/,
    );
    expect(await noteControlPlaneRoute(database.pool, own, "[2001:db8::7]:6222")).toBe(true);
  });
});
