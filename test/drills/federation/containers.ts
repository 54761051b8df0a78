import type Docker from "dockerode";

/** Removes every container, network and volume whose name begins so, or that belongs to a Compose project named so. */
export async function removeAll(docker: Docker, prefix: string): Promise<void> {
  const isOurs = (names: readonly string[], labels: Readonly<Record<string, string>> | undefined): boolean =>
    names.some((name) => name.replace(/^\//, "").startsWith(prefix)) ||
    (labels?.["com.docker.compose.project"] ?? "").startsWith(prefix);
  for (const { Id, Names, Labels } of await docker.listContainers({ all: true })) {
    if (isOurs(Names, Labels)) await docker.getContainer(Id).remove({ force: true, v: true });
  }
  for (const { Id, Name, Labels } of await docker.listNetworks()) {
    if (isOurs([Name], Labels)) await docker.getNetwork(Id).remove();
  }
  const { Volumes } = await docker.listVolumes();
  for (const { Name, Labels } of Volumes) {
    if (isOurs([Name], Labels)) await docker.getVolume(Name).remove({ force: true });
  }
}
