import { dirname } from "node:path";
import type Docker from "dockerode";
import type { Clock } from "../kernel/clock.ts";
import { FulaError, isFulaError, messageOf } from "../kernel/errors.ts";
import type { ComposeProject } from "./compose-file.ts";
import { createOptions } from "./compose-container.ts";
import { assertNothingForeign } from "./compose-foreign.ts";
import { pullImage } from "./compose-images.ts";
import { LABELS, madeBy } from "./compose-labels.ts";
import type { ProjectPlan, ServiceAction, ServicePlan } from "./compose-plan.ts";
import { awaitHealthy } from "./container-health.ts";
import { askingEngine, engineStatus, orAbsent } from "./docker-errors.ts";
import { isWell, type ServiceHealth } from "./project-health.ts";

/** What applying a plan needs beside the engine. */
export interface ApplyContext {
  readonly clock: Clock;
  readonly signal: AbortSignal;
  /** Gets what is being done now, again and again: one line. */
  readonly report: (text: string) => void;
  /** How long a container may take to become healthy; default five minutes: Kubo may have a repository to migrate. */
  readonly healthPatienceMs?: number;
}

/** What was done about each service. */
export interface ApplyReport {
  readonly services: readonly { readonly name: string; readonly action: ServiceAction }[];
}

const HEALTH_PATIENCE_MS = 300_000;
/** What the engine says where something is as it was to become. */
const NOT_MODIFIED = 304;

/** One service on its way. */
interface Work {
  readonly docker: Docker;
  readonly project: ComposeProject;
  readonly plan: ServicePlan;
  readonly clock: Clock;
  readonly signal: AbortSignal;
  readonly report: (text: string) => void;
  readonly patienceMs: number;
}

async function unlessModified(call: () => Promise<unknown>): Promise<void> {
  try {
    await call();
  } catch (error) {
    if (engineStatus(error) !== NOT_MODIFIED) throw error;
  }
}

/** Stops a container so that neither the engine nor a supervisor starts it again. */
export async function stopForGood(docker: Docker, { containerId, state }: ServiceHealth): Promise<void> {
  const container = docker.getContainer(containerId);
  await container.update({ RestartPolicy: { Name: "no" } });
  if (state === "paused") await container.unpause();
  await unlessModified(async () => await container.stop());
}

async function remove(docker: Docker, containerId: string): Promise<void> {
  // Its volumes stay, also those without a name: nobody can say here what is in them.
  await orAbsent(async () => await docker.getContainer(containerId).remove({ force: true, v: false }));
}

/** Where a predecessor waits until its successor is healthy. Compose names it like this, too. */
function nameAside({ containerId }: ServiceHealth, containerName: string): string {
  return `${containerId.slice(0, 12)}_${containerName}`;
}

async function setAside({ docker, plan, report }: Work, old: ServiceHealth): Promise<void> {
  const { containerName } = plan.service;
  report("stopping the old container");
  await stopForGood(docker, old);
  const name = nameAside(old, containerName);
  if (old.containerName !== name) await docker.getContainer(old.containerId).rename({ name });
}

/** Gives a container back its name and its restart policy, and starts it. */
async function putInPlace({ docker, plan }: Work, container: ServiceHealth): Promise<void> {
  const { containerName, restart } = plan.service;
  const handle = docker.getContainer(container.containerId);
  const { Name } = await handle.inspect();
  if (Name !== `/${containerName}`) await handle.rename({ name: containerName });
  await handle.update({ RestartPolicy: { Name: restart } });
  await unlessModified(async () => await handle.start());
}

async function waitFor({ docker, plan, clock, signal, report, patienceMs }: Work, containerId: string): Promise<void> {
  await awaitHealthy(docker, containerId, plan.service.name, { clock, signal, report, patienceMs });
}

async function make({ docker, project, plan, report }: Work): Promise<string> {
  report("making its container");
  const { id } = await docker.createContainer(createOptions(project, plan.service, plan.configHash));
  return id;
}

/** Throws what went wrong once more, with what became of the predecessor. */
function withOutcome(error: unknown, outcome: string): unknown {
  if (!isFulaError(error)) return error;
  const { code, message, hint, details } = error;
  return new FulaError(code, `${message}\n${outcome}`, {
    cause: error,
    ...(hint === undefined ? {} : { hint }),
    ...(details === undefined ? {} : { details }),
  });
}

/** Runs `work`, which ends with a healthy container; where it fails, the predecessor is put back in its place. */
async function withRollback(
  work: Work,
  old: ServiceHealth,
  attempt: (made: (containerId: string) => void) => Promise<void>,
): Promise<void> {
  let containerId: string | null = null;
  try {
    await askingEngine(
      `replacing the container of ${work.plan.service.name}`,
      async () =>
        await attempt((id) => {
          containerId = id;
        }),
    );
  } catch (error) {
    work.report("putting the old container back");
    try {
      if (containerId !== null) await remove(work.docker, containerId);
      await putInPlace(work, old);
    } catch (failure) {
      const name = nameAside(old, work.plan.service.containerName);
      throw withOutcome(error, `Putting the old container ${name} back failed as well: ${messageOf(failure)}`);
    }
    throw withOutcome(error, "The container before it was put back and started.");
  }
}

async function removeAll(docker: Docker, containers: readonly ServiceHealth[]): Promise<void> {
  for (const { containerId } of containers) await remove(docker, containerId);
}

async function recreate(work: Work): Promise<void> {
  const { docker, plan } = work;
  const { current, setAside: others } = plan;
  if (current === null) return;
  // What is left of an update that was cut off: whichever of the two was well last is the one to go back to.
  const [first] = others;
  const old = first === undefined || isWell(current) ? current : first;
  await removeAll(
    docker,
    [current, ...others].filter((each) => each !== old),
  );
  if (plan.isHeldBack && old.state !== "running") {
    await remove(docker, old.containerId);
    await make(work);
    return;
  }
  await withRollback(work, old, async (made) => {
    await setAside(work, old);
    const containerId = await make(work);
    made(containerId);
    await docker.getContainer(containerId).start();
    await waitFor(work, containerId);
  });
  await remove(docker, old.containerId);
}

async function create(work: Work): Promise<void> {
  const containerId = await make(work);
  if (work.plan.isHeldBack) return;
  await work.docker.getContainer(containerId).start();
  await waitFor(work, containerId);
}

async function bringUp(work: Work, current: ServiceHealth): Promise<void> {
  const container = work.docker.getContainer(current.containerId);
  if (current.state === "paused") await container.unpause();
  await putInPlace(work, current);
  if (current.state === "running" && current.health === "unhealthy") {
    work.report("restarting it");
    await container.restart();
  }
  await waitFor(work, current.containerId);
}

async function start(work: Work): Promise<void> {
  const { current, setAside: others } = work.plan;
  if (current === null) return;
  const [old] = others;
  if (old === undefined) {
    await bringUp(work, current);
    return;
  }
  // An update was cut off before its container was healthy: it goes on, and back where it comes to nothing.
  await withRollback(work, old, async (made) => {
    made(current.containerId);
    await bringUp(work, current);
  });
  await removeAll(work.docker, others);
}

const DO: Readonly<Record<ServiceAction, (work: Work) => Promise<void>>> = {
  create,
  recreate,
  start,
  keep: async () => {},
};

async function makeResources(docker: Docker, { project, networks, volumes }: ProjectPlan): Promise<void> {
  const labels = { [LABELS.project]: project.name, [LABELS.version]: madeBy() };
  for (const { key, name } of networks) {
    await docker.createNetwork({
      Name: name,
      Driver: "bridge",
      CheckDuplicate: true,
      Labels: { ...labels, [LABELS.network]: key },
    });
  }
  for (const { key, name } of volumes) {
    await docker.createVolume({ Name: name, Labels: { ...labels, [LABELS.volume]: key } });
  }
}

/** Puts what several services say about themselves into one line. */
function inOneLine(report: (text: string) => void): (service: string, text: string | null) => void {
  const texts = new Map<string, string>();
  return (service, text) => {
    if (text === null) texts.delete(service);
    else texts.set(service, text);
    if (texts.size > 0) report([...texts].map(([name, said]) => `${name}: ${said}`).join("; "));
  };
}

/** Services that stand beside one another: none depends on another one of the same group. */
function groupsOf(services: readonly ServicePlan[]): readonly (readonly ServicePlan[])[] {
  const groups: ServicePlan[][] = [];
  for (const plan of services) {
    const needs = plan.service.dependsOn;
    const after = groups.findLastIndex((group) => group.some(({ service }) => needs.includes(service.name)));
    const group = groups[after + 1];
    if (group === undefined) groups.push([plan]);
    else group.push(plan);
  }
  return groups;
}

/**
 * Makes the engine have what the plan says: images, networks, volumes, then containers, each of them only touched where
 * it differs. A container is replaced only by one that becomes healthy: until then its predecessor is kept aside, and
 * put back otherwise. May be cut off anywhere; the next plan goes on from what is there. Volumes are never removed.
 * @throws FulaError FULA_DOCKER_FOREIGN, FULA_IMAGE_MISSING, FULA_CONTAINER_UNHEALTHY, FULA_PORT_IN_USE,
 *   FULA_DOCKER_UNREACHABLE, FULA_DOCKER_FAILED
 */
export async function applyProject(docker: Docker, plan: ProjectPlan, context: ApplyContext): Promise<ApplyReport> {
  const { clock, signal, report, healthPatienceMs: patienceMs = HEALTH_PATIENCE_MS } = context;
  assertNothingForeign(plan.foreign);
  const absent = plan.services.filter(
    ({ action, imageId }) => imageId === null && (action === "create" || action === "recreate"),
  );
  await askingEngine(`setting up the project ${plan.project.name} in ${dirname(plan.project.file)}`, async () => {
    for (const { service } of absent) {
      await pullImage(docker, service.image, { report, signal, service: service.name });
    }
    await makeResources(docker, plan);
  });
  const say = inOneLine(report);
  for (const group of groupsOf(plan.services)) {
    signal.throwIfAborted();
    const done = await Promise.allSettled(
      group.map(async (each) => {
        const { name } = each.service;
        const tell = (text: string): void => {
          say(name, text);
        };
        const work: Work = { docker, project: plan.project, plan: each, clock, signal, report: tell, patienceMs };
        await askingEngine(`setting up the container of ${name}`, async () => {
          await DO[each.action](work);
        });
        say(name, null);
      }),
    );
    const failed = done.find((outcome) => outcome.status === "rejected");
    if (failed !== undefined) throw failed.reason;
  }
  return { services: plan.services.map(({ service, action }) => ({ name: service.name, action })) };
}
