import { expectDone } from "../../support/cli.ts";
import { randomBytes } from "node:crypto";
import { readFile, stat } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { loadConfig } from "../../../src/lib/config/load.ts";
import { removeProject } from "../../../src/lib/runtime/compose-remove.ts";
import { readProjectHealth, type ServiceHealth } from "../../../src/lib/runtime/project-health.ts";
import { IMAGES } from "../../infra/image-names.ts";
import { infra } from "../../infra/infra.ts";
import type { CliRun } from "../../support/cli.ts";
import { uniqueName } from "../../support/containers.ts";
import { launch } from "../../support/launched.ts";
import { until } from "../../support/until.ts";
import { type HostMember, joinArgs, placeMember, removeMember } from "../federation/member.ts";

let box: HostMember;
// A registry at which nobody answers: an image of it that is here is all that there is.
const repository = `127.0.0.1:1/${uniqueName("image")}`;
const made: string[] = [];

beforeAll(async () => {
  box = await placeMember(`fula-upgrade-${randomBytes(4).toString("hex")}`, "m1");
  expectDone(
    await box.run("join", "--runtime", "docker", ...joinArgs(box, "192.0.2.7"), "--no-start", "--no-schedules"),
    "join",
  );
});

afterAll(async () => {
  const { docker } = infra();
  await removeMember(box);
  const { signal } = new AbortController();
  await removeProject(docker, box.project, { signal, report: () => {}, volumes: true });
  for (const tag of made) await docker.getImage(tag).remove({ force: true });
});

/** An image of a name of its own that is like `base`, but for a change in its configuration. */
async function derive(base: string, tag: string, change: string): Promise<string> {
  const { docker } = infra();
  const container = await docker.createContainer({ Image: base, name: uniqueName("base") });
  try {
    await container.commit({ repo: repository, tag, changes: change });
  } finally {
    await container.remove({ force: true, v: true });
  }
  const name = `${repository}:${tag}`;
  if (!made.includes(name)) made.push(name);
  return name;
}

async function services(): Promise<Readonly<Record<string, ServiceHealth>>> {
  const all = await readProjectHealth(infra().docker, box.project);
  expect(all).toHaveLength(5);
  return Object.fromEntries(all.map((each) => [each.service, each]));
}

/** What stays as it is where nothing was replaced: what a check said last, and how it went, the engine notes by itself. */
async function standing(): Promise<readonly object[]> {
  return Object.values(await services()).map((each) => ({ ...each, health: null, healthOutput: null }));
}

/** Waits until these are well: one server may be so a moment later than the other that it elects with. */
async function untilWell(...names: readonly string[]): Promise<Readonly<Record<string, ServiceHealth>>> {
  return await until(`${names.join(" and ")} are healthy`, async () => {
    const all = await services();
    return names.every((name) => all[name]?.health === "healthy") && all;
  });
}

async function upgrade(...more: readonly string[]): Promise<CliRun> {
  return await box.run("upgrade", "--json", "--yes", "--no-pull", ...more);
}

async function imageSetting(service: "kubo" | "postgres"): Promise<string> {
  const { config } = await loadConfig({ globals: { baseDir: box.baseDir }, env: {}, cwd: "/" });
  return config.docker.images[service];
}

function errorOf(run: CliRun): { readonly code: string; readonly message: string } {
  return JSON.parse(run.stderr.slice(run.stderr.indexOf('{"error"'))).error;
}

describe("upgrade", () => {
  test("of a box whose images are what the settings name replaces nothing", async () => {
    const before = await standing();
    expect(JSON.parse(expectDone(await upgrade(), "upgrade").stdout)).toMatchObject({
      outcome: "current",
      upgraded: [],
    });
    expect(await standing()).toEqual(before);
  });

  test("replaces one container by one of the named image, writes the setting, and join finds nothing to do", async () => {
    const before = await services();
    const stood = await standing();
    const image = await derive(IMAGES.kubo, "next", "LABEL fula-test.next=1");
    const planned = JSON.parse(expectDone(await upgrade("--dry-run", "--image", `kubo=${image}`), "plan").stdout);
    expect(planned).toMatchObject({ outcome: "planned", upgraded: [] });
    expect(await standing()).toEqual(stood);

    const pulling = ["upgrade", "--json", "--yes", "--service", "kubo", "--image", `kubo=${image}`] as const;
    const done = JSON.parse(expectDone(await box.run(...pulling), "upgrade").stdout);
    expect(done).toMatchObject({ outcome: "upgraded", upgraded: ["kubo"], dump: null });
    expect(done.remarks).toEqual([`${image} could not be pulled and is taken as it is on this box`]);
    const after = await untilWell("kubo");
    expect(after["kubo"]).toMatchObject({ image, containerName: box.container("kubo") });
    expect([after["postgres"]?.containerId, after["cluster"]?.containerId]).toEqual([
      before["postgres"]?.containerId,
      before["cluster"]?.containerId,
    ]);
    expect(await imageSetting("kubo")).toBe(image);
    expect(await readFile(join(box.baseDir, "compose.yaml"), "utf8")).toContain(image);
    const again = await box.run("join", "--json", "--yes", "--no-start", "--no-schedules");
    expect(JSON.parse(expectDone(again, "join").stdout)).toMatchObject({ outcome: "already", changed: [] });
  });

  test("replaces a container whose image's name means another image by now", async () => {
    const before = await services();
    await derive(IMAGES.kubo, "next", "LABEL fula-test.next=2");
    const planned = JSON.parse(expectDone(await upgrade("--dry-run"), "plan").stdout);
    expect(planned.items.filter(({ isDue }: { readonly isDue: boolean }) => isDue)).toMatchObject([
      { service: "kubo", why: `${repository}:next names another image by now` },
    ]);
    expectDone(await upgrade(), "upgrade");
    const after = await services();
    expect(after["kubo"]?.imageId).not.toBe(before["kubo"]?.imageId);
    expect(JSON.parse((await upgrade()).stdout)).toMatchObject({ outcome: "current" });
  });

  test("whose registry does not answer never says that everything is current, and exits 4", async () => {
    const run = await box.run("upgrade", "--json", "--yes", "--service", "kubo");
    expect(run.exitCode).toBe(4);
    expect(JSON.parse(run.stdout)).toMatchObject({
      outcome: "unknown",
      remarks: [`${repository}:next could not be pulled and is taken as it is on this box`],
    });
  });

  test("that is killed half-way is finished by the next run without its options, and join keeps the new image", async () => {
    const image = await derive(IMAGES.kubo, "cut", "LABEL fula-test.cut=1");
    const options = ["--base-dir", box.baseDir, "--yes", "--no-pull", "--image", `kubo=${image}`];
    const running = launch(["upgrade", ...options]);
    await until("the setting names the image", async () => (await imageSetting("kubo")) === image);
    running.kill();
    expect(await running.ended).toMatchObject({ signal: "SIGKILL" });
    expectDone(await upgrade(), "upgrade");
    expect((await untilWell("kubo"))["kubo"]).toMatchObject({ image, isWanted: true });
    expect(await imageSetting("kubo")).toBe(image);
    const joined = await box.run("join", "--json", "--yes", "--no-start", "--no-schedules");
    expect(JSON.parse(expectDone(joined, "join").stdout)).toMatchObject({ outcome: "already", changed: [] });
  });

  test("to an image that does not become healthy puts the old container back, keeps the setting, and exits 1", async () => {
    const before = await services();
    const setting = await imageSetting("kubo");
    const broken = await derive("fula-test/busybox:1", "broken", "LABEL fula-test.broken=1");
    const run = await upgrade("--image", `kubo=${broken}`);
    expect(run.exitCode).toBe(1);
    expect(errorOf(run)).toMatchObject({
      code: "FULA_CONTAINER_UNHEALTHY",
      message: expect.stringContaining("The container before it was put back and started."),
    });
    const after = await services();
    expect(after["kubo"]).toMatchObject({ containerId: before["kubo"]?.containerId, state: "running" });
    expect(await imageSetting("kubo")).toBe(setting);
    const joined = await box.run("join", "--json", "--yes", "--no-start", "--no-schedules");
    expect(expectDone(joined, "join").exitCode).toBe(0);
    expect((await untilWell("kubo"))["kubo"]).toMatchObject({ containerId: before["kubo"]?.containerId });
  });

  test("of the control plane's servers replaces one after the other, the witness first", async () => {
    const image = await derive(IMAGES.nats, "nats", "LABEL changed=yes");
    const outcome = JSON.parse(expectDone(await upgrade("--image", `nats=${image}`), "upgrade").stdout);
    expect(outcome).toMatchObject({ upgraded: ["nats-witness", "nats"] });
    const after = await untilWell("nats-witness", "nats");
    for (const name of ["nats-witness", "nats"]) expect(after[name]).toMatchObject({ image });
    const { config } = await loadConfig({ globals: { baseDir: box.baseDir }, env: {}, cwd: "/" });
    expect(config.docker.images.nats).toBe(image);
  });

  test("of PostgreSQL takes a dump first, and keeps the ledger", async () => {
    const image = await derive(IMAGES.postgres, "same", "LABEL fula-test.same=1");
    const before = await services();
    const { dump, upgraded } = JSON.parse(expectDone(await upgrade("--image", `postgres=${image}`), "upgrade").stdout);
    expect(upgraded).toEqual(["postgres"]);
    expect((await stat(dump)).size).toBeGreaterThan(10_000);
    const after = await untilWell("postgres");
    expect(after["postgres"]).toMatchObject({ image });
    expect(after["cluster"]?.containerId).toBe(before["cluster"]?.containerId);
    const status = await box.run("migrate", "status", "--json");
    expect(expectDone(status, "migrate status").exitCode).toBe(0);
  });

  test("of PostgreSQL to another major version, or to an image that does not say which, is refused", async () => {
    const before = await standing();
    for (const [tag, change, said] of [
      ["major", "ENV PG_MAJOR=16", "is that of PostgreSQL 15, and"],
      ["unknown", "ENV PG_MAJOR=", "does not say which PostgreSQL it is"],
    ] as const) {
      const image = await derive(IMAGES.postgres, tag, change);
      const run = await upgrade("--image", `postgres=${image}`);
      expect(run.exitCode).toBe(3);
      expect(errorOf(run)).toMatchObject({ code: "FULA_UPGRADE_MAJOR", message: expect.stringContaining(said) });
    }
    expect(await standing()).toEqual(before);
  });

  test("to an image that is nowhere, or of a service that is not there, says so and touches nothing", async () => {
    const before = await standing();
    const nowhere = await upgrade("--image", `kubo=${repository}:nowhere`);
    expect(nowhere.exitCode).toBe(4);
    expect(errorOf(nowhere)).toMatchObject({ code: "FULA_IMAGE_MISSING" });
    expect((await upgrade("--image", "webui=nats:2")).exitCode).toBe(2);
    expect((await upgrade("--service", "gateway")).exitCode).toBe(2);
    expect(await standing()).toEqual(before);
  });
});
