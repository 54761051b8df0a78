import { describe, expect, test } from "vitest";
import { type LoadedConfig, loadConfig, type Overrides } from "../../../src/lib/config/load.ts";
import { Secret } from "../../../src/lib/kernel/secret.ts";
import type { JoinBundle } from "../../../src/lib/membership/join-bundle.ts";
import type { Installation } from "../../../src/lib/stack/installation.ts";
import {
  assertSameInstallation,
  assertStoresFit,
  decisions,
  type DecisionFacts,
  isWriterGiven,
} from "../../../src/lib/stack/join-decisions.ts";
import { boxWith } from "../../support/config.ts";

const CLUSTER = "0195d3c4-0000-7000-8000-000000000001";
const PEER = `12D3KooW${"A".repeat(44)}`;
const KUBO = `12D3KooW${"B".repeat(44)}`;
const KEY = `ed25519:${"a".repeat(64)}`;

async function load(yaml: string, overrides: Overrides = {}, env: Record<string, string> = {}): Promise<LoadedConfig> {
  return await loadConfig(boxWith({ yaml }, env), overrides);
}

async function decide(
  facts: Partial<DecisionFacts> & { readonly yaml?: string; readonly overrides?: Overrides } = {},
): Promise<Record<string, unknown>> {
  const { yaml = "{}\n", overrides = {}, ...rest } = facts;
  const decided = decisions({
    first: await load(yaml, overrides),
    choice: { runtime: "docker", reason: "" },
    clusterId: CLUSTER,
    writer: null,
    bundle: null,
    hasGatewayImage: false,
    ...rest,
  });
  return Object.fromEntries(Object.entries(decided).map(([key, override]) => [key, override?.value]));
}

const bundle: JoinBundle = {
  clusterId: CLUSTER,
  issuer: "m1",
  secrets: {
    systemKey: new Secret("s".repeat(64)),
    jwtSecret: new Secret("j".repeat(64)),
    sessionSecret: new Secret("e".repeat(64)),
    encryptionKey: new Secret("c".repeat(64)),
    clusterSecret: new Secret("d".repeat(64)),
    swarmKey: new Secret("a".repeat(64)),
    otherMasterSecrets: null,
  },
  epochs: { masters: null, cluster: null, swarm: null },
  controlPlane: { mode: "sqlite" },
  masters: [
    {
      name: "m1",
      clusterPeerId: PEER,
      clusterAddresses: [`/ip4/192.0.2.1/tcp/9096/p2p/${PEER}`],
      kuboPeerId: KUBO,
      kuboAddresses: [`/ip4/192.0.2.1/tcp/4001/p2p/${KUBO}`],
      signingKey: KEY,
    },
  ],
  replication: { min: 2, max: 4 },
  trustedKeys: [],
};

describe("what join decides", () => {
  test("for the first master on Docker: everything in containers, and pins that a cluster of one can take", async () => {
    expect(await decide()).toEqual({
      runtime: "docker",
      "node.clusterId": CLUSTER,
      "postgres.mode": "docker",
      "blocks.mode": "docker",
      "cluster.mode": "docker",
      "gateway.mode": "own",
      "sweep.replMin": 1,
      "cluster.replicationMin": 1,
      "controlPlane.mode": "docker",
      "controlPlane.witness": true,
    });
  });

  test("for a further master: one server of the control plane, which joins those of the masters in the token", async () => {
    const routes = ["192.0.2.1:6222"];
    const ca = { certificate: "a certificate", key: new Secret("a key") };
    const decided = await decide({ bundle: { ...bundle, controlPlane: { mode: "docker", routes, ca } } });
    expect(decided).toMatchObject({
      "controlPlane.mode": "docker",
      "controlPlane.witness": false,
      "controlPlane.routes": routes,
      "controlPlane.joining": true,
    });
    expect(await decide({ bundle })).toMatchObject({ "controlPlane.mode": "sqlite" });
    const servers = ["tls://nats.example.org:4222"];
    const external = await decide({ bundle: { ...bundle, controlPlane: { mode: "nats", servers, ca: null } } });
    expect(external).toMatchObject({ "controlPlane.servers": servers });
    expect(external).not.toHaveProperty("controlPlane.witness");
  });

  test("a further master without containers is told of the servers that it lacks before its token is used, or says out loud that it keeps to itself", async () => {
    const ca = { certificate: "a certificate", key: new Secret("a key") };
    const facts = {
      bundle: { ...bundle, controlPlane: { mode: "docker", routes: ["192.0.2.1:6222"], ca } },
      choice: { runtime: "external", reason: "" },
    } as const;
    await expect(decide(facts)).rejects.toMatchObject({ code: "FULA_USAGE", hint: expect.stringContaining("sqlite") });
    const alone = await decide({ ...facts, yaml: "controlPlane: { mode: sqlite }\n" });
    expect(Object.keys(alone).filter((key) => key.startsWith("controlPlane."))).toEqual([]);
  });

  test("a witness that was taken out does not come back with the next join", async () => {
    const yaml = "controlPlane: { mode: docker, witness: false }\n";
    expect(await decide({ yaml })).not.toHaveProperty("controlPlane.witness");
  });

  test("for an embedded master what it always did, so that an older one is left as it is", async () => {
    expect(await decide({ choice: { runtime: "embedded", reason: "" } })).toEqual({
      runtime: "embedded",
      "node.clusterId": CLUSTER,
      "postgres.mode": "embedded",
      "sweep.replMin": 1,
    });
  });

  test("the existing gateway keeps its container where its image is here, unless the operator says otherwise", async () => {
    expect((await decide({ hasGatewayImage: true }))["gateway.mode"]).toBe("container");
    expect(await decide({ hasGatewayImage: true, yaml: "gateway:\n  mode: own\n" })).not.toHaveProperty("gateway.mode");
  });

  test("a writer that was found is adopted, with the factors that its fleet has", async () => {
    const writer = { kuboApi: "/ip4/127.0.0.1/tcp/5001", clusterApi: "/ip4/127.0.0.1/tcp/9094", found: "units" };
    const decided = await decide({ writer });
    expect(decided).toMatchObject({
      "blocks.mode": "kubo",
      "cluster.mode": "rest",
      "blocks.kuboApi": writer.kuboApi,
      "cluster.api": writer.clusterApi,
    });
    expect(decided).not.toHaveProperty("sweep.replMin");
  });

  test("--kubo-api and --cluster-api adopt; a port that --set moves is still our own container's", async () => {
    const adopted = { "blocks.kuboApi": { flag: "--kubo-api", value: "/ip4/127.0.0.1/tcp/15001" } };
    expect(await decide({ overrides: adopted })).toMatchObject({ "blocks.mode": "kubo" });
    const moved = await decide({
      yaml: "blocks:\n  mode: docker\n  kuboApi: /ip4/127.0.0.1/tcp/15001\n",
      overrides: { "cluster.mode": { flag: "--set", value: "docker" } },
    });
    expect(moved).toMatchObject({ "blocks.mode": "docker", "cluster.mode": "docker" });
  });

  test("a token brings masters, trust, factors and keys", async () => {
    const yaml = "postgres:\n  host: db.example\n";
    expect(await decide({ bundle, yaml })).toMatchObject({
      "postgres.mode": "external",
      "cluster.trustedPeers": [PEER],
      "cluster.bootstrap": bundle.masters[0]?.clusterAddresses,
      "kubo.peers": bundle.masters[0]?.kuboAddresses,
      "cluster.replicationMin": 2,
      "cluster.replicationMax": 4,
      "sweep.replMin": 2,
      "snapshot.trustedKeys": [KEY],
    });
  });

  test("a token sets nothing in a peer that is adopted: it is not ours", async () => {
    const overrides = {
      "blocks.kuboApi": { flag: "--kubo-api", value: "/ip4/127.0.0.1/tcp/5001" },
      "cluster.api": { flag: "--cluster-api", value: "/ip4/127.0.0.1/tcp/9094" },
    };
    expect(await decide({ bundle, overrides })).not.toHaveProperty("cluster.trustedPeers");
  });
});

test("a writer is given where both of its addresses are, and not where they are ports of our own containers", async () => {
  const addresses = "blocks:\n  kuboApi: /ip4/10.0.0.1/tcp/5001\ncluster:\n  api: /ip4/10.0.0.1/tcp/9094\n";
  expect(isWriterGiven(await load(addresses))).toBe(true);
  expect(isWriterGiven(await load("blocks:\n  kuboApi: /ip4/10.0.0.1/tcp/5001\n"))).toBe(false);
  const own = addresses
    .replace("blocks:\n", "blocks:\n  mode: docker\n")
    .replace("cluster:\n", "cluster:\n  mode: docker\n");
  expect(isWriterGiven(await load(own))).toBe(false);
});

test.each([
  ["local", "local", true],
  ["docker", "docker", true],
  ["kubo", "rest", true],
  ["kubo", "docker", false],
  ["docker", "rest", false],
  ["local", "rest", false],
])("blocks in %s and a pinset in %s belong together: %s", async (blocks, cluster, fit) => {
  const loaded = await load(`blocks:\n  mode: ${blocks}\ncluster:\n  mode: ${cluster}\n`);
  const check = (): void => {
    assertStoresFit(loaded);
  };
  if (fit) expect(check).not.toThrow();
  else expect(check).toThrow(expect.objectContaining({ code: "FULA_USAGE" }));
});

describe("a joined master", () => {
  const installation: Installation = {
    format: 1,
    clusterId: CLUSTER,
    createdAt: "2026-11-20T00:00:00Z",
    createdBy: "0.1.0",
    changedBy: "0.1.0",
    made: ["ledger", "pinset"],
  };

  test.each([
    ["its ledger", "postgres:\n  mode: docker\n", "postgres:\n  mode: external\n"],
    ["its pinset", "cluster:\n  mode: docker\n", "cluster:\n  mode: rest\n"],
    ["its project", "docker:\n  project: a\n", "docker:\n  project: b\n"],
  ])("does not move %s to another place", async (_, had, wants) => {
    const [saved, wanted] = [await load(had), await load(wants)];
    expect(() => {
      assertSameInstallation(installation, null, wanted, saved);
    }).toThrow(expect.objectContaining({ code: "FULA_JOIN_CONFLICT" }));
    expect(() => {
      assertSameInstallation({ ...installation, made: [] }, null, wanted, saved);
    }).not.toThrow();
  });

  test("whose settings were lost is not refused for what nobody wrote", async () => {
    const wanted = await load("postgres:\n  mode: docker\ncluster:\n  mode: docker\n");
    const saved = await load("{}\n");
    expect(() => {
      assertSameInstallation(installation, null, wanted, saved);
    }).not.toThrow();
  });
});
