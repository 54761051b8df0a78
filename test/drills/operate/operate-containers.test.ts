import { randomBytes } from "node:crypto";
import { mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type Docker from "dockerode";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { LABELS } from "../../../src/lib/runtime/compose-labels.ts";
import type { DoctorResult } from "../../../src/lib/stack/doctor.ts";
import { writeInstallation } from "../../../src/lib/stack/installation.ts";
import type { StatusReport } from "../../../src/lib/stack/status-report.ts";
import { infra } from "../../infra/infra.ts";
import { runCliForTest } from "../../support/cli.ts";
import { until } from "../../support/until.ts";

const PROJECT = `fula-operate-${randomBytes(4).toString("hex")}`;
const CLUSTER_ID = "0b9a5f0e-0000-4000-8000-0000000000d1";

let docker: Docker;
let image: string;
let baseDir: string;

async function makeContainer(service: string, project: string, health?: string): Promise<Docker.Container> {
  const container = await docker.createContainer({
    name: `${project}-${service}-1`,
    Image: image,
    Entrypoint: [],
    Cmd: ["sh", "-c", "trap 'exit 0' TERM; while :; do sleep 1 & wait; done"],
    Labels: { [LABELS.project]: project, [LABELS.service]: service, [LABELS.oneOff]: "False" },
    HostConfig: {
      RestartPolicy: { Name: "unless-stopped" },
      Mounts: [{ Type: "volume", Source: `${project}_${service}-data`, Target: "/data" }],
    },
    ...(health === undefined
      ? {}
      : { Healthcheck: { Test: ["CMD-SHELL", health], Interval: 200_000_000, Retries: 1, Timeout: 1_000_000_000 } }),
  });
  await container.start();
  return container;
}

/** What an older installer leaves under the same project name, and our Compose file does not know. */
const OLD_VOLUME = `${PROJECT}_webui-data`;

async function makeVolume(name: string, project: string | null): Promise<void> {
  await docker.createVolume({ Name: name, Labels: project === null ? {} : { [LABELS.project]: project } });
}

beforeAll(async () => {
  const { docker: engine, images } = infra();
  docker = engine;
  image = images.kubo;
  baseDir = await mkdtemp(join(tmpdir(), "fula-operate-"));
  await mkdir(join(baseDir, "state"), { recursive: true });
  const settings = {
    runtime: "docker",
    node: { role: "storage", name: "s1", clusterId: CLUSTER_ID },
    docker: { project: PROJECT, images: { kubo: image, cluster: image } },
    // Nobody listens there: what the containers are is looked at, not what is in them.
    blocks: { mode: "docker", kuboApi: "/ip4/127.0.0.1/tcp/1" },
    cluster: { mode: "docker", api: "/ip4/127.0.0.1/tcp/1" },
  };
  await writeFile(join(baseDir, "fula-master.yaml"), JSON.stringify(settings));
  await writeFile(join(baseDir, ".env"), "", { mode: 0o600 });
  await writeInstallation(join(baseDir, "state"), {
    format: 1,
    clusterId: CLUSTER_ID,
    createdAt: "2026-11-20T03:00:00Z",
    createdBy: "0.1.0",
    changedBy: "0.1.0",
    made: [],
  });
  for (const service of ["kubo", "cluster"]) await makeVolume(`${PROJECT}_${service}-data`, PROJECT);
  await makeVolume(`${PROJECT}_strange`, null);
  await makeVolume(`${PROJECT}x_other`, `${PROJECT}x`);
  await makeVolume(OLD_VOLUME, PROJECT);
  await makeContainer("webui", PROJECT);
  await makeContainer("kubo", PROJECT);
  await makeContainer("cluster", PROJECT, "exit 1");
});

afterAll(async () => {
  const names = ["kubo", "cluster", "webui"].map((service) => `${PROJECT}-${service}-1`);
  for (const name of names)
    await docker
      .getContainer(name)
      .remove({ force: true })
      .catch(() => {});
  const made = ["_kubo-data", "_cluster-data", "_webui-data", "_strange", "x_other"].map((end) => `${PROJECT}${end}`);
  for (const name of made)
    await docker
      .getVolume(name)
      .remove()
      .catch(() => {});
  await rm(baseDir, { recursive: true, force: true });
});

async function status(): Promise<StatusReport> {
  return JSON.parse((await runCliForTest(["status", "--json"], { baseDir })).stdout);
}

async function leave(...args: readonly string[]) {
  const run = await runCliForTest(["leave", "--yes", "--json", "--force", ...args], { baseDir });
  expect(run.exitCode, run.stderr).toBe(0);
  return JSON.parse(run.stdout);
}

async function stateOf(service: string): Promise<string | null> {
  try {
    return (await docker.getContainer(`${PROJECT}-${service}-1`).inspect()).State.Status;
  } catch {
    return null;
  }
}

async function volumes(): Promise<readonly string[]> {
  const { Volumes } = await docker.listVolumes();
  return Volumes.map(({ Name }) => Name)
    .filter((name) => name.startsWith(PROJECT))
    .toSorted();
}

describe("the containers of a storage node", () => {
  test("are shown with their health, and an unhealthy one makes the node unhealthy", async () => {
    const report = await until("the engine has asked the cluster how it is", async () => {
      const seen = await status();
      const found = seen.containers?.services.find(({ service }) => service === "cluster");
      return found?.health === "unhealthy" && seen;
    });
    expect(report).toMatchObject({ healthy: false, ledger: null, snapshot: null, sweep: null });
    expect(report.serve).toMatchObject({ state: "bad", problem: expect.stringContaining("does not run") });
    expect(report.containers).toMatchObject({
      state: "bad",
      project: PROJECT,
      problem: expect.stringMatching(/^cluster is unhealthy/),
      services: [
        { service: "cluster", state: "running", health: "unhealthy", image },
        { service: "kubo", container: `${PROJECT}-kubo-1`, state: "running", health: "none", restarts: 0 },
        { service: "webui", state: "running" },
      ],
    });
    expect(report.dockerDisk).toMatchObject({ freeBytes: expect.any(Number) });
  });

  test("that died, or are not there, are named by doctor with what brings them back", async () => {
    await docker.getContainer(`${PROJECT}-kubo-1`).kill();
    const run = await runCliForTest(["doctor", "--json", "--only", "engine,containers"], { baseDir });
    expect(run.exitCode).toBe(1);
    const checks: readonly DoctorResult[] = JSON.parse(run.stdout).checks;
    expect(checks.find(({ name }) => name === "engine")?.verdict).toBe("ok");
    const dead = checks.find(({ message }) => message.includes(`${PROJECT}-kubo-1`));
    expect(dead).toMatchObject({ verdict: "failed", message: expect.stringMatching(/does not run: it is exited/) });
    await docker.getContainer(`${PROJECT}-kubo-1`).start();
  });

  test("whose image is another one than the settings name are to be looked at", async () => {
    const env = { PATH: process.env["PATH"], FULA_MASTER_DOCKER_IMAGES_KUBO: "ipfs/kubo:v9.9.9" };
    const run = await runCliForTest(["doctor", "--json", "--only", "containers"], { baseDir, env });
    const checks: readonly DoctorResult[] = JSON.parse(run.stdout).checks;
    expect(checks.find(({ verdict }) => verdict === "warning")?.message).toContain(
      "docker.images.kubo is ipfs/kubo:v9.9.9",
    );
  });

  test("cannot be looked at without an engine, and that is no all-clear", async () => {
    const env = { PATH: process.env["PATH"], DOCKER_HOST: "unix:///nonexistent.sock" };
    const run = await runCliForTest(["status", "--json"], { baseDir, env });
    expect(run.exitCode).toBe(1);
    expect(JSON.parse(run.stdout).containers).toMatchObject({
      state: "bad",
      problem: expect.stringContaining("FULA_DOCKER_UNREACHABLE"),
    });
    const checked = await runCliForTest(["doctor", "--json", "--only", "engine"], { baseDir, env });
    expect(checked.exitCode).toBe(1);
  });

  test("are stopped for good by leave, with every volume kept, and a second leave has nothing to do", async () => {
    const before = await volumes();
    expect(await leave()).toMatchObject({ outcome: "left", changed: ["containers"] });
    expect(await stateOf("kubo")).toBe("exited");
    expect(await stateOf("cluster")).toBe("exited");
    expect(await stateOf("webui")).toBe("running");
    expect(await volumes()).toEqual(before);
    expect(await leave()).toMatchObject({ outcome: "already", changed: [] });
    expect((await status()).node?.leftAt).toEqual(expect.any(String));
  });

  test("go with their volumes in a purge, and with nothing of an older installer or anybody else", async () => {
    const planned = await runCliForTest(["leave", "--purge", "--force", "--dry-run"], { baseDir });
    expect(planned.stdout).toContain(`remove the volume ${PROJECT}_kubo-data, with all that is in it`);
    expect(planned.stdout).toContain(`stays as it is: ${PROJECT}-webui-1, ${OLD_VOLUME}`);
    expect(planned.stdout).not.toContain(`${PROJECT}_strange`);
    expect(await leave("--purge")).toMatchObject({ outcome: "purged" });
    expect(await stateOf("kubo")).toBeNull();
    expect(await volumes()).toEqual([`${PROJECT}_strange`, OLD_VOLUME, `${PROJECT}x_other`]);
    expect(await stateOf("webui")).toBe("running");
  });
});
