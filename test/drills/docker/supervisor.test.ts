import { execFileSync } from "node:child_process";
import { join } from "node:path";
import Docker from "dockerode";
import { expect, test } from "vitest";
import { systemClock } from "../../../src/lib/kernel/clock.ts";
import type { Log, LogFields } from "../../../src/lib/kernel/log.ts";
import { stopProject } from "../../../src/lib/runtime/compose-remove.ts";
import { areWell, superviseContainers } from "../../../src/lib/runtime/container-supervisor.ts";
import { composeProject } from "../../support/compose-stack.ts";
import { tinyCompose } from "../../support/tiny-service.ts";
import { until } from "../../support/until.ts";

/** Keeps the names of the events. */
function eventLog(): { readonly log: Log; readonly events: string[] } {
  const events: string[] = [];
  const note = (event: string, fields?: LogFields): void => {
    const service = fields?.["service"];
    events.push(typeof service === "string" ? `${event} ${service}` : event);
  };
  const log: Log = { debug: note, info: note, warn: note, error: note, child: () => log };
  return { log, events };
}

const FAST = { clock: systemClock, intervalMs: 200 };

test("a container whose process is frozen is restarted, is well again, and keeps what is in its volume", async () => {
  await using project = composeProject(tinyCompose({ name: "frozen" }, { name: "other" }));
  await project.apply();
  const before = await project.containerOf("frozen");
  const other = await project.containerOf("other");
  execFileSync("docker", ["exec", before.containerId, "sh", "-c", "echo kept >/data/file"]);
  const { State } = await project.docker.getContainer(before.containerId).inspect();
  const { log, events } = eventLog();
  const restarted: string[] = [];
  await using supervisor = superviseContainers(project.docker, project.name, {
    ...FAST,
    log,
    onRestart: (service) => restarted.push(service),
  });
  expect(await supervisor.settled(120_000)).toBe(true);

  process.kill(State.Pid, "SIGSTOP");
  // That it is unhealthy shows for a moment only: the supervisor sees to that.
  const isHealed = async (): Promise<boolean> => await Promise.resolve(events.includes("container.healed frozen"));
  await until("it is healed", isHealed, 120_000);

  expect(events).toContain("container.restart frozen");
  const after = await project.containerOf("frozen");
  expect(after).toMatchObject({ containerId: before.containerId, health: "healthy" });
  expect(after.startedAt).not.toBe(before.startedAt);
  expect(execFileSync("docker", ["exec", after.containerId, "cat", "/data/file"], { encoding: "utf8" })).toBe("kept\n");
  expect(restarted).toEqual(["frozen"]);
  expect((await project.containerOf("other")).startedAt).toBe(other.startedAt);
});

test("a container that somebody stopped is started again; one that was stopped for good is not", async () => {
  await using project = composeProject(tinyCompose({}));
  await project.apply();
  const { containerId } = await project.containerOf("one");
  const { log } = eventLog();
  await using supervisor = superviseContainers(project.docker, project.name, { ...FAST, log });
  await project.docker.getContainer(containerId).stop();
  await until("it runs again", async () => (await project.containerOf("one")).health === "healthy");

  await stopProject(project.docker, project.name, { signal: new AbortController().signal, report: () => {} });
  // Ten looks, five times what it takes to act.
  let looks = 0;
  let last = supervisor.seen();
  await until("the supervisor has looked ten times", async () => {
    const seen = supervisor.seen();
    if (seen !== last) looks += 1;
    last = seen;
    await systemClock.sleep(10);
    return looks >= 10;
  });
  expect((await project.containerOf("one")).state).toBe("exited");
});

test("an engine that gives no answer is said to be silent, and the containers are not called well", async () => {
  const { log, events } = eventLog();
  const docker = new Docker({ socketPath: join("/nonexistent", "docker.sock") });
  await using supervisor = superviseContainers(docker, "whoever", { ...FAST, log });
  const seen = await until("it has looked", async () => await Promise.resolve(supervisor.seen()));
  expect(areWell(seen)).toBe(false);
  expect(seen.error).toContain("ENOENT");
  expect(await supervisor.settled(0)).toBe(false);
  expect(events).toEqual(["containers.engine_silent"]);
});
