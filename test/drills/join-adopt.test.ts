import { writeFile } from "node:fs/promises";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { STEP_IDS, type StepId } from "../../src/lib/stack/plan.ts";
import { type ClusterPeer, startCluster, type TestCluster } from "../support/cluster-processes.ts";
import { treeOf } from "../support/file-tree.ts";
import { emptyDatabase, type TestDatabase } from "../support/postgres.ts";
import { makeTestBox, type TestBox } from "../support/test-box.ts";

let cluster: TestCluster;
let database: TestDatabase;
let first: TestBox;
let second: TestBox;

beforeAll(async () => {
  cluster = await startCluster([{ name: "writer" }, { name: "writer-2" }, { name: "follower", follower: true }]);
});

afterAll(async () => {
  await cluster[Symbol.asyncDispose]();
});

beforeEach(async () => {
  database = await emptyDatabase();
  first = await makeTestBox();
  second = await makeTestBox();
});

afterEach(async () => {
  await first[Symbol.asyncDispose]();
  await second[Symbol.asyncDispose]();
  await database.drop();
});

function apiOf({ api }: ClusterPeer): string {
  return `/ip4/127.0.0.1/tcp/${new URL(api).port}`;
}

function joinArgs(box: TestBox, name: string, peer: ClusterPeer, kubo = peer.kubo): readonly string[] {
  return [
    ...box.joinArgs.map((arg) => (arg === "embedded" ? "external" : arg)),
    "--no-start",
    "--node-name",
    name,
    "--postgres-url",
    database.url,
    "--kubo-api",
    kubo.apiAddress,
    "--cluster-api",
    apiOf(peer),
    // A token names where the master is reached; these listen on loopback alone.
    "--announce",
    "192.0.2.1",
  ];
}

async function pinsOf(peer: ClusterPeer): Promise<string> {
  return peer.ctl("pin", "ls");
}

/** What was sent to stdout, as JSON; what went to stderr where it failed. */
function reportOf({ exitCode, stdout, stderr }: { exitCode: number; stdout: string; stderr: string }) {
  expect({ exitCode, stderr }).toMatchObject({ exitCode: 0 });
  return JSON.parse(stdout);
}

describe("a writer that runs already", () => {
  test("is adopted, is proved to pin, and is left as it is by a second join", async () => {
    const peer = cluster.peer("writer");
    const { changed } = reportOf(await first.run([...joinArgs(first, "m1", peer), "--json"]));
    const others = new Set<StepId>([
      "token",
      "control-plane-keys",
      "images",
      "compose",
      "containers",
      "control-plane-servers",
      "serve",
    ]);
    expect(changed).toEqual(STEP_IDS.filter((id) => !others.has(id)));
    expect((await first.load()).config).toMatchObject({
      runtime: "external",
      blocks: { mode: "kubo", kuboApi: peer.kubo.apiAddress },
      cluster: { mode: "rest", api: apiOf(peer) },
    });
    expect(await pinsOf(peer)).toBe("");
    const before = await treeOf(first.root);
    expect(reportOf(await first.run([...joinArgs(first, "m1", peer), "--json"]))).toMatchObject({
      outcome: "already",
      changed: [],
    });
    expect(await treeOf(first.root)).toEqual(before);
  });

  test("is refused where it is a follower, where the Kubo is another one's, and where it is silent; nothing is written", async () => {
    const before = await treeOf(first.root);
    const writer = cluster.peer("writer");
    const follower = await first.run(joinArgs(first, "m1", cluster.peer("follower")));
    expect(follower).toMatchObject({ exitCode: 3, stderr: expect.stringContaining("is a follower") });
    const strange = await first.run(joinArgs(first, "m1", writer, cluster.peer("writer-2").kubo));
    expect(strange).toMatchObject({ exitCode: 3, stderr: expect.stringContaining("FULA_WRITER_UNFIT") });
    expect(strange.stderr).toContain(cluster.peer("writer-2").kubo.peerId);
    const nobody = await first.run([...joinArgs(first, "m1", writer), "--cluster-api", "/ip4/127.0.0.1/tcp/1"]);
    expect(nobody).toMatchObject({ exitCode: 4, stderr: expect.stringContaining("FULA_CLUSTER_UNREADABLE") });
    const half = await first.run([
      ...first.joinArgs.map((arg) => (arg === "embedded" ? "external" : arg)),
      "--postgres-url",
      database.url,
      "--kubo-api",
      writer.kubo.apiAddress,
    ]);
    expect(half).toMatchObject({ exitCode: 2, stderr: expect.stringContaining("--cluster-api") });
    expect(await treeOf(first.root)).toEqual(before);
  });
});

describe("a second master on the ledger of the first", () => {
  const secrets = ["systemKey", "jwtSecret", "sessionSecret", "encryptionKey"] as const;

  async function makeToken(): Promise<string> {
    reportOf(await first.run([...joinArgs(first, "m1", cluster.peer("writer")), "--json"]));
    return reportOf(await first.run(["token", "create", "--json"])).token;
  }

  test("is refused without a token, before anything is written", async () => {
    reportOf(await first.run([...joinArgs(first, "m1", cluster.peer("writer")), "--json"]));
    const before = await treeOf(second.root);
    const refused = await second.run(joinArgs(second, "m2", cluster.peer("writer-2")));
    expect(refused).toMatchObject({ exitCode: 3, stderr: expect.stringContaining("FULA_TOKEN_NEEDED") });
    expect(refused.stderr).toContain("fula-master token create");
    expect(await treeOf(second.root)).toEqual(before);
  });

  test("gets cluster id and secrets by a token, once, and each master then knows the other", async () => {
    const token = await makeToken();
    const args = [...joinArgs(second, "m2", cluster.peer("writer-2")), "--token", "-", "--json"];
    const dryRun = await second.run([...args, "--dry-run"], { stdin: token });
    expect(dryRun.stdout).not.toContain(token);
    expect(reportOf(dryRun).plan.steps.map(({ id }: { id: string }) => id)).toContain("token");
    const { changed, summary } = reportOf(await second.run(args, { stdin: token }));
    expect(changed).toEqual(expect.arrayContaining(["token", "settings", "secrets", "trust"]));
    const [one, two] = [await first.load(), await second.load()];
    expect(two.config.node.clusterId).toBe(one.config.node.clusterId);
    expect(summary.clusterId).toBe(one.config.node.clusterId);
    for (const key of secrets) expect(two.secrets[key]?.reveal()).toBe(one.secrets[key]?.reveal());
    const { rows } = await database.pool.query(
      "select name, cluster_peer_id as peer from federation_nodes order by name",
    );
    expect(rows).toEqual([
      { name: "m1", peer: cluster.peer("writer").id },
      { name: "m2", peer: cluster.peer("writer-2").id },
    ]);
    // The same once more, with the token that is used up and with none: the box has what it brought.
    expect(reportOf(await second.run(args, { stdin: token }))).toMatchObject({ outcome: "already" });
    expect(reportOf(await second.run([...joinArgs(second, "m2", cluster.peer("writer-2")), "--json"]))).toMatchObject({
      outcome: "already",
    });
  });

  test("cannot use a token that another box has used", async () => {
    const token = await makeToken();
    reportOf(await second.run([...joinArgs(second, "m2", cluster.peer("writer-2")), "--token", token, "--json"]));
    await using third = await makeTestBox();
    const before = await treeOf(third.root);
    const late = await third.run([...joinArgs(third, "m3", cluster.peer("writer-2")), "--token", token]);
    expect(late).toMatchObject({ exitCode: 3, stderr: expect.stringContaining("FULA_TOKEN_USED") });
    expect(late.stderr).not.toContain(token);
    expect(await treeOf(third.root)).toEqual(before);
  });

  test("that lost its secrets is refused without a token, though its settings name the cluster", async () => {
    const token = await makeToken();
    reportOf(await second.run([...joinArgs(second, "m2", cluster.peer("writer-2")), "--token", token, "--json"]));
    const { envFile } = (await second.load()).paths;
    await writeFile(envFile, `POSTGRES_PASSWORD=${database.options.password}\n`);
    const refused = await second.run(joinArgs(second, "m2", cluster.peer("writer-2")));
    expect(refused).toMatchObject({ exitCode: 3, stderr: expect.stringContaining("does not have their secrets") });
  });
});
