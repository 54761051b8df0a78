import { expectDone } from "../support/cli.ts";
import { randomBytes } from "node:crypto";
import { setTimeout as wait } from "node:timers/promises";
import { existsSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type Docker from "dockerode";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { readLocalStatus } from "../../src/lib/stack/storage-view.ts";
import { infra } from "../infra/infra.ts";
import type { CliRun } from "../support/cli.ts";
import { makeSigner } from "../support/federation.ts";
import { journalNames, journalText, launch } from "../support/launched.ts";
import { settled, until } from "../support/until.ts";
import { tempDir } from "../support/temp-dir.ts";
import { startNetwork, type TestNetwork } from "../support/containers.ts";
import { removeAll } from "./federation/containers.ts";
import { type HostMember, joinArgs, makeToken, placeMember, removeMember } from "./federation/member.ts";

const prefix = `sto${randomBytes(4).toString("hex")}`;
const JOIN = "join-as-storage-node";
let docker: Docker;
let network: TestNetwork;
let host: string;
let master: HostMember;
let node: HostMember;
let killed: HostMember;
let token: string;

beforeAll(async () => {
  ({ docker } = infra());
  network = await startNetwork("storage");
  host = network.hostAddress;
  master = await placeMember(prefix, "master");
  node = await placeMember(prefix, "node");
  killed = await placeMember(prefix, "killed");
  expectDone(await master.run("join", "--runtime", "docker", ...joinArgs(master, host)), "join of the master");
  token = await makeToken(master, "storage");
});
afterAll(async () => {
  for (const member of [killed, node, master]) await removeMember(member);
  await removeAll(docker, prefix);
  await network[Symbol.asyncDispose]();
});

function output({ stdout }: CliRun): { readonly [field: string]: unknown } {
  return JSON.parse(stdout);
}

/** What one of the node's containers is, with what tells whether it was made anew. */
async function container(service: "kubo" | "cluster"): Promise<Docker.ContainerInspectInfo> {
  return await docker.getContainer(node.container(service)).inspect();
}

describe("join-as-storage-node, before it has joined", () => {
  test("shows in a dry run what it would do, and writes nothing", async () => {
    const run = await node.run(JOIN, "--token", token, ...joinArgs(node, host), "--dry-run", "--json");
    expect(run).toMatchObject({ exitCode: 0 });
    expect(output(run)).toMatchObject({ outcome: "planned", plan: { runtime: "docker" } });
    expect(existsSync(node.baseDir)).toBe(false);
    expect(run.stdout + run.stderr).not.toContain(token);
  });

  test("refuses a token whose signature is another's than the key that is pinned, and says which", async () => {
    const key = makeSigner().keyId;
    const run = await node.run(JOIN, "--token", token, "--peers-key", key, ...joinArgs(node, host));
    expect(run.exitCode).toBe(1);
    expect(run.stderr).toContain("FULA_PEERS_SIGNATURE");
    expect(existsSync(node.baseDir)).toBe(false);
  });

  test("refuses a master's token, and a list of peers without a key", async () => {
    const masters = await makeToken(master, "master");
    const wrong = await node.run(JOIN, "--token", masters, ...joinArgs(node, host));
    expect(wrong).toMatchObject({ exitCode: 3, stderr: expect.stringContaining("FULA_TOKEN_ROLE") });
    const file = join(tempDir(), "peers.json");
    expectDone(await master.run("peers", "export", "--output", file), "peers export");
    const unpinned = await node.run(JOIN, "--peers", file, ...joinArgs(node, host));
    expect(unpinned).toMatchObject({ exitCode: 3, stderr: expect.stringContaining("FULA_PEERS_UNPINNED") });
  });

  test("halts on a container of somebody else under its name, and changes nothing", async () => {
    const { images } = infra();
    const foreign = await docker.createContainer({ name: node.container("kubo"), Image: images.kubo, Cmd: ["true"] });
    try {
      const run = await node.run(JOIN, "--token", token, ...joinArgs(node, host));
      expect(run.exitCode).toBe(3);
      expect(run.stderr).toContain(node.container("kubo"));
      expect(existsSync(node.baseDir)).toBe(false);
      expect((await foreign.inspect()).State.Status).toBe("created");
    } finally {
      await foreign.remove({ force: true });
    }
  });
});

describe("join-as-storage-node", () => {
  test("joins a master on another container network, and proves all that a storage node is", async () => {
    const run = await node.run(JOIN, "--token", token, ...joinArgs(node, host), "--json");
    expectDone(run, "join of the node");
    const { outcome, summary } = output(run);
    expect(outcome).toBe("joined");
    expect(summary).toMatchObject({
      masters: [{ name: "master" }],
      claims: expect.arrayContaining(
        ["answers", "private", "kubo", "joined", "trust", "follower", "no-trace", "replicates"].map((name) =>
          expect.objectContaining({ name, holds: true }),
        ),
      ),
    });
    const own = Object.keys((await container("cluster")).NetworkSettings.Networks);
    const others = Object.keys(
      (await docker.getContainer(master.container("cluster")).inspect()).NetworkSettings.Networks,
    );
    expect(own).toHaveLength(1);
    expect(others).not.toContain(own[0]);
  });

  test("run twice changes nothing the second time, with the same token, an expired one or none", async () => {
    const files = ["fula-master.yaml", ".env", "compose.yaml", "state/peers.json"].map((name) =>
      join(node.baseDir, name),
    );
    const before = files.map((file) => statSync(file).mtimeMs);
    const ids = [(await container("kubo")).Id, (await container("cluster")).Id];
    for (const given of [["--token", token], []]) {
      const run = await node.run(JOIN, ...given, ...joinArgs(node, host), "--json");
      expectDone(run, "second join");
      expect(output(run)).toMatchObject({ outcome: "already", changed: [] });
    }
    expect(files.map((file) => statSync(file).mtimeMs)).toEqual(before);
    expect([(await container("kubo")).Id, (await container("cluster")).Id]).toEqual(ids);
  });

  test("gives the node one secret alone, which no container shows", async () => {
    const env = readFileSync(join(node.baseDir, ".env"), "utf8");
    const names = [...env.matchAll(/^([A-Z_]+)=/gm)].map(([, name]) => name);
    expect(names).toEqual(["CLUSTER_SECRET"]);
    expect(statSync(join(node.baseDir, ".env")).mode & 0o777).toBe(0o600);
    const secret = /^CLUSTER_SECRET='?([0-9a-f]{64})/m.exec(env)?.[1] ?? "";
    expect(secret).toHaveLength(64);
    expect(JSON.stringify([await container("kubo"), await container("cluster")])).not.toContain(secret);
  });

  test("leaves a node that refuses every write, also of fula-master itself", async () => {
    const cid = "bafkreigh2akiscaildcqabsyg3dfr6chu3fgpregiymsck7e7aqa4s52zy";
    const added = await node.run("pin", "add", cid);
    expect(added).toMatchObject({ exitCode: 3, stderr: expect.stringContaining("FULA_CLUSTER_READ_ONLY") });
    const listed = await master.run("pin", "ls", "--json");
    expect(listed.stdout).not.toContain(cid);
    for (const command of [
      ["token", "create"],
      ["peers", "export"],
    ]) {
      expect(await node.run(...command)).toMatchObject({
        exitCode: 3,
        stderr: expect.stringContaining("FULA_FEDERATION_NEEDED"),
      });
    }
  });

  test("replicates what the master pins from then on", async () => {
    const run = await master.run("pin", "ls", "--json", "--name", "fula-master replication probe");
    const { cid }: { readonly cid: string } = JSON.parse(run.stdout);
    const held = async (): Promise<readonly string[]> => {
      const status = await master.run("pin", "status", cid, "--json");
      const { peers }: { readonly peers: readonly { readonly status: string }[] } = JSON.parse(status.stdout).status;
      return peers.map((peer) => peer.status);
    };
    expect(await settled(held, (all) => all.join() === "pinned,pinned")).toEqual(["pinned", "pinned"]);
    expectDone(await master.run("pin", "status", cid, "--json"), "status of the probe");
  });

  test("takes a newer list of masters without a key, and goes back to no older one", async () => {
    const dir = tempDir();
    expectDone(await master.run("peers", "export", "--output", join(dir, "new.json")), "peers export");
    expectDone(await node.run(JOIN, "--peers", join(dir, "new.json"), ...joinArgs(node, host)), "newer list");
    const older = await node.run(JOIN, "--token", token, ...joinArgs(node, host));
    expect(older).toMatchObject({ exitCode: 3, stderr: expect.stringContaining("FULA_PEERS_OLDER") });
    writeFileSync(join(dir, "pool.json"), JSON.stringify({ "ipfs-cluster-trustedpeers": [] }));
    const pool = await node.run(JOIN, "--peers", join(dir, "pool.json"), ...joinArgs(node, host));
    expect(pool).toMatchObject({ exitCode: 3, stderr: expect.stringContaining("FULA_PEERS_UNSIGNED") });
  });

  test("says what is not so, with the remedy and exit code 1, where the node does not replicate", async () => {
    const run = await master.run("pin", "ls", "--json", "--name", "fula-master replication probe");
    const { cid }: { readonly cid: string } = JSON.parse(run.stdout);
    expectDone(await master.run("pin", "rm", cid, "--yes"), "unpin of the probe");
    try {
      await until("the node has heard of it", async () => {
        const api = `http://127.0.0.1:${node.ports.clusterApi}`;
        return (await readLocalStatus(api, cid, AbortSignal.timeout(60_000))).status === "unpinned";
      });
      const looked = await node.run(JOIN, ...joinArgs(node, host), "--wait", "2s");
      expect(looked.exitCode).toBe(1);
      expect(looked.stderr).toContain("FULA_STORAGE_UNVERIFIED");
      expect(looked.stderr).toContain("peers export");
    } finally {
      expectDone(await master.run("peers", "export", "--output", join(tempDir(), "p.json")), "peers export");
    }
    expectDone(await node.run(JOIN, ...joinArgs(node, host)), "join after the remedy");
  });

  test("keeps its base directory from becoming a master's", async () => {
    const run = await node.run("join", "--runtime", "docker", ...joinArgs(node, host));
    expect(run).toMatchObject({ exitCode: 3, stderr: expect.stringContaining("FULA_JOIN_CONFLICT") });
  });
});

/** Joins in a process of its own and kills it as soon as its journal names the step. */
async function killAt(step: string): Promise<void> {
  const before = new Set(journalNames(killed.baseDir));
  const run = launch([JOIN, "--token", token, ...joinArgs(killed, host), "--base-dir", killed.baseDir]);
  const watch = new AbortController();
  void run.ended.then(() => {
    watch.abort();
  });
  while (!watch.signal.aborted) {
    const name = journalNames(killed.baseDir).find((each) => !before.has(each));
    const lines = name === undefined ? [] : journalText(killed.baseDir, name).split("\n");
    if (lines.some((line) => /"step\.(?:started|done)"/.test(line) && line.includes(`"${step}"`))) {
      run.kill();
      break;
    }
    await wait(1);
  }
  const { signal, output: printed } = await run.ended;
  expect(signal, `${step}: ${printed}`).toBe("SIGKILL");
}

describe("a storage node whose join is killed", () => {
  test("at each of its steps goes on with the next run, keeps its one secret, and ends as one that was not", async () => {
    for (const step of ["directories", "token", "settings", "compose", "containers", "verify"]) {
      await killAt(step);
    }
    const secret = readFileSync(join(killed.baseDir, ".env"), "utf8");
    // What the token brought is on the disk by now.
    const run = await killed.run(JOIN, ...joinArgs(killed, host), "--json");
    expectDone(run, "join after the kills");
    expect(output(run)).toMatchObject({ outcome: "joined", resumes: { stoppedAt: "verify", begun: true } });
    expect(readFileSync(join(killed.baseDir, ".env"), "utf8")).toBe(secret);
    expect(secret).toBe(readFileSync(join(node.baseDir, ".env"), "utf8"));
    const label = [`com.docker.compose.project=${killed.project}`];
    expect(await docker.listContainers({ all: true, filters: { label } })).toHaveLength(2);
    const again = await killed.run(JOIN, ...joinArgs(killed, host), "--json");
    expect(output(again)).toMatchObject({ outcome: "already" });
  });
});
