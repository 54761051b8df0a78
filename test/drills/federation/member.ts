import { mkdir, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { loadConfig } from "../../../src/lib/config/load.ts";
import { systemClock } from "../../../src/lib/kernel/clock.ts";
import { stopDaemon } from "../../../src/lib/stack/daemon.ts";
import type { StackService } from "../../../src/lib/stack/stack-values.ts";
import { infra } from "../../infra/infra.ts";
import { type CliRun, expectDone, runCliForTest } from "../../support/cli.ts";
import { findFreePorts } from "../../support/daemon-process.ts";

/** One box of the federation. */
export interface Member {
  readonly name: string;
  /** Runs `fula-master <args>` on it. */
  run(...args: readonly string[]): Promise<CliRun>;
}

/** A box whose fula-master runs on this machine, beside containers of a project of its own. */
export interface HostMember extends Member {
  readonly root: string;
  readonly baseDir: string;
  readonly scheduleRoot: string;
  readonly project: string;
  readonly ports: Ports;
  /** Name of the container of one of its services. */
  container(service: StackService): string;
}

/** The ports of a host member. */
export interface Ports {
  readonly server: number;
  readonly gateway: number;
  readonly api: number;
  readonly postgres: number;
  readonly kuboApi: number;
  readonly kuboSwarm: number;
  readonly clusterApi: number;
  readonly clusterSwarm: number;
  readonly natsClient: number;
  readonly natsRoute: number;
  readonly natsMonitor: number;
}

async function choosePorts(): Promise<Ports> {
  const [server = 0, gateway = 0, api = 0, postgres = 0, kuboApi = 0, kuboSwarm = 0, clusterApi = 0, clusterSwarm = 0] =
    await findFreePorts(8);
  const [natsClient = 0, natsRoute = 0, natsMonitor = 0] = await findFreePorts(3);
  const stores = { postgres, kuboApi, kuboSwarm, clusterApi, clusterSwarm };
  return { server, gateway, api, ...stores, natsClient, natsRoute, natsMonitor };
}

/** Every setting in which a box of a test differs from one of an operator, as `--set` takes them. */
export function settingsOf(ports: Ports): Readonly<Record<string, string>> {
  const { images } = infra();
  return {
    // An address of its own would else be taken for somebody's daemon that is to be adopted.
    "blocks.mode": "docker",
    "cluster.mode": "docker",
    "postgres.port": String(ports.postgres),
    "blocks.kuboApi": `/ip4/127.0.0.1/tcp/${ports.kuboApi}`,
    "cluster.api": `/ip4/127.0.0.1/tcp/${ports.clusterApi}`,
    "kubo.swarmPort": String(ports.kuboSwarm),
    "cluster.swarmPort": String(ports.clusterSwarm),
    "kubo.reach": "federation",
    "server.port": String(ports.server),
    "gateway.port": String(ports.gateway),
    "api.port": String(ports.api),
    "docker.images.postgres": images.postgres,
    "docker.images.kubo": images.kubo,
    "docker.images.cluster": images.cluster,
    "docker.images.nats": images.nats,
    "controlPlane.clientPort": String(ports.natsClient),
    "controlPlane.routePort": String(ports.natsRoute),
    "controlPlane.monitorPort": String(ports.natsMonitor),
  };
}

/** A place for a box on this machine: nothing is installed yet. */
export async function placeMember(prefix: string, name: string): Promise<HostMember> {
  const root = await mkdtemp(join(tmpdir(), `${prefix}-`));
  const baseDir = join(root, "base");
  const scheduleRoot = join(root, "schedules");
  await mkdir(join(scheduleRoot, "etc/cron.d"), { recursive: true });
  await mkdir(join(scheduleRoot, "usr/sbin"), { recursive: true });
  await writeFile(join(scheduleRoot, "usr/sbin/cron"), "");
  const project = `${prefix}-${name}`;
  return {
    name,
    root,
    baseDir,
    scheduleRoot,
    project,
    ports: await choosePorts(),
    container: (service) => `${project}-${service}-1`,
    run: async (...args) => await runCliForTest(args, { baseDir }),
  };
}

/** Ends what runs on this machine for a member, and removes its directory; its containers are `removeAll`'s. */
export async function removeMember({ baseDir, root }: HostMember): Promise<void> {
  const loaded = await loadConfig({ globals: { baseDir }, env: {}, cwd: "/" }).catch(() => null);
  if (loaded !== null) await stopDaemon(loaded, { clock: systemClock, env: {} }, { force: true });
  await rm(root, { recursive: true, force: true, maxRetries: 10 });
}

/** What the join of a box is told beside its role. */
export function joinArgs(member: HostMember, host: string): readonly string[] {
  const sets = Object.entries(settingsOf(member.ports)).flatMap(([key, value]) => ["--set", `${key}=${value}`]);
  const place = ["--project", member.project, "--schedule-root", member.scheduleRoot];
  return [...place, "--announce", host, "--node-name", member.name, ...sets, "--yes"];
}

/** One secret of a master's `.env`. */
export async function secretOf(member: HostMember, name: string): Promise<string> {
  const line = (await readFile(join(member.baseDir, ".env"), "utf8")).split("\n").find((one) => one.startsWith(name));
  const value = line?.slice(name.length + 1).replaceAll(/^["']|["']$/g, "") ?? "";
  if (value === "") throw new Error(`${member.name} has no ${name}`);
  return value;
}

/** Gives a join token that the first master makes. */
export async function makeToken(master: Member, role: "master" | "storage"): Promise<string> {
  const { stdout } = expectDone(await master.run("token", "create", "--role", role, "--json"), `a token for a ${role}`);
  const { token }: { readonly token: string } = JSON.parse(stdout);
  return token;
}
