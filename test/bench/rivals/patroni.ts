import { type ChildProcess, spawn } from "node:child_process";
import { chmodSync, chownSync, mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { execa } from "execa";
import { Client } from "pg";
import type { SystemUser } from "../../../src/lib/runtime/postgres-user.ts";
import { findFreePorts } from "../../support/daemon-process.ts";
import { PG_BIN_DIR } from "../../support/postgres-pair.ts";
import { until } from "../../support/until.ts";
import { killTree, readLeader, type RivalCluster, SUPERUSER } from "./rival.ts";

const SCOPE = "bench";
const START_MS = 120_000;

function settings(name: string, index: number, dir: string, ports: Ports): string {
  const port = ports.postgres[index] ?? 0;
  return `scope: ${SCOPE}
name: ${name}
restapi: { listen: "127.0.0.1:${ports.rest[index]}", connect_address: "127.0.0.1:${ports.rest[index]}" }
etcd3: { host: "127.0.0.1:${ports.etcd}" }
bootstrap:
  dcs:
    ttl: 30
    loop_wait: 10
    retry_timeout: 10
    synchronous_mode: true
    postgresql: { use_pg_rewind: true, use_slots: true, parameters: { wal_log_hints: "on", max_connections: 60, shared_buffers: 16MB } }
  initdb: [ { encoding: UTF8 }, data-checksums, { auth-host: trust }, { auth-local: trust } ]
postgresql:
  listen: "127.0.0.1:${port}"
  connect_address: "127.0.0.1:${port}"
  data_dir: ${join(dir, name, "data")}
  bin_dir: ${PG_BIN_DIR}
  pgpass: ${join(dir, name, "pgpass")}
  authentication:
    superuser: { username: postgres, password: bench }
    replication: { username: replicator, password: bench }
  pg_hba: [ "local all all trust", "host all all 127.0.0.1/32 trust", "host replication all 127.0.0.1/32 trust" ]
  parameters: { unix_socket_directories: "${join(dir, name)}" }
`;
}

interface Ports {
  readonly etcd: number;
  readonly etcdPeer: number;
  readonly rest: readonly number[];
  readonly postgres: readonly number[];
}

function startAs(user: SystemUser, program: string, args: readonly string[], dir: string): ChildProcess {
  return spawn(program, args, {
    uid: user.uid,
    gid: user.gid,
    cwd: dir,
    detached: true,
    stdio: "ignore",
    env: { PATH: `/usr/bin:/bin:${PG_BIN_DIR}`, LC_ALL: "C", ETCD_UNSUPPORTED_ARCH: "" },
  });
}

/** Debian's Patroni with its default times, three servers and one etcd, synchronous. */
export async function startPatroni(dir: string, user: SystemUser): Promise<RivalCluster> {
  const names = ["p1", "p2", "p3"] as const;
  const [etcd = 0, etcdPeer = 0, r1 = 0, r2 = 0, r3 = 0, s1 = 0, s2 = 0, s3 = 0] = await findFreePorts(8);
  const ports: Ports = { etcd, etcdPeer, rest: [r1, r2, r3], postgres: [s1, s2, s3] };
  const own = (path: string): void => {
    mkdirSync(path, { recursive: true });
    chownSync(path, user.uid, user.gid);
    chmodSync(path, 0o700);
  };
  own(dir);
  own(join(dir, "etcd"));
  const url = (port: number): string => `http://127.0.0.1:${port}`;
  const etcdProcess = startAs(
    user,
    "/usr/bin/etcd",
    [
      "--name=e",
      `--data-dir=${join(dir, "etcd")}`,
      `--listen-client-urls=${url(etcd)}`,
      `--advertise-client-urls=${url(etcd)}`,
      `--listen-peer-urls=${url(etcdPeer)}`,
      `--initial-advertise-peer-urls=${url(etcdPeer)}`,
      `--initial-cluster=e=${url(etcdPeer)}`,
    ],
    dir,
  );
  const agents = new Map<string, ChildProcess>();
  const start = (name: string): void => {
    agents.set(name, startAs(user, "/usr/bin/patroni", [join(dir, `${name}.yml`)], dir));
  };
  for (const [index, name] of names.entries()) {
    own(join(dir, name));
    writeFileSync(join(dir, `${name}.yml`), settings(name, index, dir, ports));
    chownSync(join(dir, `${name}.yml`), user.uid, user.gid);
    start(name);
  }
  const ctl = async (...args: readonly string[]): Promise<string> => {
    const { stdout } = await execa("/usr/bin/patronictl", ["-c", join(dir, "p1.yml"), ...args], {
      env: { LC_ALL: "C.UTF-8" },
    });
    return stdout;
  };
  const portOf = (name: string): number => ports.postgres[names.findIndex((one) => one === name)] ?? 0;
  const leader = async (): Promise<string> => await readLeader(names, portOf);
  const settled = async (): Promise<void> => {
    await until(
      "Patroni has a leader, a synchronous standby and another one",
      async () => {
        const members: readonly { readonly Role: string; readonly State: string }[] = JSON.parse(
          await ctl("list", "-f", "json", SCOPE).catch(() => "[]"),
        );
        const roles = members.map(({ Role, State }) => `${Role} ${State}`).toSorted();
        return (
          roles.join(", ") === "Leader running, Replica running, Sync Standby running" ||
          roles.join(", ") === "Leader running, Replica streaming, Sync Standby streaming"
        );
      },
      START_MS,
    );
  };
  await settled();
  const syncStandby = async (): Promise<string> => {
    const members: readonly { readonly Member: string; readonly Role: string }[] = JSON.parse(
      await ctl("list", "-f", "json", SCOPE),
    );
    return members.find(({ Role }) => Role === "Sync Standby")?.Member ?? "";
  };
  return {
    name: "Patroni 3.0.2 (Debian)",
    login: SUPERUSER,
    ports: ports.postgres,
    leader,
    settled,
    connect: async () => {
      const client = new Client({
        host: "127.0.0.1",
        port: portOf(await leader()),
        user: "postgres",
        database: "postgres",
      });
      await client.connect();
      return client;
    },
    switchover: async () => {
      const [from, to] = [await leader(), await syncStandby()];
      await ctl("switchover", "--force", "--leader", from, "--candidate", to, SCOPE);
    },
    kill: async () => {
      const name = await leader();
      killTree(agents.get(name)?.pid ?? 0, join(dir, name, "data"));
      return name;
    },
    failover: async () => {
      await ctl("failover", "--force", "--candidate", await syncStandby(), SCOPE).catch(() => {});
      return null;
    },
    revive: async (name) => {
      start(name);
      await settled();
    },
    [Symbol.asyncDispose]: async () => {
      for (const [name, agent] of agents) killTree(agent.pid ?? 0, join(dir, name, "data"));
      killTree(etcdProcess.pid ?? 0, null);
    },
  };
}
