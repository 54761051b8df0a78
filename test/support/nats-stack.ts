import { writeFileSync } from "node:fs";
import type Docker from "dockerode";
import type { ContainerInspectInfo } from "dockerode";
import { type LoadedConfig, loadConfig } from "../../src/lib/config/load.ts";
import { systemClock } from "../../src/lib/kernel/clock.ts";
import { removeProject } from "../../src/lib/runtime/compose-remove.ts";
import { runInContainer } from "../../src/lib/runtime/container-exec.ts";
import { ensureControlPlaneKeys } from "../../src/lib/stack/control-plane-keys.ts";
import { applyStack } from "../../src/lib/stack/docker-stack-apply.ts";
import { readStack } from "../../src/lib/stack/docker-stack.ts";
import type { CertificateAuthority } from "../../src/lib/membership/join-bundle.ts";
import { IMAGES } from "../infra/image-names.ts";
import { infra } from "../infra/infra.ts";
import { boxWith } from "./config.ts";
import { uniqueName } from "./containers.ts";
import { findFreePorts } from "./daemon-process.ts";

/** How a box differs from the first master. */
export interface NatsStackWish {
  readonly name?: string;
  readonly announce?: string;
  readonly witness?: boolean;
  /** `host:port` of other masters' servers. */
  readonly routes?: readonly string[];
  readonly authority?: CertificateAuthority;
}

/** The control plane's containers of one master as `join` makes them, without its other services. */
export interface NatsStack extends AsyncDisposable {
  readonly docker: Docker;
  readonly project: string;
  readonly ports: { readonly client: number; readonly route: number; readonly monitor: number };
  /** Reads the settings as they are by now. */
  load(): Promise<LoadedConfig>;
  /** Brings files and containers to what the settings say. */
  apply(): Promise<void>;
  inspect(service: "nats" | "nats-witness"): Promise<ContainerInspectInfo>;
  /** What the health check of a service says. */
  health(service: "nats" | "nats-witness"): Promise<{ readonly exitCode: number; readonly said: string }>;
}

const CLUSTER = "0195d3c4-0000-7000-8000-000000000001";

/** Makes the keys and the settings; `apply` starts the containers. All of it is gone when it is disposed of. */
export async function natsStack(wish: NatsStackWish = {}): Promise<NatsStack> {
  const { docker } = infra();
  const project = uniqueName("nats");
  const [client = 0, route = 0, monitor = 0] = await findFreePorts(3);
  const node = { name: wish.name ?? "m1", announce: wish.announce ?? null };
  const context = boxWith({ yaml: "{}\n" });
  const settings = {
    runtime: "docker",
    node: { ...node, clusterId: CLUSTER },
    postgres: { mode: "external" },
    blocks: { mode: "kubo" },
    cluster: { mode: "rest" },
    controlPlane: {
      mode: "docker",
      witness: wish.witness ?? true,
      routes: wish.routes ?? [],
      clientPort: client,
      routePort: route,
      monitorPort: monitor,
    },
    docker: { project, images: { nats: IMAGES.nats } },
  };
  writeFileSync(context.configFile, JSON.stringify(settings), { mode: 0o600 });
  const load = async (): Promise<LoadedConfig> => await loadConfig(context);
  const { paths } = await load();
  const facts = { clusterId: CLUSTER, node, authority: wish.authority ?? null };
  await ensureControlPlaneKeys(paths.keysDir, facts, systemClock);
  const { signal } = new AbortController();
  const inspect = async (service: string): Promise<ContainerInspectInfo> =>
    await docker.getContainer(`${project}-${service}-1`).inspect();
  return {
    docker,
    project,
    ports: { client, route, monitor },
    load,
    apply: async () => {
      await applyStack(await load(), { env: {}, clock: systemClock, signal }, () => {});
    },
    inspect,
    health: async (service) => {
      const pieces: Buffer[] = [];
      const onOutput = async (piece: Buffer): Promise<void> => {
        pieces.push(Buffer.from(piece));
        await Promise.resolve();
      };
      const { Id } = await inspect(service);
      const { services } = (await readStack(await load())).project;
      const [, ...args] = services.find(({ name }) => name === service)?.healthcheck?.test ?? [];
      const { exitCode } = await runInContainer(docker, Id, { args, env: {}, onOutput });
      return { exitCode, said: Buffer.concat(pieces).toString("utf8").trim() };
    },
    [Symbol.asyncDispose]: async () => {
      await removeProject(docker, project, { signal, report: () => {}, volumes: true });
    },
  };
}
