import { expect, test } from "vitest";
import { readStack } from "../../../src/lib/stack/docker-stack.ts";
import { stackServices, stackValues } from "../../../src/lib/stack/stack-values.ts";
import { loadedBox } from "../../support/schedules.ts";

const PEER = `12D3KooW${"A".repeat(44)}`;

test("a box has containers for what it runs itself, and for nothing that it adopted", async () => {
  const services = async (yaml: string) => stackServices((await loadedBox({ yaml })).config);
  expect(await services("runtime: docker\n")).toEqual(["postgres", "kubo", "cluster", "nats"]);
  expect(await services("runtime: docker\npostgres:\n  mode: external\n")).toEqual(["kubo", "cluster", "nats"]);
  const first = "runtime: docker\ncontrolPlane: { witness: true }\n";
  expect(await services(first)).toEqual(["postgres", "kubo", "cluster", "nats", "nats-witness"]);
  const elsewhere = "runtime: docker\ncontrolPlane: { servers: [nats://192.0.2.1:4222] }\n";
  expect(await services(elsewhere)).toEqual(["postgres", "kubo", "cluster"]);
  expect(await services("runtime: docker\ngateway:\n  mode: container\n")).toContain("gateway");
  expect(await services("runtime: docker\nnode:\n  role: storage\n")).toEqual(["kubo", "cluster"]);
  expect(await services("runtime: embedded\npostgres:\n  mode: docker\n")).toEqual([]);
});

test("the default project has the fleet's container names, another one names of its own", async () => {
  const names = async (yaml: string) => {
    const values = stackValues(await loadedBox({ yaml }));
    return [values["POSTGRES_CONTAINER"], values["KUBO_CONTAINER"], values["CLUSTER_CONTAINER"]];
  };
  expect(await names("runtime: docker\n")).toEqual(["postgres-pinning", "ipfs_host", "ipfs_cluster"]);
  expect(await names("runtime: docker\ndocker:\n  project: other\n")).toEqual([
    "other-postgres-1",
    "other-kubo-1",
    "other-cluster-1",
  ]);
});

test.each([
  ["192.0.2.1", "/ip4/192.0.2.1"],
  ["2001:db8::1", "/ip6/2001:db8::1"],
  ["m1.example.org", "/dns/m1.example.org"],
])("%s is announced as %s with the ports that are published", async (announce, host) => {
  const yaml = `node:\n  announce: "${announce}"\nkubo:\n  swarmPort: 14001\ncluster:\n  swarmPort: 19096\n`;
  expect(stackValues(await loadedBox({ yaml }))).toMatchObject({
    KUBO_ANNOUNCE: `${host}/tcp/14001,${host}/udp/14001/quic-v1`,
    CLUSTER_ANNOUNCE: `${host}/tcp/19096`,
  });
});

test("the rendered file has the masters that are trusted, and no secret", async () => {
  const yaml = `runtime: docker\ncluster:\n  trustedPeers: [${PEER}]\n  bootstrap: [/ip4/192.0.2.1/tcp/9096/p2p/${PEER}]\n`;
  const secret = "5".repeat(64);
  const stack = await readStack(
    await loadedBox({ yaml, env: `CLUSTER_SECRET=${secret}\nPOSTGRES_PASSWORD=hunter2!\n` }),
  );
  const cluster = stack.project.services.find(({ name }) => name === "cluster");
  expect(JSON.stringify(cluster?.environment)).toContain(PEER);
  const [compose, ...others] = stack.files;
  expect(compose?.content).not.toContain(secret);
  expect(compose?.content).not.toContain("hunter2!");
  const file = others.find(({ path }) => path.endsWith("secrets/cluster_secret"));
  expect(file).toMatchObject({ content: secret, mode: 0o400, owner: { uid: 1_000, gid: 100 } });
});
