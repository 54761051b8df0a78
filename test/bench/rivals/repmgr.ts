import { chmodSync, chownSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { execa } from "execa";
import { Client } from "pg";
import type { SystemUser } from "../../../src/lib/runtime/postgres-user.ts";
import { findFreePorts } from "../../support/daemon-process.ts";
import { PG_BIN_DIR } from "../../support/postgres-pair.ts";
import { until } from "../../support/until.ts";
import { killTree, readLeader, type RivalCluster, SUPERUSER } from "./rival.ts";

const START_MS = 120_000;
const NAMES = ["r1", "r2", "r3"] as const;

/** repmgr reaches other boxes by SSH; here they are all this machine. */
const LOCAL_SSH = `#!/bin/sh
while [ $# -gt 0 ]; do
  case "$1" in
    -o) shift 2 ;;
    -*) shift ;;
    *) shift; break ;;
  esac
done
exec sh -c "$*"
`;

/** Debian's repmgr, three servers, synchronous towards any one of the other two. */
export async function startRepmgr(dir: string, user: SystemUser): Promise<RivalCluster> {
  const ports = await findFreePorts(3);
  const own = (path: string): void => {
    mkdirSync(path, { recursive: true });
    chownSync(path, user.uid, user.gid);
    chmodSync(path, 0o700);
  };
  own(dir);
  own(join(dir, "bin"));
  writeFileSync(join(dir, "bin", "ssh"), LOCAL_SSH, { mode: 0o755 });
  const env = { PATH: `${join(dir, "bin")}:${PG_BIN_DIR}:/usr/bin:/bin`, LC_ALL: "C", HOME: dir };
  const run = async (program: string, ...args: readonly string[]): Promise<string> => {
    const { stdout } = await execa(program, args, { uid: user.uid, gid: user.gid, cwd: dir, env, extendEnv: false });
    return stdout;
  };
  const dataDir = (name: string): string => join(dir, name, "data");
  const portOf = (name: string): number => ports[NAMES.findIndex((one) => one === name)] ?? 0;
  const conf = (name: string): string => join(dir, name, "repmgr.conf");
  const repmgr = async (name: string, ...args: readonly string[]): Promise<string> =>
    await run("/usr/bin/repmgr", "-f", conf(name), ...args);
  for (const [index, name] of NAMES.entries()) {
    own(join(dir, name));
    const start = `${PG_BIN_DIR}/pg_ctl -D ${dataDir(name)} -l ${join(dir, name, "log")} -w`;
    writeFileSync(
      conf(name),
      `node_id=${index + 1}
node_name='${name}'
conninfo='host=127.0.0.1 port=${portOf(name)} user=postgres dbname=postgres connect_timeout=2'
data_directory='${dataDir(name)}'
pg_bindir='${PG_BIN_DIR}'
use_replication_slots=yes
service_start_command='${start} start'
service_stop_command='${start} -m fast stop'
service_restart_command='${start} restart'
service_reload_command='${PG_BIN_DIR}/pg_ctl -D ${dataDir(name)} reload'
`,
    );
    chownSync(conf(name), user.uid, user.gid);
  }
  await run(
    `${PG_BIN_DIR}/initdb`,
    "-D",
    dataDir("r1"),
    "-U",
    "postgres",
    "-A",
    "trust",
    "--data-checksums",
    "--no-sync",
  );
  const settings = (name: string): string => `port = ${portOf(name)}
listen_addresses = '127.0.0.1'
unix_socket_directories = '${join(dir, name)}'
wal_log_hints = on
hot_standby = on
max_connections = 60
shared_buffers = 16MB
shared_preload_libraries = 'repmgr'
wal_keep_size = 512MB
`;
  const main = join(dataDir("r1"), "postgresql.conf");
  // What differs between them lies outside the data directory, which is copied.
  writeFileSync(main, `${readFileSync(main, "utf8")}\ninclude_if_exists '../node.conf'\n`);
  for (const name of NAMES) writeFileSync(join(dir, name, "node.conf"), settings(name));
  const ctl = async (name: string, ...args: readonly string[]): Promise<string> =>
    await run(`${PG_BIN_DIR}/pg_ctl`, "-D", dataDir(name), "-l", join(dir, name, "log"), "-w", ...args);
  await ctl("r1", "start");
  await repmgr("r1", "primary", "register");
  const source = ["-h", "127.0.0.1", "-p", String(portOf("r1")), "-U", "postgres", "-d", "postgres"];
  for (const name of ["r2", "r3"]) {
    await repmgr(name, ...source, "standby", "clone", "--fast-checkpoint");
    await ctl(name, "start");
    await repmgr(name, "standby", "register");
  }
  const leader = async (): Promise<string> => await readLeader(NAMES, portOf);
  const connectTo = async (name: string): Promise<Client> => {
    const client = new Client({ host: "127.0.0.1", port: portOf(name), user: "postgres", database: "postgres" });
    client.on("error", () => {});
    await client.connect();
    return client;
  };
  const setSync = async (name: string, value: string): Promise<void> => {
    const client = await connectTo(name);
    await client.query(`alter system set synchronous_standby_names = '${value}'`);
    await client.query("select pg_reload_conf()");
    await client.end();
  };
  const settled = async (): Promise<void> => {
    const name = await leader();
    await setSync(name, "ANY 1 (*)");
    const client = await connectTo(name);
    await until(
      "both others stream from the one that leads",
      async () => {
        const { rows } = await client.query<{ count: string }>(
          "select count(*) from pg_stat_replication where state = 'streaming'",
        );
        return rows[0]?.count === "2";
      },
      START_MS,
    );
    await client.end();
  };
  await settled();
  const others = async (): Promise<readonly string[]> => {
    const first = await leader();
    return NAMES.filter((name) => name !== first);
  };
  return {
    name: "repmgr 5.3.3 (Debian)",
    login: SUPERUSER,
    ports,
    leader,
    settled,
    connect: async () => await connectTo(await leader()),
    switchover: async () => {
      const [to = ""] = await others();
      await repmgr(to, "standby", "switchover", "--siblings-follow");
    },
    kill: async () => {
      const name = await leader();
      killTree(0, dataDir(name));
      return name;
    },
    failover: async () => {
      const standby = await findStandby(NAMES, portOf);
      await repmgr(standby, "standby", "promote", "--siblings-follow");
      return null;
    },
    revive: async (name) => {
      const to = await leader();
      const conninfo = `host=127.0.0.1 port=${portOf(to)} user=postgres dbname=postgres`;
      await repmgr(name, "node", "rejoin", "-d", conninfo, "--force-rewind", "--config-files=postgresql.auto.conf");
      await settled();
    },
    [Symbol.asyncDispose]: async () => {
      for (const name of NAMES) killTree(0, dataDir(name));
    },
  };
}

/** The standby that has received most, as repmgrd chooses it: another one loses what only this one has, and leaves it behind. */
async function findStandby(names: readonly string[], portOf: (name: string) => number): Promise<string> {
  const found = await Promise.all(names.map(async (name) => ({ name, received: await receivedBy(portOf(name)) })));
  let best: { readonly name: string; readonly received: bigint } | null = null;
  for (const { name, received } of found) {
    if (received !== null && (best === null || received > best.received)) best = { name, received };
  }
  if (best === null) throw new Error("no standby answers");
  return best.name;
}

/** In bytes of WAL. @returns null for one that is no standby, or does not answer */
async function receivedBy(port: number): Promise<bigint | null> {
  const client = new Client({
    host: "127.0.0.1",
    port,
    user: "postgres",
    database: "postgres",
    connectionTimeoutMillis: 500,
  });
  client.on("error", () => {});
  try {
    await client.connect();
    const { rows } = await client.query<{ received: string | null }>(
      "select case when pg_is_in_recovery() then pg_last_wal_receive_lsn() - '0/0' end::text as received",
    );
    const received = rows[0]?.received ?? null;
    return received === null ? null : BigInt(received);
  } catch {
    // It is the one that was killed.
    return null;
  } finally {
    client.end().catch(() => {});
  }
}
