import type Docker from "dockerode";
import type { ContainerInspectInfo, HostConfig } from "dockerode";
import { askingEngine, engineStatus, orAbsent } from "./docker-errors.ts";
import type { Random } from "../kernel/random.ts";

/** A container in which programs work at the data of another one. */
export interface SiteHelper extends AsyncDisposable {
  readonly id: string;
  /** Its own, in the first of its networks; this machine's where it has none of its own. */
  readonly address: string;
}

/** Says of which container's data it is a helper. */
const HELPS_LABEL = "land.fx.fula-master.helps";

const CONFLICT = 409;

/** What the service may do, the helper may: it works at the same files. */
function hostConfigOf(info: ContainerInspectInfo, rootDir: string): HostConfig {
  const { Memory, ShmSize, SecurityOpt, NetworkMode } = info.HostConfig;
  return {
    AutoRemove: true,
    // Reaps what is orphaned.
    Init: true,
    NetworkMode: NetworkMode ?? "none",
    Mounts: info.Mounts.filter(
      ({ Destination }) => Destination === rootDir || rootDir.startsWith(`${Destination}/`),
    ).map(({ Type, Name, Source, Destination }) => ({
      Type: Type === "volume" ? "volume" : "bind",
      Source: Type === "volume" ? (Name ?? Source) : Source,
      Target: Destination,
    })),
    ReadonlyRootfs: true,
    Tmpfs: { "/tmp": "mode=1777", "/run/postgresql": "mode=1777" },
    CapDrop: ["ALL"],
    ...(SecurityOpt == null ? {} : { SecurityOpt }),
    ...(Memory === undefined ? {} : { Memory }),
    ...(ShmSize === undefined ? {} : { ShmSize }),
  };
}

/** Removes helpers of a container that have ended and that their engine did not remove, as where it was killed meanwhile. */
async function removeRemains(docker: Docker, container: string): Promise<void> {
  const remains = await docker.listContainers({
    all: true,
    filters: { label: [`${HELPS_LABEL}=${container}`], status: ["exited", "dead"] },
  });
  for (const { Id } of remains) await orAbsent(async () => await docker.getContainer(Id).remove({ force: true }));
}

async function removeNow(container: Docker.Container): Promise<void> {
  try {
    await container.remove({ force: true });
  } catch (error) {
    // The engine is at it already, as its input has ended.
    if (engineStatus(error) !== CONFLICT) throw error;
    await container.wait({ condition: "removed" });
  }
}

async function addressOf(container: Docker.Container): Promise<string> {
  const { NetworkSettings } = await container.inspect();
  const addresses = Object.values(NetworkSettings.Networks).map(({ IPAddress }) => IPAddress);
  return addresses.find((address) => address !== "") ?? "127.0.0.1";
}

/**
 * Starts a helper. It lives for as long as this process holds its standard input: whatever ends us ends it, with all that
 * runs in it.
 * @param info the server's container
 * @throws FulaError FULA_DOCKER_UNREACHABLE, FULA_DOCKER_FAILED
 */
export async function openHelper(
  docker: Docker,
  info: ContainerInspectInfo,
  rootDir: string,
  random: Random,
): Promise<SiteHelper> {
  const served = info.Name.slice(1);
  return await askingEngine(`starting a helper of ${served}`, async () => {
    await removeRemains(docker, served);
    const container = await docker.createContainer({
      name: `${served}-recovery-${Buffer.from(random.bytes(4)).toString("hex")}`,
      Image: info.Image,
      Entrypoint: ["cat"],
      Cmd: [],
      User: "postgres",
      OpenStdin: true,
      StdinOnce: true,
      Labels: { [HELPS_LABEL]: served },
      HostConfig: hostConfigOf(info, rootDir),
    });
    const stdin = await container.attach({ stream: true, stdin: true, hijack: true });
    // It ends when the container does.
    stdin.on("error", () => {});
    const remove = async (): Promise<void> => {
      stdin.end();
      await orAbsent(async () => await removeNow(container));
    };
    try {
      await container.start();
      return { id: container.id, address: await addressOf(container), [Symbol.asyncDispose]: remove };
    } catch (error) {
      await remove();
      throw error;
    }
  });
}
