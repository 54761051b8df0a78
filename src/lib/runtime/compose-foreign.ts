import { createSocket } from "node:dgram";
import type { ContainerInfo } from "dockerode";
import { FulaError, systemErrorCode } from "../kernel/errors.ts";
import type { ComposeService, PublishedPort } from "./compose-file.ts";
import { LABELS, madeFrom } from "./compose-labels.ts";
import { findPortOwner, probePort } from "./port-owner.ts";

/** Something that stands where the stack needs its own, and is not the stack's. */
export interface ForeignThing {
  readonly kind: "container" | "network" | "volume" | "port";
  /** The name, or `<address>:<port>/<protocol>`. */
  readonly name: string;
  /** Who it is or who has it, as a sentence without a full stop. */
  readonly what: string;
  /** What the operator can do about it. */
  readonly remedy: string;
}

/** Name of a container as everybody writes it. */
export function nameOf({ Names }: ContainerInfo): string {
  return (Names[0] ?? "").replace(/^\//, "");
}

/** Whose something is, by its labels. */
function ownerText(labels: Readonly<Record<string, string>> | null | undefined): string {
  const project = labels?.[LABELS.project];
  return project === undefined ? "it belongs to no Compose project" : `it belongs to the Compose project ${project}`;
}

/** The container that has a name which the stack needs. */
export function foreignContainer(info: ContainerInfo): ForeignThing {
  const name = nameOf(info);
  return {
    kind: "container",
    name,
    what: `container ${info.Id.slice(0, 12)} of image ${info.Image} has this name; ${ownerText(info.Labels)}`,
    remedy: `rename it (docker rename ${name} ${name}-old) and stop it, or take it away, if it is not needed`,
  };
}

/**
 * A container that a fula-master made under the same project name from the Compose file of another base directory; null
 * for one from `file`, and for one of an older installer.
 */
export function ofAnotherBaseDir(info: ContainerInfo, file: string): ForeignThing | null {
  const other = madeFrom(info.Labels);
  if (other === null || other === file) return null;
  const name = nameOf(info);
  return {
    kind: "container",
    name,
    what: `container ${info.Id.slice(0, 12)} was made from ${other}, so it is of another base directory`,
    remedy: `give this one a project of its own (--project); or, if that directory was moved here, docker rm -f ${name}: its volumes stay`,
  };
}

/** A network or volume that has a name which the stack needs. */
export function foreignResource(
  kind: "network" | "volume",
  name: string,
  labels: Readonly<Record<string, string>> | null | undefined,
): ForeignThing {
  return {
    kind,
    name,
    what: `a ${kind} of this name is there already; ${ownerText(labels)}`,
    remedy: `see what uses it (docker ${kind} inspect ${name}), or give the stack another name with docker.project`,
  };
}

function overlaps(a: string, b: string): boolean {
  const all = new Set(["0.0.0.0", "::", ""]);
  return a === b || all.has(a) || all.has(b);
}

async function isUdpFree(host: string, port: number): Promise<boolean> {
  return await new Promise((resolve, reject) => {
    const socket = createSocket("udp4");
    socket.once("error", (error) => {
      socket.close();
      if (systemErrorCode(error) === "EADDRINUSE") resolve(false);
      else reject(error);
    });
    socket.bind({ address: host, port, exclusive: true }, () => {
      socket.close(() => {
        resolve(true);
      });
    });
  });
}

/**
 * Who has a port that no container says it has; null for nobody.
 * @param isStarting true where a container of the service's own may come up at this moment: the engine has its ports before
 *   it says so
 */
async function processOn({ hostIp, hostPort, protocol }: PublishedPort, isStarting: boolean): Promise<string | null> {
  if (protocol === "udp") return isStarting || (await isUdpFree(hostIp, hostPort)) ? null : "another process has it";
  if ((await probePort(hostIp, hostPort)) !== "in-use") return null;
  const owner = await findPortOwner(hostPort);
  if (isStarting && owner !== null && /\bdocker(?:-proxy|d)\b/.test(owner.command)) return null;
  return owner === null ? "another process has it" : `process ${owner.pid} has it: ${owner.command}`;
}

/** Who has a port that a service is to publish; null where nobody has, or a container of the project itself. */
async function portTaken(
  port: PublishedPort,
  { service, project }: { readonly service: string; readonly project: string },
  containers: readonly ContainerInfo[],
): Promise<ForeignThing | null> {
  const { hostIp, hostPort, protocol } = port;
  const holder = containers.find(({ Ports }) =>
    Ports.some(
      ({ IP, PublicPort, Type }) => PublicPort === hostPort && Type === protocol && overlaps(IP ?? "", hostIp),
    ),
  );
  const name = `${hostIp}:${hostPort}/${protocol}`;
  if (holder === undefined) {
    const isStarting = containers.some(
      ({ Labels, Ports }) =>
        Labels[LABELS.project] === project &&
        Labels[LABELS.service] === service &&
        Ports.every(({ PublicPort }) => PublicPort === undefined),
    );
    const what = await processOn(port, isStarting);
    const remedy = "stop it, or choose another port in the settings";
    return what === null ? null : { kind: "port", name, what, remedy };
  }
  if (holder.Labels[LABELS.project] === project) return null;
  const holderName = nameOf(holder);
  return {
    kind: "port",
    name,
    what: `container ${holderName} of image ${holder.Image} has it; ${ownerText(holder.Labels)}`,
    remedy: `stop it (docker stop ${holderName}), or choose another port in the settings`,
  };
}

/** Looks who has the ports that services are to publish. */
export async function foreignPorts(
  services: readonly ComposeService[],
  project: string,
  containers: readonly ContainerInfo[],
): Promise<readonly ForeignThing[]> {
  const looked = await Promise.all(
    services.flatMap(({ name: service, ports }) =>
      ports.map(async (port) => await portTaken(port, { service, project }, containers)),
    ),
  );
  return looked.filter((thing) => thing !== null);
}

/** Refuses where something foreign is in the way, and names all of it. @throws FulaError FULA_DOCKER_FOREIGN */
export function assertNothingForeign(foreign: readonly ForeignThing[]): void {
  const [first] = foreign;
  if (first === undefined) return;
  const lines = foreign.map(({ kind, name, what }) => `${kind} ${name}: ${what}`);
  const remedies = [...new Set(foreign.map(({ kind, name, remedy }) => `${kind} ${name}: ${remedy}`))];
  const message =
    foreign.length === 1
      ? `Another one's ${lines[0] ?? ""}. Nothing was changed.`
      : `${foreign.length} things that the stack needs are somebody else's:\n  ${lines.join("\n  ")}\nNothing was changed.`;
  throw new FulaError("FULA_DOCKER_FOREIGN", message, {
    hint: foreign.length === 1 ? `${first.remedy}.` : remedies.join("\n  "),
    details: { foreign },
  });
}
