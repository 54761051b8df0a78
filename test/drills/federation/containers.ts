import type Docker from "dockerode";
import { engineStatus } from "../../../src/lib/runtime/docker-errors.ts";
import { until } from "../../support/until.ts";

const ABSENT = 404;
/** It is being removed, or what uses it is; of a network the engine says that it is forbidden. */
const IN_USE: ReadonlySet<number | null> = new Set([403, 409]);

/** Removes one thing, which may be gone by itself in between: a helper of a server ends with whoever started it. */
async function removeOne(what: string, remove: () => Promise<unknown>): Promise<void> {
  await until(`${what} is removed`, async () => {
    try {
      await remove();
      return true;
    } catch (error) {
      if (engineStatus(error) === ABSENT) return true;
      if (IN_USE.has(engineStatus(error))) return false;
      throw error;
    }
  });
}

/** Removes every container, network and volume whose name begins so, or that belongs to a Compose project named so. */
export async function removeAll(docker: Docker, prefix: string): Promise<void> {
  const isOurs = (names: readonly string[], labels: Readonly<Record<string, string>> | undefined): boolean =>
    names.some((name) => name.replace(/^\//, "").startsWith(prefix)) ||
    (labels?.["com.docker.compose.project"] ?? "").startsWith(prefix);
  for (const { Id, Names, Labels } of await docker.listContainers({ all: true })) {
    if (!isOurs(Names, Labels)) continue;
    await removeOne(`container ${Names.join()}`, async () => {
      await docker.getContainer(Id).remove({ force: true, v: true });
    });
  }
  for (const { Id, Name, Labels } of await docker.listNetworks()) {
    if (!isOurs([Name], Labels)) continue;
    await removeOne(`network ${Name}`, async () => {
      await docker.getNetwork(Id).remove();
    });
  }
  const { Volumes } = await docker.listVolumes();
  for (const { Name, Labels } of Volumes) {
    if (!isOurs([Name], Labels)) continue;
    await removeOne(`volume ${Name}`, async () => {
      await docker.getVolume(Name).remove({ force: true });
    });
  }
}
