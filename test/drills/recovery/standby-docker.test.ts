import { expectDone } from "../../support/cli.ts";
import { randomBytes } from "node:crypto";
import { isIPv4 } from "node:net";
import { afterEach, beforeEach, expect, test } from "vitest";
import { loadConfig } from "../../../src/lib/config/load.ts";
import { removeProject } from "../../../src/lib/runtime/compose-remove.ts";
import { reachableAddressesOfBox } from "../../../src/lib/runtime/own-addresses.ts";
import type { StandbyStatus } from "../../../src/lib/stack/standby-status.ts";
import { infra } from "../../infra/infra.ts";
import { until } from "../../support/until.ts";
import { type HostMember, joinArgs, makeToken, placeMember, removeMember } from "../federation/member.ts";

const LONG_MS = 900_000;
const PATIENCE_MS = 180_000;
let boxes: readonly HostMember[] = [];
const host = reachableAddressesOfBox().find((address) => isIPv4(address)) ?? "";

beforeEach(async () => {
  const prefix = `fula-copy-${randomBytes(4).toString("hex")}`;
  boxes = [await placeMember(prefix, "m1"), await placeMember(prefix, "m2")];
});

afterEach(async () => {
  const { signal } = new AbortController();
  for (const box of boxes) {
    await removeMember(box);
    await removeProject(infra().docker, box.project, { signal, report: () => {}, volumes: true });
  }
});

async function join(box: HostMember, ...more: readonly string[]): Promise<void> {
  const announce = ["--set", `postgres.announce=${host}:${box.ports.postgres}`];
  const args = ["--runtime", "docker", ...joinArgs(box, host), "--no-schedules", "--json", ...announce, ...more];
  expectDone(await box.run("join", ...args), `join of ${box.name}`);
}

/** As soon as the control plane says something: it takes servers in as boxes join, and elects leaders meanwhile. */
async function statusOf(box: HostMember): Promise<StandbyStatus> {
  const ask = async (): Promise<StandbyStatus | null> => {
    const { stdout } = await box.run("standby", "status", "--json");
    return stdout === "" ? null : JSON.parse(stdout);
  };
  return await until(`${box.name} tells of the standbys`, ask, PATIENCE_MS);
}

/** Waits until nothing is wrong, as a box sees it. */
async function well(box: HostMember): Promise<StandbyStatus> {
  const look = async (): Promise<StandbyStatus | null> => {
    const status = await statusOf(box);
    return status.problems.length === 0 ? status : null;
  };
  return await until(`nothing is wrong any more on ${box.name}`, look, PATIENCE_MS);
}

async function restartPolicyOf(box: HostMember): Promise<string | undefined> {
  const { HostConfig } = await infra().docker.getContainer(box.container("postgres")).inspect();
  return HostConfig.RestartPolicy?.Name;
}

test(
  "a second master with containers copies the ledger of the first, and no engine starts either server at boot",
  async () => {
    const [first, second] = boxes;
    if (first === undefined || second === undefined) throw new Error("no boxes");
    await join(first);
    const token = await makeToken(first, "master");
    const { config, secrets } = await loadConfig({ globals: { baseDir: first.baseDir }, env: {}, cwd: "/" });
    const { database, user } = config.postgres;
    const password = encodeURIComponent(secrets.postgresPassword?.reveal() ?? "");
    const url = `postgres://${user}:${password}@127.0.0.1:${first.ports.postgres}/${database}`;
    await join(second, "--set", "postgres.mode=external", "--postgres-url", url, "--token", token);
    await join(first);
    expect((await statusOf(first)).epoch).toBeNull();

    const added = expectDone(await second.run("standby", "add", "--json"), "standby add");
    expect(JSON.parse(added.stdout)).toMatchObject({ outcome: "added", node: "m2", kind: "docker" });

    expect(await well(first)).toMatchObject({
      epoch: { number: 1, primary: "m1", syncSet: ["m2"], syncNeeded: 1 },
      standbys: [{ node: "m2", replication: "streaming", isSync: true }],
      wouldLoseBytes: 0,
    });
    expect(await well(second)).toMatchObject({ own: { role: "standby", isReceiving: true }, problems: [] });
    for (const box of boxes) {
      await until(`${box.name} is left to serve`, async () => (await restartPolicyOf(box)) === "no", PATIENCE_MS);
    }
    // A second run of either command finds nothing to do, and starts nothing.
    expect(JSON.parse(expectDone(await second.run("standby", "add", "--json"), "again").stdout).outcome).toBe(
      "already",
    );
    expectDone(await first.run("doctor", "--only", "standbys,ledger-server,ledger-certs"), "doctor of the first");

    const removed = expectDone(await second.run("standby", "remove", "--yes", "--json"), "standby remove");
    expect(JSON.parse(removed.stdout)).toMatchObject({ outcome: "removed", stopped: true });
    await until("no helper is left", async () => {
      const name = [`${second.container("postgres")}-recovery-`];
      return (await infra().docker.listContainers({ all: true, filters: { name } })).length === 0;
    });
  },
  LONG_MS,
);
