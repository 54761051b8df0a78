import { expectDone } from "../support/cli.ts";
import { randomBytes } from "node:crypto";
import { once } from "node:events";
import { readFile, stat } from "node:fs/promises";
import { createServer } from "node:net";
import { join } from "node:path";
import { setTimeout as wait } from "node:timers/promises";
import type { ContainerInspectInfo } from "dockerode";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { loadConfig, type LoadedConfig } from "../../src/lib/config/load.ts";
import { removeProject } from "../../src/lib/runtime/compose-remove.ts";
import { openAddresses } from "../../src/lib/runtime/own-addresses.ts";
import type { StepId } from "../../src/lib/stack/plan.ts";
import { infra } from "../infra/infra.ts";
import type { CliRun } from "../support/cli.ts";
import { treeOf } from "../support/file-tree.ts";
import { journalNames, journalText, launch } from "../support/launched.ts";
import { lookAtPort } from "../support/port-look.ts";
import { settled, until } from "../support/until.ts";
import { type HostMember, joinArgs, placeMember, removeMember } from "./federation/member.ts";

const SERVICES = ["postgres", "kubo", "cluster", "nats", "nats-witness"] as const;
/** Published on loopback alone, whatever `--announce` says. */
const PRIVATE = ["postgres", "kuboApi", "clusterApi", "natsClient", "natsMonitor"] as const;
const SWARMS = ["kuboSwarm", "clusterSwarm", "natsRoute"] as const;
// Of TEST-NET-1: nobody answers there, and nobody shall.
const ANNOUNCED = "192.0.2.7";

let box: HostMember;

beforeEach(async () => {
  box = await placeMember(`fula-join-${randomBytes(4).toString("hex")}`, "m1");
});

afterEach(async () => {
  await removeMember(box);
  const { signal } = new AbortController();
  await removeProject(infra().docker, box.project, { signal, report: () => {}, volumes: true });
});

function argsOf(...more: readonly string[]): readonly string[] {
  return ["join", "--runtime", "docker", ...joinArgs(box, ANNOUNCED), ...more];
}

async function joinBox(...more: readonly string[]): Promise<CliRun> {
  return await box.run(...argsOf("--json", ...more));
}

function reportOf(run: CliRun) {
  return JSON.parse(expectDone(run, "join").stdout);
}

async function load(): Promise<LoadedConfig> {
  return await loadConfig({ globals: { baseDir: box.baseDir }, env: {}, cwd: "/" });
}

async function inspect(service: (typeof SERVICES)[number]): Promise<ContainerInspectInfo> {
  return await infra().docker.getContainer(box.container(service)).inspect();
}

/** Everything that the engine has of this project: names and ids. */
async function inventory(): Promise<readonly string[]> {
  const { docker } = infra();
  const label = [`com.docker.compose.project=${box.project}`];
  const containers = await docker.listContainers({ all: true, filters: { label } });
  const networks = await docker.listNetworks({ filters: { label } });
  const { Volumes } = await docker.listVolumes({ filters: JSON.stringify({ label }) });
  const volumes = (Volumes as typeof Volumes | null) ?? [];
  return [
    ...containers.map(({ Id, Names }) => `container ${Names[0]} ${Id}`),
    ...networks.map(({ Id, Name }) => `network ${Name} ${Id}`),
    ...volumes.map(({ Name }) => `volume ${Name}`),
  ].toSorted();
}

describe("a box with Docker", () => {
  test("becomes a master in containers, and a second join changes nothing", async () => {
    const { changed } = reportOf(await joinBox());
    expect(changed).toEqual(expect.arrayContaining(["compose", "containers", "trust", "verify", "serve"]));
    const { config } = await load();
    expect(config).toMatchObject({
      runtime: "docker",
      postgres: { mode: "docker" },
      blocks: { mode: "docker" },
      cluster: { mode: "docker", replicationMin: 1 },
    });
    // What serve writes by itself.
    const own = ["base/logs"];
    const before = [await treeOf(box.root, own), await inventory()];
    expect(reportOf(await joinBox())).toMatchObject({ outcome: "already", changed: [] });
    expect([await treeOf(box.root, own), await inventory()]).toEqual(before);
  });

  test("publishes nothing but the swarms, and keeps secrets out of what anybody can inspect", async () => {
    reportOf(await joinBox("--no-start"));
    const { secrets, paths } = await load();
    for (const name of PRIVATE) expect((await lookAtPort(box.ports[name])).open, name).toEqual([]);
    for (const name of SWARMS) {
      const { open, shut } = await settled(
        async () => await lookAtPort(box.ports[name]),
        (look) => look.shut.length === 0,
      );
      expect(open, name).not.toEqual([]);
      expect(shut, name).toEqual([]);
    }
    for (const name of PRIVATE) {
      const open = await settled(
        async () => await openAddresses(["127.0.0.1"], box.ports[name]),
        ({ length }) => length > 0,
      );
      expect(open, name).toEqual(["127.0.0.1"]);
    }
    const shown = JSON.stringify(await Promise.all(SERVICES.map(inspect)));
    const compose = await readFile(join(paths.baseDir, "compose.yaml"), "utf8");
    for (const secret of Object.values(secrets)) {
      expect(shown).not.toContain(secret?.reveal());
      expect(compose).not.toContain(secret?.reveal());
    }
    const secretFile = await stat(join(paths.baseDir, "secrets/cluster_secret"));
    expect({ mode: (secretFile.mode & 0o777).toString(8), uid: secretFile.uid }).toEqual({ mode: "400", uid: 1_000 });
  });

  test("has one container made anew where one setting changes, and nothing else", async () => {
    reportOf(await joinBox());
    const ids = await Promise.all(SERVICES.map(async (service) => (await inspect(service)).Id));
    const { changed } = reportOf(await joinBox("--set", "docker.memory.kubo=512MiB"));
    expect(changed).toEqual(["settings", "compose", "containers", "serve"]);
    const [postgres, kubo, cluster] = await Promise.all(SERVICES.map(inspect));
    expect([postgres?.Id, cluster?.Id]).toEqual([ids[0], ids[2]]);
    expect(kubo?.Id).not.toBe(ids[1]);
    expect(kubo?.HostConfig.Memory).toBe(512 * 1024 ** 2);
  });

  test("whose volume is gone gets no empty one in its place, and is told which", async () => {
    reportOf(await joinBox("--no-start", "--no-schedules"));
    const { docker } = infra();
    await docker.getContainer(box.container("postgres")).remove({ force: true });
    await docker.getVolume(`${box.project}_pgdata`).remove();
    const before = await inventory();
    const { exitCode, stderr } = await joinBox("--no-start", "--no-schedules");
    expect(exitCode).toBe(3);
    expect(stderr).toContain("FULA_STATE_LOST");
    expect(stderr).toContain(`${box.project}_pgdata`);
    expect(await inventory()).toEqual(before);
  });

  test("whose data outlived its secrets is refused before anything is written", async () => {
    const volume = `${box.project}_pgdata`;
    await infra().docker.createVolume({
      Name: volume,
      Labels: { "com.docker.compose.project": box.project, "com.docker.compose.volume": "pgdata" },
    });
    const before = await treeOf(box.root);
    const { exitCode, stderr } = await joinBox();
    expect({ exitCode, code: stderr.includes("FULA_STATE_LOST") }).toEqual({ exitCode: 3, code: true });
    expect(stderr).toContain(volume);
    expect(stderr).toContain("POSTGRES_PASSWORD");
    expect(await treeOf(box.root)).toEqual(before);
  });
});

describe("what is somebody else's", () => {
  test("halts join with exit code 3, all of it at once and by name, and nothing is changed", async () => {
    const { docker, images } = infra();
    const stranger = await docker.createContainer({ name: box.container("kubo"), Image: images.kubo });
    await docker.createVolume({ Name: `${box.project}_cluster-data` });
    await docker.createNetwork({ Name: `${box.project}_stack` });
    const listener = createServer();
    await once(listener.listen({ host: "127.0.0.1", port: box.ports.postgres }), "listening");
    try {
      const before = await treeOf(box.root);
      const { exitCode, stderr } = await joinBox();
      expect(exitCode).toBe(3);
      expect(stderr).toContain(box.container("kubo"));
      expect(stderr).toContain(stranger.id.slice(0, 12));
      expect(stderr).toContain(`${box.project}_cluster-data`);
      expect(stderr).toContain(`${box.project}_stack`);
      expect(stderr).toContain(`127.0.0.1:${box.ports.postgres}`);
      expect(stderr).toContain(`process ${process.pid}`);
      expect(await treeOf(box.root)).toEqual(before);
      expect(await inventory()).toEqual([]);
      expect((await stranger.inspect()).State.Status).toBe("created");
    } finally {
      listener.close();
      await stranger.remove({ force: true });
      await docker.getVolume(`${box.project}_cluster-data`).remove();
      await docker.getNetwork(`${box.project}_stack`).remove();
    }
  });

  test("halts it also where a single image is missing that nobody can pull: the setting is named, exit code 4", async () => {
    const { exitCode, stderr } = await joinBox("--set", "docker.images.kubo=localhost:1/nobody/kubo:none");
    expect({ exitCode, code: stderr.includes("FULA_IMAGE_MISSING") }).toEqual({ exitCode: 4, code: true });
    expect(stderr).toContain("docker.images.kubo");
    expect(await inventory()).toEqual([]);
  });
});

const BEGIN_MS = 300_000;

/** Joins in a process of its own, and kills it as soon as its journal holds one of the texts. */
async function killAt(step: StepId, delayMs: number): Promise<boolean> {
  const before = new Set(journalNames(box.baseDir));
  const run = launch([...argsOf(), "--base-dir", box.baseDir]);
  const texts = [`"event":"step.started","step":"${step}"`, `"event":"step.done","step":"${step}"`];
  let over = false;
  void run.ended.then(() => {
    over = true;
  });
  const begins = async (): Promise<boolean> => {
    const name = journalNames(box.baseDir).find((each) => !before.has(each));
    const text = name === undefined ? "" : journalText(box.baseDir, name);
    return await Promise.resolve(over || texts.some((wanted) => text.includes(wanted)));
  };
  // Before it, containers may have to become healthy.
  await until(`the step ${step} begins`, begins, BEGIN_MS);
  // Not a synchronisation: the kill is to come somewhere within the step.
  await wait(delayMs);
  run.kill();
  const { signal, exitCode, output } = await run.ended;
  if (signal === null) expect(exitCode, output).toBe(0);
  return signal === "SIGKILL";
}

test("kill -9 in the middle of every step about containers is resumed by the next run", {
  timeout: 900_000,
}, async () => {
  let killed = 0;
  let secrets: string | null = null;
  for (const [step, delayMs] of [
    ["compose", 2],
    ["containers", 300],
    ["containers", 1_500],
    ["containers", 4_000],
    ["trust", 20],
    ["verify", 200],
    ["serve", 500],
  ] as const) {
    if (await killAt(step, delayMs)) killed += 1;
    const text = await readFile(join(box.baseDir, ".env"), "utf8");
    secrets ??= text;
    expect(text).toBe(secrets);
  }
  // Once a run has come to its end before its kill, which seconds after the start of a step it may, no further step begins.
  expect(killed).toBeGreaterThanOrEqual(3);
  expect(reportOf(await joinBox()).outcome).toMatch(/joined|already/);
  expect(reportOf(await joinBox())).toMatchObject({ outcome: "already", changed: [] });
  const containers = (await inventory()).filter((line) => line.startsWith("container"));
  expect(containers.map((line) => line.split(" ")[1])).toEqual(
    SERVICES.map((service) => `/${box.container(service)}`).toSorted(),
  );
  // What is late to answer on a busy machine is said to be bad.
  const status = await settled(
    async () => JSON.parse((await box.run("status", "--json", "--schedule-root", box.scheduleRoot)).stdout),
    ({ healthy }) => healthy,
  );
  expect(status).toMatchObject({ healthy: true, ledger: { state: "ok" }, serve: { state: "ok" } });
});
