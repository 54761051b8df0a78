import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { expect, test } from "vitest";
import { type CliRun, runCliForTest } from "../../support/cli.ts";
import { boxWith } from "../../support/config.ts";
import { CLUSTER_ID } from "../../support/federation.ts";
import { markJoined } from "../../support/joined.ts";
import { openTestKv } from "../../support/kv-stores.ts";
import { makeState } from "../../support/membership-state.ts";
import { type NatsServers, startNatsServers } from "../../support/nats-servers.ts";

const STATE = makeState({ pools: 3, members: 4, epochs: 2 });
const WITNESS = 3;

/** A master beside the first server, whose settings name that one alone. */
async function makeMaster(nats: NatsServers): Promise<(...args: readonly string[]) => Promise<CliRun>> {
  const settings = {
    node: { name: "fula-test", role: "master", clusterId: CLUSTER_ID },
    controlPlane: {
      mode: "nats",
      servers: nats.urls.slice(0, 1),
      nkeyFile: "user.nk",
      systemNkeyFile: "system.nk",
      timeout: "10s",
    },
  };
  const { baseDir } = boxWith({});
  const inBox = (name: string): string => join(baseDir, name);
  const { nkeyFile, systemNkeyFile } = settings.controlPlane;
  const controlPlane = { ...settings.controlPlane, nkeyFile: inBox(nkeyFile), systemNkeyFile: inBox(systemNkeyFile) };
  // JSON is YAML.
  await writeFile(inBox("fula-master.yaml"), JSON.stringify({ ...settings, controlPlane }));
  await writeFile(inBox(nkeyFile), nats.user.seed, { mode: 0o600 });
  await writeFile(inBox(systemNkeyFile), nats.system.seed, { mode: 0o600 });
  markJoined(baseDir, CLUSTER_ID);
  return async (...args) => await runCliForTest(["membership", "peer", ...args], { baseDir });
}

test("one server of three goes on alone with every record, once it is told that the others are gone for good", async () => {
  await using nats = await startNatsServers(4, {
    start: false,
    routesOf: (index) => (index === WITNESS ? [0] : [0, 1, 2].filter((other) => other !== index)),
    extra: (index) => (index === WITNESS ? "server_name: fula-test-witness" : ""),
  });
  const [survivor, ...others] = nats.servers.slice(0, WITNESS);
  const witness = nats.servers[WITNESS];
  await Promise.all([survivor, ...others].map(async (server) => await server?.process.start()));
  const onFirst = { ...nats, urls: nats.urls.slice(0, 1) };
  {
    await using store = await openTestKv(onFirst, { replicas: 3 });
    await store.importSnapshot(STATE);
  }
  const peer = await makeMaster(nats);
  const whileLed = await peer("rescue", "--yes");
  expect(whileLed).toMatchObject({ exitCode: 3, stderr: expect.stringContaining("has a leader") });
  await Promise.all([survivor, ...others].map(async (server) => await server?.process.kill()));
  await survivor?.process.start();
  await witness?.process.start();
  expect((await peer("rescue")).stderr).toContain("FULA_CONFIRMATION_REQUIRED");
  const run = await peer("rescue", "--yes", "--json");
  expect(run).toMatchObject({ exitCode: 0 });
  expect(JSON.parse(run.stdout)).toMatchObject({
    left: ["fula-test-1", "fula-test-witness"],
    records: { pools: 3, members: 12, sealedKeys: 24, operators: 3 },
  });
  await using store = await openTestKv(onFirst, { replicas: 1 });
  expect(await store.exportSnapshot()).toEqual(STATE);
  await store.changeOperator("system", { status: "revoked" });
  expect(await store.isAuthorized("system", "operator")).toMatchObject({ allowed: false, reason: "revoked" });
});
