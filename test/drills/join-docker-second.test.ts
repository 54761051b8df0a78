import { expectDone } from "../support/cli.ts";
import { randomBytes } from "node:crypto";
import { isIPv4 } from "node:net";
import { afterEach, beforeEach, expect, test } from "vitest";
import { z } from "zod";
import { loadConfig, type LoadedConfig } from "../../src/lib/config/load.ts";
import { removeProject } from "../../src/lib/runtime/compose-remove.ts";
import { reachableAddressesOfBox } from "../../src/lib/runtime/own-addresses.ts";
import { infra } from "../infra/infra.ts";
import { eventually } from "../support/until.ts";
import { type HostMember, joinArgs, makeToken, placeMember, removeMember } from "./federation/member.ts";

let boxes: readonly HostMember[] = [];

beforeEach(async () => {
  const prefix = `fula-pair-${randomBytes(4).toString("hex")}`;
  boxes = [await placeMember(prefix, "m1"), await placeMember(prefix, "m2")];
});

afterEach(async () => {
  const { signal } = new AbortController();
  for (const box of boxes) {
    await removeMember(box);
    await removeProject(infra().docker, box.project, { signal, report: () => {}, volumes: true });
  }
});

async function load({ baseDir }: HostMember): Promise<LoadedConfig> {
  return await loadConfig({ globals: { baseDir }, env: {}, cwd: "/" });
}

async function joinOnDocker(box: HostMember, ...more: readonly string[]) {
  const host = reachableAddressesOfBox().find((address) => isIPv4(address)) ?? "";
  const run = await box.run("join", "--runtime", "docker", ...joinArgs(box, host), "--no-schedules", "--json", ...more);
  return JSON.parse(expectDone(run, `join of ${box.name}`).stdout);
}

const nodes = z.array(z.object({ id: z.string() }));

/** Ids of the cluster peers that a master's own peer is connected with, itself among them. */
async function peersOf(box: HostMember): Promise<readonly string[]> {
  const answer = await fetch(`http://127.0.0.1:${box.ports.clusterApi}/peers`);
  const lines = (await answer.text()).trim().split("\n");
  return nodes.parse(lines.map((line): unknown => JSON.parse(line))).map(({ id }) => id);
}

test("a second master with containers of its own joins cluster and ledger by a token, and join on the first makes it trusted", async () => {
  const [first, second] = boxes;
  if (first === undefined || second === undefined) throw new Error("no boxes");
  await joinOnDocker(first);
  const token = await makeToken(first, "master");
  const { config, secrets } = await load(first);
  const { database, user } = config.postgres;
  const password = encodeURIComponent(secrets.postgresPassword?.reveal() ?? "");
  // Both boxes are this machine, so that the first one's ledger is on loopback for the second, too.
  const url = `postgres://${user}:${password}@127.0.0.1:${first.ports.postgres}/${database}`;
  await joinOnDocker(second, "--set", "postgres.mode=external", "--postgres-url", url, "--token", token);

  const [one, two] = [await load(first), await load(second)];
  expect(two.config.node.clusterId).toBe(one.config.node.clusterId);
  expect(two.secrets.clusterSecret?.reveal()).toBe(one.secrets.clusterSecret?.reveal());
  expect(two.config.cluster.trustedPeers).toHaveLength(1);
  expect(two.config.cluster.bootstrap).not.toEqual([]);
  expect(one.config.cluster.trustedPeers).toEqual([]);

  // Only now does the first one hear of the second: its peer is made anew, and nothing else.
  const { changed } = await joinOnDocker(first);
  expect(changed).toEqual(expect.arrayContaining(["trust"]));
  expect(changed).not.toContain("secrets");
  const trusted = (await load(first)).config.cluster.trustedPeers;
  expect(trusted).toHaveLength(1);
  expect(trusted).not.toEqual(two.config.cluster.trustedPeers);
  expect(await joinOnDocker(first)).toMatchObject({ outcome: "already" });
  const ids = [...trusted, ...two.config.cluster.trustedPeers].toSorted();
  for (const box of boxes) {
    // A peer that was made anew a moment ago may not answer yet.
    await eventually(`${box.name} sees both peers`, async () => {
      const seen = await peersOf(box);
      return ids.every((id) => seen.includes(id));
    });
  }
});
