import { randomBytes } from "node:crypto";
import { PassThrough } from "node:stream";
import type Docker from "dockerode";
import { infra } from "../infra/infra.ts";
import type { CliRun } from "./cli.ts";
import { until } from "./until.ts";

/** As long as a container may take until it answers, on a machine with much else to do: one that has ended is not waited for. */
const READY_MS = 180_000;

/** A name that nobody else on this engine has: `fula-drill-<what>-1f2e3d4c`. */
export function uniqueName(what: string): string {
  return `fula-drill-${what}-${randomBytes(4).toString("hex")}`;
}

/** What a container of a test is started with, beside its name. */
export interface ContainerWish {
  readonly image: string;
  /** Default: the engine's own bridge. */
  readonly networks?: readonly string[];
  readonly entrypoint?: readonly string[];
  readonly command?: readonly string[];
  readonly env?: Readonly<Record<string, string>>;
  readonly user?: string;
  /** Volume, or path of the host → path in the container, which may end in `:ro`. */
  readonly volumes?: Readonly<Record<string, string>>;
  /** Port of the host, on all its addresses → port of the container, TCP. */
  readonly ports?: Readonly<Record<number, number>>;
  /** Further names on its first network. */
  readonly aliases?: readonly string[];
  /** True for a container that is a box of its own: an init reaps what is orphaned, and its root sees all processes. */
  readonly isBox?: boolean;
}

/** A container of a test; removed with its anonymous volumes when it is disposed of. */
export interface TestContainer extends AsyncDisposable {
  readonly name: string;
  readonly container: Docker.Container;
  /** Its address on its first network. */
  readonly address: string;
  exec(...argv: readonly string[]): Promise<CliRun>;
  log(): Promise<string>;
  /** Asks until the answer is true. @throws Error with its log when it takes too long, or when it has ended */
  ready(what: string, ask: () => Promise<boolean>): Promise<void>;
}

/** Starts a container; it is not waited for. */
async function startContainer(docker: Docker, name: string, wish: ContainerWish): Promise<Docker.Container> {
  const [first, ...others] = wish.networks ?? [];
  const ports = Object.entries(wish.ports ?? {});
  const container = await docker.createContainer({
    name,
    Image: wish.image,
    ...(wish.entrypoint === undefined ? {} : { Entrypoint: [...wish.entrypoint] }),
    ...(wish.command === undefined ? {} : { Cmd: [...wish.command] }),
    ...(wish.user === undefined ? {} : { User: wish.user }),
    ...(first === undefined || wish.aliases === undefined
      ? {}
      : { NetworkingConfig: { EndpointsConfig: { [first]: { Aliases: [...wish.aliases] } } } }),
    Env: Object.entries(wish.env ?? {}).map(([key, value]) => `${key}=${value}`),
    ExposedPorts: Object.fromEntries(ports.map(([, inside]) => [`${inside}/tcp`, {}])),
    HostConfig: {
      ...(first === undefined ? {} : { NetworkMode: first }),
      Binds: Object.entries(wish.volumes ?? {}).map(([volume, path]) => `${volume}:${path}`),
      ...(wish.isBox === true ? { Init: true, CapAdd: ["SYS_PTRACE"] } : {}),
      PortBindings: Object.fromEntries(ports.map(([host, inside]) => [`${inside}/tcp`, [{ HostPort: host }]])),
    },
  });
  try {
    for (const network of others) await docker.getNetwork(network).connect({ Container: container.id });
    await container.start();
  } catch (error) {
    await container.remove({ force: true, v: true });
    throw error;
  }
  return container;
}

/** Starts a container under a name of its own. */
export async function runContainer(what: string, wish: ContainerWish): Promise<TestContainer> {
  const { docker } = infra();
  const name = uniqueName(what);
  const container = await startContainer(docker, name, wish);
  const { NetworkSettings } = await container.inspect();
  const log = async (): Promise<string> => {
    const { stdout, stderr } = await logOf(docker, container, false);
    return stdout + stderr;
  };
  return {
    name,
    container,
    // The engine lists them by name.
    address: NetworkSettings.Networks[wish.networks?.[0] ?? "bridge"]?.IPAddress ?? "",
    exec: async (...argv) => await execIn(docker, container, argv),
    log,
    ready: async (text, ask) => {
      try {
        const look = async (): Promise<boolean> => {
          const { State } = await container.inspect();
          if (!State.Running) throw new Error(`${name} has ended with exit code ${State.ExitCode}`);
          return await ask();
        };
        await until(`${name}: ${text}`, look, READY_MS);
      } catch (error) {
        throw new Error(`${error instanceof Error ? error.message : String(error)}\n${await log()}`, { cause: error });
      }
    },
    [Symbol.asyncDispose]: async () => {
      await container.remove({ force: true, v: true });
    },
  };
}

function collector(): { readonly stream: PassThrough; readonly text: () => string } {
  const stream = new PassThrough();
  const chunks: Buffer[] = [];
  stream.on("data", (chunk: Buffer) => chunks.push(chunk));
  return { stream, text: () => Buffer.concat(chunks).toString("utf8") };
}

/** Both streams of an attached container or exec, read to their end. */
async function readBoth(docker: Docker, stream: NodeJS.ReadableStream): Promise<Pick<CliRun, "stdout" | "stderr">> {
  const [out, err] = [collector(), collector()];
  const ended = Promise.withResolvers<void>();
  stream.on("end", ended.resolve);
  stream.on("error", ended.reject);
  docker.modem.demuxStream(stream, out.stream, err.stream);
  await ended.promise;
  return { stdout: out.text(), stderr: err.text() };
}

/** What a container has said; with `follow`, until it ends. */
async function logOf(
  docker: Docker,
  container: Docker.Container,
  follow: boolean,
): Promise<Pick<CliRun, "stdout" | "stderr">> {
  if (follow) return await readBoth(docker, await container.logs({ stdout: true, stderr: true, follow: true }));
  const whole = await container.logs({ stdout: true, stderr: true, follow: false });
  const stream = new PassThrough();
  stream.end(whole);
  return await readBoth(docker, stream);
}

/** Runs a program in a running container, as its own user. */
async function execIn(docker: Docker, container: Docker.Container, argv: readonly string[]): Promise<CliRun> {
  const exec = await container.exec({ Cmd: [...argv], AttachStdout: true, AttachStderr: true });
  const said = await readBoth(docker, await exec.start({}));
  const { ExitCode } = await exec.inspect();
  return { exitCode: ExitCode ?? -1, ...said };
}

/** Runs a container to its end and removes it. */
export async function runToEnd(docker: Docker, name: string, wish: ContainerWish): Promise<CliRun> {
  const container = await startContainer(docker, name, wish);
  try {
    const { StatusCode }: { readonly StatusCode: number } = await container.wait();
    return { exitCode: StatusCode, ...(await logOf(docker, container, true)) };
  } finally {
    await container.remove({ force: true, v: true });
  }
}

/** A bridge network of a test's own; removed when it is disposed of. */
export interface TestNetwork extends AsyncDisposable {
  readonly name: string;
  /** This machine's address on it: where its containers reach ports that are published on all interfaces. */
  readonly hostAddress: string;
}

/** Makes a network under a name of its own. */
export async function startNetwork(what: string): Promise<TestNetwork> {
  const { docker } = infra();
  const name = uniqueName(what);
  const network = await docker.createNetwork({ Name: name });
  return {
    name,
    hostAddress: await hostAddress(docker, name),
    [Symbol.asyncDispose]: async () => {
      await network.remove();
    },
  };
}

/** This machine's address on a network of the engine. */
async function hostAddress(docker: Docker, network: string): Promise<string> {
  const { IPAM } = await docker.getNetwork(network).inspect();
  const gateway = IPAM?.Config?.[0]?.["Gateway"];
  if (gateway === undefined) throw new Error(`The network ${network} has no gateway`);
  return gateway;
}
