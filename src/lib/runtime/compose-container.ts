import { createHash } from "node:crypto";
import { readFile, stat } from "node:fs/promises";
import { dirname } from "node:path";
import type { ContainerCreateOptions, HostConfig, MountSettings } from "dockerode";
import { systemErrorCode } from "../kernel/errors.ts";
import { type ComposeProject, type ComposeService, invalidCompose } from "./compose-file.ts";
import { LABELS, madeBy } from "./compose-labels.ts";

/** While a container starts, it is asked how it is after so long, and not after its whole interval. */
const START_INTERVAL_MS = 1_000;
const NS_PER_MS = 1_000_000;

function mountsOf(project: ComposeProject, { mounts }: ComposeService): MountSettings[] {
  return mounts.map(({ type, source, target, readOnly }) => ({
    Type: type,
    Source: type === "bind" ? source : `${project.name}_${source}`,
    Target: target,
    ReadOnly: readOnly,
  }));
}

/** `path:options` as Compose has it, by path. */
function tmpfsOf(lines: readonly string[]): Record<string, string> {
  return Object.fromEntries(
    lines.map((line) => {
      const [path = "", ...options] = line.split(":");
      return [path, options.join(":")];
    }),
  );
}

function portBindings({ ports }: ComposeService): NonNullable<HostConfig["PortBindings"]> {
  const bindings: Record<string, { HostIp: string; HostPort: string }[]> = {};
  for (const { hostIp, hostPort, containerPort, protocol } of ports) {
    const key = `${containerPort}/${protocol}`;
    bindings[key] = [...(bindings[key] ?? []), { HostIp: hostIp, HostPort: String(hostPort) }];
  }
  return bindings;
}

function networkModeOf({ name }: ComposeProject, { isOnHost, networks }: ComposeService): string {
  if (isOnHost) return "host";
  return networks[0] === undefined ? "none" : `${name}_${networks[0]}`;
}

function hostConfigOf(project: ComposeProject, service: ComposeService): HostConfig {
  const { logging, memLimit, shmSize, pidsLimit } = service;
  return {
    NetworkMode: networkModeOf(project, service),
    RestartPolicy: { Name: service.restart },
    Mounts: mountsOf(project, service),
    Tmpfs: tmpfsOf(service.tmpfs),
    PortBindings: service.isOnHost ? {} : portBindings(service),
    ReadonlyRootfs: service.readOnly,
    CapAdd: [...service.capAdd],
    CapDrop: [...service.capDrop],
    SecurityOpt: [...service.securityOpt],
    ...(memLimit === null ? {} : { Memory: memLimit }),
    ...(shmSize === null ? {} : { ShmSize: shmSize }),
    ...(pidsLimit === null ? {} : { PidsLimit: pidsLimit }),
    ...(logging === null ? {} : { LogConfig: { Type: logging.driver, Config: { ...logging.options } } }),
  };
}

/** What the engine is to make of a service, all but its name and labels. */
function settingsOf(project: ComposeProject, service: ComposeService): ContainerCreateOptions {
  const { healthcheck: health, stopGracePeriodMs } = service;
  const networks = service.networks.map(
    (key) => [`${project.name}_${key}`, { Aliases: [service.name] }] satisfies [string, object],
  );
  return {
    Image: service.image,
    Env: Object.entries(service.environment).map(([name, value]) => `${name}=${value}`),
    ...(service.user === null ? {} : { User: service.user }),
    ...(service.entrypoint === null ? {} : { Entrypoint: [...service.entrypoint] }),
    ...(service.command === null ? {} : { Cmd: [...service.command] }),
    ...(stopGracePeriodMs === null ? {} : { StopTimeout: Math.ceil(stopGracePeriodMs / 1_000) }),
    ...(health === null
      ? {}
      : {
          Healthcheck: {
            Test: [...health.test],
            Interval: health.intervalMs * NS_PER_MS,
            Timeout: health.timeoutMs * NS_PER_MS,
            Retries: health.retries,
            StartPeriod: health.startPeriodMs * NS_PER_MS,
            // Not in the Compose file: docker-compose 1.29 refuses it. An engine before 25.0 checks as it does later.
            StartInterval: START_INTERVAL_MS * NS_PER_MS,
          },
        }),
    ExposedPorts: Object.fromEntries(
      service.ports.map(({ containerPort, protocol }) => [`${containerPort}/${protocol}`, {}]),
    ),
    HostConfig: hostConfigOf(project, service),
    NetworkingConfig: { EndpointsConfig: Object.fromEntries(networks) },
  };
}

/** Digest of a file that is mounted; null for a directory, whose content is not the container's business. */
async function digestOf(path: string, file: string, service: string): Promise<string | null> {
  try {
    if ((await stat(path)).isDirectory()) return null;
    return createHash("sha256")
      .update(await readFile(path))
      .digest("hex");
  } catch (error) {
    if (systemErrorCode(error) !== "ENOENT") throw error;
    throw invalidCompose(file, `service ${service} mounts ${path}, which is not there`, error);
  }
}

/**
 * A hash of everything that a service's container is made from, with the content of the files that are mounted: a
 * container with another one has to be made anew. The image is in it by the name that the file gives it.
 * @throws FulaError FULA_COMPOSE_INVALID where a file that is to be mounted is missing
 */
export async function configHashOf(project: ComposeProject, service: ComposeService): Promise<string> {
  const binds = service.mounts.filter(({ type }) => type === "bind");
  const files = await Promise.all(
    binds.map(async ({ source }) => {
      const coming = project.contents.get(source);
      const digest =
        coming === undefined
          ? await digestOf(source, project.file, service.name)
          : createHash("sha256").update(coming).digest("hex");
      return [source, digest] as const;
    }),
  );
  // Who starts it again can be changed without making it anew.
  const settings = settingsOf(project, { ...service, restart: "unless-stopped" });
  const made = JSON.stringify({ settings, files });
  return createHash("sha256").update(made).digest("hex");
}

/** What the engine is told to make a service's container. */
export function createOptions(
  project: ComposeProject,
  service: ComposeService,
  configHash: string,
): ContainerCreateOptions & { readonly name: string } {
  return {
    ...settingsOf(project, service),
    name: service.containerName,
    Labels: {
      [LABELS.project]: project.name,
      [LABELS.service]: service.name,
      [LABELS.configHash]: configHash,
      [LABELS.containerNumber]: "1",
      [LABELS.oneOff]: "False",
      [LABELS.workingDir]: dirname(project.file),
      [LABELS.configFiles]: project.file,
      [LABELS.version]: madeBy(),
    },
  };
}
