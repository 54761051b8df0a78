import { execFileSync } from "node:child_process";
import { randomBytes } from "node:crypto";
import { cpSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { z } from "zod";
import { isApplied } from "../../../src/lib/runtime/compose-plan.ts";
import { findFreePort } from "../../support/free-port.ts";
import { IMAGES } from "../../infra/image-names.ts";
import { composeProjectOf, type TestProject } from "../../support/compose-stack.ts";
import { runToEnd, uniqueName } from "../../support/containers.ts";
import { infra } from "../../infra/infra.ts";
import { tempDir } from "../../support/temp-dir.ts";
import { until } from "../../support/until.ts";

const TEMPLATES = join(import.meta.dirname, "../../../templates/docker");
const bindingsSchema = z.record(z.string(), z.array(z.object({ HostIp: z.string() })));
const SECRET = randomBytes(32).toString("hex");
const PASSWORD = "a password with $, # and 'quotes'";

async function valuesOf(more: Readonly<Record<string, string>> = {}): Promise<Readonly<Record<string, string>>> {
  const [postgres, api, swarm, rest, clusterSwarm] = await Promise.all(
    Array.from({ length: 5 }, async () => String(await findFreePort("0.0.0.0"))),
  );
  return {
    POSTGRES_IMAGE: IMAGES.postgres,
    KUBO_IMAGE: IMAGES.kubo,
    CLUSTER_IMAGE: IMAGES.cluster,
    POSTGRES_PORT: postgres ?? "",
    KUBO_API_PORT: api ?? "",
    KUBO_SWARM_PORT: swarm ?? "",
    CLUSTER_API_PORT: rest ?? "",
    CLUSTER_SWARM_PORT: clusterSwarm ?? "",
    KUBO_REACH: "federation",
    ...more,
  };
}

function compose(dir: string, ...argv: string[]): string {
  return execFileSync("/usr/bin/docker-compose", argv, { cwd: dir, encoding: "utf8", stdio: "pipe" });
}

async function kuboConfig(project: TestProject, key: string): Promise<unknown> {
  const { stdout } = await project.exec("kubo", ["ipfs", "config", key]);
  return JSON.parse(stdout);
}

/** With health checks that ask every second, so that a test need not wait for what takes minutes on a box. */
function quickened(text: string): string {
  return text
    .replaceAll("interval: 10s", "interval: 1s")
    .replaceAll("timeout: 20s", "timeout: 5s")
    .replaceAll("retries: 5", "retries: 2");
}

describe("the templates", () => {
  test.each(["master", "storage"])("%s.compose.yaml is a Compose file as it is, without a warning", (role) => {
    const dir = tempDir();
    for (const name of readdirSync(TEMPLATES)) cpSync(join(TEMPLATES, name), join(dir, name));
    const argv = ["-f", `${role}.compose.yaml`, "--profile", "gateway", "config"];
    expect(compose(dir, ...argv)).toContain("ipfs-cluster:v1.1.6");
  });

  test("take the capabilities, the privileges and the memory of every service away, and keep its log bounded", () => {
    for (const role of ["master", "storage"]) {
      const argv = ["-f", `${role}.compose.yaml`, "--profile", "gateway", "config"];
      const text = compose(TEMPLATES, ...argv);
      const services = text
        .slice(text.indexOf("\nservices:"), text.indexOf("\nversion:"))
        .split(/\n {2}(?=\S+:\n)/)
        .slice(1);
      expect(services.length).toBeGreaterThanOrEqual(2);
      for (const service of services) {
        expect(service).toMatch(/cap_drop:\n {4}- ALL/);
        expect(service).toContain("no-new-privileges:true");
        expect(service).toMatch(/mem_limit: /);
        expect(service).toMatch(/pids_limit: /);
        expect(service).toMatch(/max-size: /);
        expect(service).toMatch(/healthcheck:/);
        expect(service).not.toContain("docker.sock");
      }
    }
  });
});

describe("a master's stack", () => {
  test("comes up healthy, with its APIs on loopback, its secrets in no configured environment, and twice the same", async () => {
    const values = await valuesOf();
    await using project = composeProjectOf("master", values, {
      services: ["postgres", "kubo", "cluster"],
      secrets: { postgres_password: PASSWORD, cluster_secret: SECRET },
    });
    await project.apply();
    expect((await project.health()).map(({ service, health }) => `${service} ${health}`)).toEqual([
      "cluster healthy",
      "kubo healthy",
      "postgres healthy",
    ]);
    expect(isApplied(await project.plan())).toBe(true);
    const inspected = await Promise.all(
      (await project.health()).map(async ({ containerId }) => await project.docker.getContainer(containerId).inspect()),
    );
    const configured = JSON.stringify(inspected);
    expect(configured).not.toContain(SECRET);
    expect(configured).not.toContain("a password with");
    for (const { HostConfig } of inspected) {
      expect(HostConfig.ReadonlyRootfs).toBe(true);
      for (const [inside, bindings] of Object.entries(bindingsSchema.parse(HostConfig.PortBindings))) {
        const isSwarm = inside.startsWith("4001/") || inside.startsWith("9096/");
        expect([inside, ...bindings.map(({ HostIp }) => HostIp)]).toEqual([inside, isSwarm ? "0.0.0.0" : "127.0.0.1"]);
      }
    }
    compose(project.dir, "-f", "compose.yaml", "config", "-q");
    const api = await fetch(`http://127.0.0.1:${values["KUBO_API_PORT"]}/api/v0/id`, { method: "POST" });
    expect(api.status).toBe(200);
    const rest = await fetch(`http://127.0.0.1:${values["CLUSTER_API_PORT"]}/id`);
    expect(await rest.json()).toMatchObject({ error: "", ipfs: { error: "" } });
    const asked = await project.exec(
      "postgres",
      ["psql", "-h", "127.0.0.1", "-U", "pinning_user", "-d", "pinning_service", "-Atc", "select current_user"],
      { PGPASSWORD: PASSWORD },
    );
    expect(asked.stdout.trim()).toBe("pinning_user");
  });

  test("moves an API that an older init put on all interfaces", async () => {
    const values = await valuesOf();
    await using project = composeProjectOf("master", values, {
      services: ["kubo"],
      secrets: {},
    });
    const { docker, name } = project;
    const labels = { "com.docker.compose.project": name, "com.docker.compose.volume": "kubo-data" };
    await docker.createVolume({ Name: `${name}_kubo-data`, Labels: labels });
    const open = "ipfs init --empty-repo && ipfs config Addresses.API /ip4/0.0.0.0/tcp/5001";
    const old = await runToEnd(docker, uniqueName("old-kubo"), {
      image: IMAGES.kubo,
      user: "1000:100",
      entrypoint: ["sh", "-c", open],
      volumes: { [`${name}_kubo-data`]: "/data/ipfs" },
    });
    expect(old.exitCode).toBe(0);

    await project.apply();
    const kubo = await project.containerOf("kubo");
    const { NetworkSettings } = await docker.getContainer(kubo.containerId).inspect();
    const address = Object.values(NetworkSettings.Networks)[0]?.IPAddress;
    expect(await kuboConfig(project, "Addresses.API")).toEqual(["/ip4/127.0.0.1/tcp/5001", `/ip4/${address}/tcp/5001`]);
  });

  test("is unhealthy while its Kubo API listens on all interfaces, whoever put it there", async () => {
    await using project = composeProjectOf("master", await valuesOf(), { services: ["kubo"], secrets: {} });
    const open =
      "ipfs init --empty-repo && ipfs config Addresses.API /ip4/0.0.0.0/tcp/5001 && exec ipfs daemon --offline";
    // Until Kubo listens, which takes a second or two, its check finds something else wrong with it.
    project.write(
      quickened(project.text())
        .replace(/entrypoint: .*/, `entrypoint: [sh, -c, ${JSON.stringify(open)}]`)
        .replace("start_period: 60s", "start_period: 15s"),
    );
    await expect(project.apply()).rejects.toMatchObject({
      code: "FULA_CONTAINER_UNHEALTHY",
      message: expect.stringContaining("Its health check said: the API listens on all interfaces"),
    });
  });

  test.each([
    ["federation", "", "none", [], 0],
    ["public", "/ip4/198.51.100.7/tcp/4001", "auto", ["auto"], 7],
    ["public", "/ip4/10.1.2.3/tcp/4001", "auto", ["auto"], 0],
  ])(
    "a Kubo of reach %s that announces %j asks and dials whom it should",
    async (reach, announce, routing, bootstrap, filters) => {
      const values = await valuesOf({ KUBO_REACH: reach, KUBO_ANNOUNCE: announce });
      await using project = composeProjectOf("master", values, { services: ["kubo"], secrets: {} });
      await project.apply();
      expect(await kuboConfig(project, "Bootstrap")).toEqual(bootstrap);
      expect(await kuboConfig(project, "Routing")).toMatchObject({ Type: routing });
      expect(await kuboConfig(project, "Swarm")).toMatchObject({ AddrFilters: { length: filters } });
      expect(await kuboConfig(project, "Addresses.AppendAnnounce")).toEqual(announce === "" ? [] : [announce]);
      expect(await kuboConfig(project, "Discovery.MDNS.Enabled")).toBe(false);
    },
  );

  test("has no cluster without a secret: the peer says so and does not start", async () => {
    const values = await valuesOf();
    for (const [secret, said] of [
      ["", "without a secret the swarm is open to anyone"],
      ["abc123", "must hold 64 hexadecimal digits, not 6"],
    ] as const) {
      await using project = composeProjectOf("master", values, {
        services: ["cluster"],
        secrets: { cluster_secret: secret },
      });
      await expect(project.apply()).rejects.toMatchObject({
        code: "FULA_CONTAINER_UNHEALTHY",
        message: expect.stringContaining(said),
      });
    }
  });

  test("whose Kubo is frozen is unhealthy, although its port still takes connections", async () => {
    const values = await valuesOf();
    await using project = composeProjectOf("master", values, { services: ["kubo"], secrets: {} });
    project.write(quickened(project.text()));
    await project.apply();
    const { containerId } = await project.containerOf("kubo");
    const { stdout } = await project.exec("kubo", ["pidof", "ipfs"]);
    expect(stdout.trim()).not.toBe("");
    const inspect = async () => await infra().docker.getContainer(containerId).inspect();
    // Until it has found it well itself, the engine counts no failure within the minute that a start may take.
    await until("the engine finds it well", async () => (await inspect()).State.Health?.Status === "healthy");
    const { State } = await inspect();
    process.kill(State.Pid, "SIGSTOP");
    await until("it is unhealthy", async () => (await project.containerOf("kubo")).health === "unhealthy");
    process.kill(State.Pid, "SIGCONT");
    await until("it is healthy again", async () => (await project.containerOf("kubo")).health === "healthy");
  });
});
