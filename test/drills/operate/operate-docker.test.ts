import { expectDone } from "../../support/cli.ts";
import { randomBytes } from "node:crypto";
import { mkdir, readdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import type Docker from "dockerode";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { DoctorReport } from "../../../src/lib/stack/doctor.ts";
import type { StatusReport } from "../../../src/lib/stack/status-report.ts";
import { infra } from "../../infra/infra.ts";
import { startNetwork, type TestNetwork } from "../../support/containers.ts";
import { settled, until } from "../../support/until.ts";
import { removeAll } from "../federation/containers.ts";
import { type HostMember, joinArgs, makeToken, placeMember, removeMember } from "../federation/member.ts";

const prefix = `ope${randomBytes(4).toString("hex")}`;
let docker: Docker;
let network: TestNetwork;
let master: HostMember;
let node: HostMember;

async function joinMaster(): Promise<void> {
  const args = joinArgs(master, network.hostAddress);
  expectDone(await master.run("join", "--runtime", "docker", ...args), "join of the master");
}

async function joinNode(...given: readonly string[]): Promise<void> {
  const args = joinArgs(node, network.hostAddress);
  expectDone(await node.run("join-as-storage-node", ...given, ...args), "join of the node");
}

beforeAll(async () => {
  ({ docker } = infra());
  network = await startNetwork("operate");
  master = await placeMember(prefix, "master");
  node = await placeMember(prefix, "node");
  // A cron that runs, as far as anybody can see.
  await mkdir(join(master.scheduleRoot, "proc/1"), { recursive: true });
  await writeFile(join(master.scheduleRoot, "proc/1/comm"), "cron\n");
  await joinMaster();
  await joinNode("--token", await makeToken(master, "storage"));
});
afterAll(async () => {
  for (const member of [node, master]) if (member !== undefined) await removeMember(member);
  await removeAll(docker, prefix);
  await network?.[Symbol.asyncDispose]();
});

async function status(member: HostMember): Promise<StatusReport> {
  return JSON.parse((await member.run("status", "--json", "--schedule-root", member.scheduleRoot)).stdout);
}

/** What every part says is not as it should be. */
function problemsOf(report: StatusReport): readonly unknown[] {
  return Object.values(report).flatMap((part) =>
    typeof part === "object" && part !== null && "problem" in part && part.problem !== null ? [part.problem] : [],
  );
}

/** What the doctor calls failed, once everything that he asks has answered him in time. */
async function failuresOf(member: HostMember): Promise<readonly string[]> {
  return await settled(
    async () => await doctor(member),
    (failed) => !failed.some((text) => /no answer within/.test(text)),
    180_000,
  );
}

async function doctor(member: HostMember): Promise<readonly string[]> {
  const run = await member.run("doctor", "--json", "--schedule-root", member.scheduleRoot);
  const report: DoctorReport = JSON.parse(run.stdout);
  const failed = report.checks.filter(({ verdict }) => verdict === "failed");
  expect(run.exitCode).toBe(failed.length === 0 ? 0 : 1);
  return failed.map(({ name, message }) => `${name}: ${message}`);
}

async function leave(member: HostMember, ...args: readonly string[]) {
  return await member.run("leave", "--yes", "--json", "--schedule-root", member.scheduleRoot, ...args);
}

async function runningIn(member: HostMember): Promise<readonly string[]> {
  const filters = { label: [`com.docker.compose.project=${member.project}`] };
  return (await docker.listContainers({ filters })).map(({ Names }) => Names[0] ?? "").toSorted();
}

async function volumesOf(member: HostMember): Promise<readonly string[]> {
  const { Volumes } = await docker.listVolumes();
  const own = Volumes.map(({ Name }) => Name).filter((name) => name.startsWith(`${member.project}_`));
  // The engine lists them in any order.
  return own.toSorted();
}

const MASTERS_SERVICES = ["cluster", "kubo", "nats", "nats-witness", "postgres"];

describe("a master in containers", () => {
  test("is healthy on the screen, with every part of a stack", async () => {
    // What is late to answer on a busy machine is said to be bad.
    const report = await settled(
      async () => await status(master),
      (seen) => problemsOf(seen).length === 1,
    );
    // One copy was all that could be asked for when the master was alone.
    expect(problemsOf(report)).toEqual([expect.stringContaining("new pins ask for one copy")]);
    expect(report).toMatchObject({
      healthy: true,
      node: { role: "master", runtime: "docker" },
      ledger: { mode: "docker" },
      containers: { services: MASTERS_SERVICES.map((service) => ({ service })) },
      kubo: { state: "ok" },
      cluster: { state: "attention", peers: expect.arrayContaining([expect.objectContaining({ role: "follower" })]) },
      trust: { missing: [], surplus: [] },
      // One server alone could not elect; with the witness two can, and records lie on one of them.
      controlPlane: { mode: "docker", state: "ok", replicas: 1, servers: [{ state: "current" }, { state: "current" }] },
    });
  });

  test("passes the doctor", async () => {
    expect(await failuresOf(master)).toEqual([]);
  });
});

describe("a storage node in containers", () => {
  test("is healthy on the screen, has no ledger and holds to what a storage node must be", async () => {
    const report = await settled(
      async () => await status(node),
      ({ healthy }) => healthy,
    );
    expect(report).toMatchObject({
      healthy: true,
      node: { role: "storage" },
      serve: { state: "ok" },
      schedules: { jobs: [{ kind: "boot", state: "installed" }] },
      ledger: null,
      snapshot: null,
      sweep: null,
      trust: null,
      containers: { state: "ok", services: [{ service: "cluster" }, { service: "kubo" }] },
      storage: { state: "ok" },
    });
  });

  test("passes the doctor, who tries to write on it", async () => {
    expect(await failuresOf(node)).toEqual([]);
  });

  test("leaves by stopping its containers, and comes back with its data by joining again", async () => {
    const before = await volumesOf(node);
    const { exitCode, stdout, stderr } = await leave(node);
    expect(exitCode, stderr).toBe(0);
    expect(JSON.parse(stdout)).toMatchObject({ outcome: "left", changed: ["schedules", "serve", "containers"] });
    expect(await runningIn(node)).toEqual([]);
    expect(await volumesOf(node)).toEqual(before);
    expect(JSON.parse((await leave(node)).stdout)).toMatchObject({ outcome: "already", changed: [] });
    await joinNode();
    const report = await settled(
      async () => await status(node),
      ({ healthy }) => healthy,
    );
    expect(report).toMatchObject({ healthy: true, node: { leftAt: null } });
  });
});

// Last: what it does is not undone.
describe("a master in containers that leaves", () => {
  test("stops everything in order, keeps every volume, and comes back by joining again", async () => {
    await until("the node holds what the master has pinned", async () => (await status(node)).storage?.state === "ok");
    const before = await volumesOf(master);
    const { exitCode, stdout, stderr } = await leave(master);
    expect(exitCode, stderr).toBe(0);
    expect(JSON.parse(stdout).changed).toEqual(["schedules", "serve", "snapshot", "federation", "containers"]);
    expect(await runningIn(master)).toEqual([]);
    expect(await volumesOf(master)).toEqual(before);
    await joinMaster();
    const report = await settled(
      async () => await status(master),
      ({ containers, ledger }) => containers?.state === "ok" && ledger?.state === "ok",
    );
    expect(report).toMatchObject({ node: { leftAt: null }, containers: { state: "ok" }, ledger: { state: "ok" } });
  });

  test("is gone after a purge: containers, volumes, secrets and state, but for its snapshots", async () => {
    const { exitCode, stderr } = await leave(master, "--purge", "--force");
    expect(exitCode, stderr).toBe(0);
    expect(await runningIn(master)).toEqual([]);
    expect(await volumesOf(master)).toEqual([]);
    expect(await volumesOf(node)).not.toEqual([]);
    expect(await readdir(master.baseDir)).toEqual(["snapshots"]);
  });
});
