import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { StorageType } from "@nats-io/jetstream";
import { Kvm } from "@nats-io/kv";
import { connect, nkeyAuthenticator } from "@nats-io/transport-node";
import { expect, test } from "vitest";
import { loadConfig } from "../../../src/lib/config/load.ts";
import { systemClock } from "../../../src/lib/kernel/clock.ts";
import { systemRandom } from "../../../src/lib/kernel/random.ts";
import type { ControlPlanePart } from "../../../src/lib/stack/status-report.ts";
import type { DoctorResult } from "../../../src/lib/stack/doctor.ts";
import { openControlPlane } from "../../../src/lib/stack/control-plane.ts";
import { seedOperators } from "../../../src/lib/stack/operators.ts";
import { runCliForTest } from "../../support/cli.ts";
import { markJoined } from "../../support/joined.ts";
import { startNatsServers, type NatsServers } from "../../support/nats-servers.ts";
import { tempDir } from "../../support/temp-dir.ts";
import { until } from "../../support/until.ts";

const CLUSTER_ID = "0b9a5f0e-0000-4000-8000-000000000001";
const CHECKS = ["control-plane", "nats-servers", "nats-replicas", "nats-race"];

/** A master of which nothing runs but the servers of its control plane. */
function makeBox(nats: NatsServers, { isSystem = true } = {}): string {
  const baseDir = join(tempDir(), "base");
  mkdirSync(baseDir, { mode: 0o700 });
  markJoined(baseDir, CLUSTER_ID);
  writeFileSync(join(baseDir, "user.nk"), nats.user.seed, { mode: 0o600 });
  writeFileSync(join(baseDir, "system.nk"), nats.system.seed, { mode: 0o600 });
  const controlPlane = {
    mode: "nats",
    servers: nats.urls,
    nkeyFile: "user.nk",
    ...(isSystem && { systemNkeyFile: "system.nk" }),
  };
  const settings = { node: { role: "master", clusterId: CLUSTER_ID }, controlPlane };
  // JSON is YAML.
  writeFileSync(join(baseDir, "fula-master.yaml"), JSON.stringify(settings), { mode: 0o600 });
  return baseDir;
}

async function fill(baseDir: string): Promise<void> {
  const loaded = await loadConfig({ globals: { baseDir }, env: {}, cwd: "/" });
  const deps = { clock: systemClock, random: systemRandom, signal: new AbortController().signal };
  await using store = await openControlPlane(loaded, { ...deps, patience: "bootstrap" });
  await seedOperators(store, loaded, deps);
}

async function doctor(baseDir: string, names: readonly string[] = CHECKS): Promise<readonly DoctorResult[]> {
  const run = await runCliForTest(["doctor", "--json", "--only", names.join(",")], { baseDir });
  expect(run.stdout, run.stderr).not.toBe("");
  return JSON.parse(run.stdout).checks;
}

async function controlPlaneOf(baseDir: string): Promise<ControlPlanePart> {
  const run = await runCliForTest(["status", "--json"], { baseDir });
  return JSON.parse(run.stdout).controlPlane;
}

test("three servers that are well pass every check, one that goes is told, and one alone leads nobody", async () => {
  await using nats = await startNatsServers(3);
  const baseDir = makeBox(nats);
  await fill(baseDir);
  // Servers on a busy machine elect anew now and then, and their replicas are behind for a moment.
  const part = await until("all of it is well in one look", async () => {
    const [checks, seen] = await Promise.all([doctor(baseDir), controlPlaneOf(baseDir)]);
    const isWell = checks.length === CHECKS.length && checks.every(({ verdict }) => verdict === "ok");
    return isWell && seen.metaLeader !== null && seen.servers.every(({ state }) => state === "current") ? seen : null;
  });
  expect(part).toMatchObject({ mode: "nats", replicas: 3, operators: 2, admins: 1 });
  expect(part.servers.map(({ state, version }) => `${state} ${version}`)).toEqual(Array(3).fill("current 2.15.2"));
  expect(part.servers.filter(({ leads }) => leads).map(({ name }) => name)).toEqual([part.metaLeader]);
  expect(part.stampAgeMs).toBeLessThan(5_000);

  const [gone, other] = nats.servers.filter(({ name }) => name !== part.metaLeader);
  await gone?.process.stop();
  // The streams that it led have no leader for a moment, which fails a check.
  await until("the leader tells who went, and nothing else is wrong", async () => {
    const checks = await doctor(baseDir, ["nats-servers", "nats-replicas"]);
    const isTold = checks.some(
      ({ verdict, message }) => verdict === "warning" && message.startsWith(`${gone?.name} is a server`),
    );
    return isTold && checks.every(({ verdict }) => verdict !== "failed");
  });
  const offline = await until("status tells it, too", async () => {
    const { servers } = await controlPlaneOf(baseDir);
    return servers.find(({ name, state }) => name === gone?.name && state === "offline");
  });
  expect(offline.version).toBeNull();

  await other?.process.kill();
  await until("the one that is left is asked, and knows no leader", async () => {
    const checks = await doctor(baseDir, ["control-plane", "nats-replicas"]);
    const replicas = checks.find(({ name }) => name === "nats-replicas");
    // Both look at the same time: one may have seen the last of the leader.
    const isRefused = checks.find(({ name }) => name === "control-plane")?.verdict === "failed";
    return isRefused && replicas?.message.includes("have no leader") === true;
  });
  const left = await controlPlaneOf(baseDir);
  expect(left).toMatchObject({ state: "bad", metaLeader: null, operators: null });
}, 240_000);

test("lazy syncs, a bucket in memory and direct gets fail, each with what to do", async () => {
  await using nats = await startNatsServers(1, { syncInterval: null });
  const connection = await connect({
    servers: [...nats.urls],
    authenticator: nkeyAuthenticator(new TextEncoder().encode(nats.user.seed)),
  });
  await new Kvm(connection).create("FULA_users", { storage: StorageType.Memory, allow_direct: true });
  await connection.close();
  const checks = await doctor(makeBox(nats), ["nats-servers", "nats-replicas"]);
  const failed = checks.filter(({ verdict }) => verdict === "failed");
  expect(failed).toHaveLength(checks.length);
  const messages = failed.map(({ message }) => message).join("\n");
  expect(messages).toMatch(/acknowledges writes that are not on its disk/);
  expect(messages).toMatch(/FULA_users lies in memory/);
  expect(messages).toMatch(/FULA_users answers reads from servers that may be behind/);
  expect(messages).toMatch(/no bucket FULA_rooms/);
  expect(failed.every(({ remedy }) => remedy !== null)).toBe(true);
});

test("servers that this box may not ask how they are fail the check, and the race is run all the same", async () => {
  await using nats = await startNatsServers(1);
  const checks = await doctor(makeBox(nats, { isSystem: false }), ["nats-servers", "nats-race"]);
  expect(checks).toMatchObject([
    { name: "nats-servers", verdict: "failed", code: "FULA_CONTROL_PLANE_UNSEEN" },
    { name: "nats-race", verdict: "ok" },
  ]);
});
