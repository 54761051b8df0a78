import { execFileSync } from "node:child_process";
import { createServer } from "node:net";
import { once } from "node:events";
import Docker from "dockerode";
import { expect, onTestFinished, test } from "vitest";
import { systemClock } from "../../../src/lib/kernel/clock.ts";
import { messageOf } from "../../../src/lib/kernel/errors.ts";
import { applyProject } from "../../../src/lib/runtime/compose-apply.ts";
import { isApplied } from "../../../src/lib/runtime/compose-plan.ts";
import { removeProject, stopProject } from "../../../src/lib/runtime/compose-remove.ts";
import { findFreePort } from "../../support/free-port.ts";
import { composeProject, type TestProject } from "../../support/compose-stack.ts";
import { runContainer, startNetwork } from "../../support/containers.ts";
import { tinyCompose } from "../../support/tiny-service.ts";
import { until } from "../../support/until.ts";

const signal = new AbortController().signal;
const quiet = { signal, report: (): void => {} };

async function run(project: TestProject, service: string, ...argv: string[]): Promise<string> {
  const { containerId } = await project.containerOf(service);
  return execFileSync("docker", ["exec", containerId, ...argv], { encoding: "utf8" });
}

function compose(project: TestProject, ...argv: string[]): string {
  const file = `${project.dir}/compose.yaml`;
  return execFileSync("/usr/bin/docker-compose", ["-p", project.name, "-f", file, ...argv], { encoding: "utf8" });
}

test("a project is set up once, a second time changes nothing, and docker-compose shows it as its own", async () => {
  await using project = composeProject(tinyCompose({ name: "one" }, { name: "two" }));
  const first = await project.apply();
  expect(first.services.map(({ action }) => action)).toEqual(["create", "create"]);
  const before = await project.health();
  expect(before.map(({ health }) => health)).toEqual(["healthy", "healthy"]);

  const plan = await project.plan();
  expect(isApplied(plan)).toBe(true);
  await project.apply();
  expect((await project.health()).map(({ containerId }) => containerId)).toEqual(
    before.map(({ containerId }) => containerId),
  );

  expect(compose(project, "ps", "--services", "--filter", "status=running").trim().split("\n").toSorted()).toEqual([
    "one",
    "two",
  ]);
  // The engine asks by itself, and later than we do.
  await until("docker-compose shows both as healthy", async () => {
    const shown = await Promise.resolve(compose(project, "ps"));
    return shown.split("Up (healthy)").length === 3;
  });
  expect(compose(project, "ps", "-q").trim().split("\n").toSorted()).toEqual(
    before.map(({ containerId }) => containerId).toSorted(),
  );
});

test("only the service that changed gets a new container, and what is in its volume stays", async () => {
  const volumes = [{ name: "one" }, { name: "two", volume: "other" }] as const;
  await using project = composeProject(tinyCompose(...volumes));
  await project.apply();
  await run(project, "one", "sh", "-c", "echo kept >/data/file");
  const before = { one: await project.containerOf("one"), two: await project.containerOf("two") };

  project.write(tinyCompose({ name: "one", colour: "red" }, volumes[1]));
  const plan = await project.plan();
  expect(plan.services.map(({ action, why }) => `${action}: ${why}`)).toEqual([
    "recreate: its settings have changed",
    "keep: it runs as it should",
  ]);
  await project.apply();

  const after = { one: await project.containerOf("one"), two: await project.containerOf("two") };
  expect(after.one.containerId).not.toBe(before.one.containerId);
  expect(after.two.containerId).toBe(before.two.containerId);
  expect(await run(project, "one", "sh", "-c", "cat /data/file; echo $COLOUR")).toBe("kept\nred\n");
});

test("a container is well as soon as it passes its check, also where the engine first asks after minutes", async () => {
  await using project = composeProject(tinyCompose({ askedLate: true }));
  await project.apply();
  expect(await project.containerOf("one")).toMatchObject({ state: "running", health: "healthy" });
  expect((await project.plan()).services.map(({ action }) => action)).toEqual(["keep"]);
});

test("a mounted file with other content is a change, because a secret that nobody reads again is no new secret", async () => {
  const text = tinyCompose({ name: "one" }).replace('["data:/data"]', '["data:/data", "./compose.yaml:/file:ro"]');
  await using project = composeProject(text);
  await project.apply();
  project.write(`# another remark\n${text}`);
  expect((await project.plan()).services.map(({ action }) => action)).toEqual(["recreate"]);
});

test("a container that does not become healthy is taken away again, and the one before it runs on with its name", async () => {
  await using project = composeProject(tinyCompose({}));
  await project.apply();
  const before = await project.containerOf("one");
  const good = tinyCompose({});
  project.write(tinyCompose({ colour: "red", well: false, script: "echo no colour is left" }));

  const failure = await project.apply().catch((error: unknown) => error);
  expect(failure).toMatchObject({ code: "FULA_CONTAINER_UNHEALTHY", kind: "failed" });
  const message = messageOf(failure);
  expect(message).toContain("it says that it is unhealthy");
  expect(message).toContain("it has no colour");
  expect(message).toContain("no colour is left");
  expect(message).toContain("The container before it was put back and started.");

  const after = await project.containerOf("one");
  expect(after).toMatchObject({
    containerId: before.containerId,
    containerName: `${project.name}-one-1`,
    state: "running",
    isWanted: true,
  });
  project.write(good);
  await project.apply();
  expect((await project.containerOf("one")).containerId).toBe(before.containerId);
});

test("a container that ends again and again is given up on before its time is over, with its exit code", async () => {
  await using project = composeProject(tinyCompose({ script: "echo something is missing; exit 7" }));
  // It would wait for longer than this test may take.
  await expect(project.apply({ healthPatienceMs: 3_600_000 })).rejects.toMatchObject({
    code: "FULA_CONTAINER_UNHEALTHY",
    message: expect.stringMatching(/exit code 7[\s\S]*something is missing/),
  });
});

test("an image that is not there and cannot be pulled is an error that names the setting, and no container is touched", async () => {
  await using project = composeProject(tinyCompose({}));
  await project.apply();
  const before = await project.containerOf("one");
  const port = await findFreePort();
  project.write(tinyCompose({ image: `127.0.0.1:${port}/nowhere:1` }));
  await expect(project.apply()).rejects.toMatchObject({
    code: "FULA_IMAGE_MISSING",
    hint: expect.stringContaining("docker.images.one"),
  });
  expect(await project.containerOf("one")).toMatchObject({ containerId: before.containerId, state: "running" });
});

test("whatever is foreign under a name or port that is needed is named at once, and nothing is changed", async () => {
  const strangersPort = await findFreePort();
  await using stranger = await runContainer("stranger", {
    image: "fula-test/busybox:1",
    command: ["sleep", "600"],
    ports: { [strangersPort]: 80 },
  });
  await using network = await startNetwork("stranger");
  const listener = createServer().listen(0, "127.0.0.1");
  onTestFinished(() => {
    listener.close();
  });
  await once(listener, "listening");
  const address = listener.address();
  const processPort = typeof address === "object" && address !== null ? address.port : 0;
  await using project = composeProject(
    tinyCompose({
      containerName: stranger.name,
      ports: [`127.0.0.1:${strangersPort}:80`, `127.0.0.1:${processPort}:81`],
    }),
  );
  const { docker, name } = project;
  await docker.createNetwork({ Name: `${name}_stack` });
  await docker.createVolume({ Name: `${name}_data`, Labels: { "com.docker.compose.project": "another" } });
  onTestFinished(async () => {
    await docker.getNetwork(`${name}_stack`).remove();
    await docker.getVolume(`${name}_data`).remove();
  });

  const plan = await project.plan();
  expect(plan.foreign.map(({ kind, name: thing, what }) => `${kind} ${thing}: ${what}`)).toEqual([
    `container ${stranger.name}: container ${stranger.container.id.slice(0, 12)} of image fula-test/busybox:1 has this name; it belongs to no Compose project`,
    `network ${name}_stack: a network of this name is there already; it belongs to no Compose project`,
    `volume ${name}_data: a volume of this name is there already; it belongs to the Compose project another`,
    `port 127.0.0.1:${strangersPort}/tcp: container ${stranger.name} of image fula-test/busybox:1 has it; it belongs to no Compose project`,
    expect.stringMatching(`port 127.0.0.1:${processPort}/tcp: process ${process.pid} has it: `),
  ]);
  await expect(project.apply()).rejects.toMatchObject({ code: "FULA_DOCKER_FOREIGN", kind: "refused" });
  expect(await project.health()).toEqual([]);
  expect((await stranger.container.inspect()).State.Running).toBe(true);
  expect(network.name).not.toBe("");

  await removeProject(docker, name, { ...quiet, volumes: true });
  expect((await docker.getVolume(`${name}_data`).inspect()).Name).toBe(`${name}_data`);
});

test("services of a profile that is off are not made, and what is left of one is named and left alone", async () => {
  await using project = composeProject(tinyCompose({ name: "one" }, { name: "extra", profiles: ["extra"] }));
  await project.apply();
  expect((await project.health()).map(({ service }) => service)).toEqual(["one"]);
  await project.apply({ profiles: ["extra"] });
  expect((await project.health()).map(({ service }) => service)).toEqual(["extra", "one"]);
  const plan = await project.plan();
  expect(plan.orphans.map(({ service }) => service)).toEqual(["extra"]);
  expect(isApplied(plan)).toBe(true);
});

test("a stopped project stays stopped, and the next apply starts the same containers", async () => {
  await using project = composeProject(tinyCompose({}));
  await project.apply();
  const before = await project.containerOf("one");
  expect(await stopProject(project.docker, project.name, quiet)).toEqual([before.containerName]);
  expect(await project.containerOf("one")).toMatchObject({ state: "exited", isWanted: false });
  expect(await stopProject(project.docker, project.name, quiet)).toEqual([]);
  await project.apply();
  expect(await project.containerOf("one")).toMatchObject({
    containerId: before.containerId,
    state: "running",
    isWanted: true,
  });
});

/** An engine that answers so many changes, and then nothing at all: what a killed process leaves behind. */
function cutOff(changes: number): TestProject["docker"] {
  const docker = new Docker();
  const { modem } = docker;
  const dial = modem.dial.bind(modem);
  let left = changes;
  let isCut = false;
  modem.dial = (options, callback) => {
    if (options.method !== "GET") {
      isCut ||= left === 0;
      left -= 1;
    }
    if (isCut) callback?.(Object.assign(new Error("killed"), { code: "ECONNRESET" }), null);
    else dial(options, callback);
  };
  return docker;
}

test("an update that is killed after any of its changes is finished by the next one, with one container and its data", async () => {
  await using project = composeProject(tinyCompose({ colour: "0" }));
  await project.apply();
  await run(project, "one", "sh", "-c", "echo kept >/data/file");
  const seen = new Set<string>();
  for (let changes = 0; ; changes += 1) {
    const colour = String(changes + 1);
    project.write(tinyCompose({ colour }));
    const plan = await project.plan();
    const outcome = await applyProject(cutOff(changes), plan, { ...quiet, clock: systemClock }).then(
      () => "done",
      () => "cut",
    );
    if (outcome === "done") break;
    const [next] = (await project.plan()).services;
    seen.add(`${next?.action}, ${next?.setAside.length} set aside`);
    await project.apply();
    expect(await run(project, "one", "sh", "-c", "cat /data/file; echo $COLOUR")).toBe(`kept\n${colour}\n`);
    expect(await project.containerOf("one")).toMatchObject({
      containerName: `${project.name}-one-1`,
      health: "healthy",
      isWanted: true,
    });
    expect(isApplied(await project.plan())).toBe(true);
  }
  expect([...seen].toSorted()).toEqual(["recreate, 0 set aside", "start, 1 set aside"]);
});

test("a first set-up that is killed after any of its changes is finished by the next one", async () => {
  for (let changes = 0; ; changes += 1) {
    await using project = composeProject(tinyCompose({}));
    const plan = await project.plan();
    const outcome = await applyProject(cutOff(changes), plan, { ...quiet, clock: systemClock }).then(
      () => "done",
      () => "cut",
    );
    await project.apply();
    expect(await project.containerOf("one")).toMatchObject({ health: "healthy" });
    if (outcome === "done") break;
  }
});
