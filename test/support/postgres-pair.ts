import { type ChildProcess, execFileSync, spawn } from "node:child_process";
import { once } from "node:events";
import {
  chmodSync,
  chownSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  statfsSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Client, type QueryResultRow } from "pg";
import { systemClock } from "../../src/lib/kernel/clock.ts";
import type { PostgresSite, SiteStop } from "../../src/lib/runtime/postgres-site.ts";
import { openProcessSite } from "../../src/lib/runtime/postgres-site-processes.ts";
import { ensurePostgresUser, planPostgresUser, type SystemUser } from "../../src/lib/runtime/postgres-user.ts";
import { migrateUp } from "../../src/lib/postgres/migrator.ts";
import { createPool } from "../../src/lib/postgres/pool.ts";
import { makeBusyboxDir, onBusybox } from "./busybox.ts";
import { findFreePort } from "./free-port.ts";
import { until } from "./until.ts";

/** All programs of PostgreSQL, as Debian has them. */
export const PG_BIN_DIR = "/usr/lib/postgresql/15/bin";
export const PG_HOST = "127.0.0.1";
const START_TIMEOUT_MS = 60_000;
const CONNECT_TIMEOUT_MS = 30_000;
const MEMORY_DIR = "/dev/shm";
const MEMORY_BYTES_MIN = 4 * 1024 ** 3;

/** Gives safety against power loss away, which no test takes, for speed; all else is as a master has it. */
const SERVER_SETTINGS = `
fsync = off
shared_buffers = 16MB
max_connections = 60
wal_level = replica
wal_log_hints = on
max_wal_senders = 12
max_replication_slots = 20
hot_standby = on
wal_retrieve_retry_interval = 100ms
max_wal_size = 512MB
jit = off
timezone = 'UTC'
log_timezone = 'UTC'
`;

/** How the data directory of a primary is made. */
export interface PrimaryOptions {
  /** Page checksums; default true. */
  readonly checksums?: boolean;
  /** Default 1: small segments make small copies, and let a test fill some quickly. */
  readonly segmentMb?: number;
  /** Default false: an empty database `postgres`. True: a database `ledger` too, migrated, owned by role `ledger`. */
  readonly ledger?: boolean;
  /** Lines of node.conf. */
  readonly settings?: Readonly<Record<string, string>>;
}

/** A server of the tests: its data, its configuration beside it as a master lays it out, and who answers on its port. */
export class RigServer {
  readonly name: string;
  readonly rootDir: string;
  readonly dataDir: string;
  readonly port: number;
  readonly site: PostgresSite;
  readonly #guard: ChildProcess;
  #conf: Readonly<Record<string, string>> = {};

  constructor(name: string, rootDir: string, port: number, site: PostgresSite, guard: ChildProcess) {
    this.name = name;
    this.rootDir = rootDir;
    this.dataDir = join(rootDir, "data");
    this.port = port;
    this.site = site;
    this.#guard = guard;
  }

  /** Connection settings of the superuser; loopback needs no password. */
  connection(database = "postgres"): { host: string; port: number; user: string; database: string } {
    return { host: PG_HOST, port: this.port, user: "postgres", database };
  }

  /** What a standby named so, or a tool, writes to reach it. */
  conninfo(applicationName: string): string {
    return `host=${PG_HOST} port=${this.port} user=postgres dbname=postgres application_name=${applicationName} sslmode=disable`;
  }

  /** Replaces node.conf; a running server reads it on `site.reload()`. */
  configure(settings: Readonly<Record<string, string>>): void {
    this.#conf = settings;
    const lines = Object.entries(settings).map(([key, value]) => `${key} = '${value.replaceAll("'", "''")}'\n`);
    writeFileSync(join(this.rootDir, "node.conf"), lines.join(""));
  }

  /** Adds to node.conf. */
  set(settings: Readonly<Record<string, string>>): void {
    this.configure({ ...this.#conf, ...settings });
  }

  /** Starts it and waits until it answers queries. */
  async start(): Promise<void> {
    await this.launch();
    await until(
      `${this.name} answers`,
      async () => {
        if ((await this.site.state()) !== "running")
          throw new Error(`${this.name} ended:\n${this.log().slice(-4_000)}`);
        return await this.sql("select 1").then(
          () => true,
          () => false,
        );
      },
      START_TIMEOUT_MS,
    );
  }

  /** Starts it and waits for nothing. */
  async launch(): Promise<void> {
    await this.site.start();
    const pid = readFileSync(join(this.dataDir, "postmaster.pid"), { encoding: "utf8", flag: "a+" }).split("\n")[0];
    if (pid !== undefined && pid !== "") this.#guard.stdin?.write(`${pid}\n`);
  }

  async stop(how: SiteStop = "fast"): Promise<void> {
    await this.site.stop(how);
  }

  /** One statement as the superuser, on a connection of its own. */
  async sql<T extends QueryResultRow>(
    text: string,
    values: readonly unknown[] = [],
    database?: string,
  ): Promise<readonly T[]> {
    const client = new Client({ ...this.connection(database), connectionTimeoutMillis: CONNECT_TIMEOUT_MS });
    client.on("error", () => {});
    try {
      await client.connect();
      return (await client.query<T>(text, [...values])).rows;
    } finally {
      await client.end().catch(() => {});
    }
  }

  /** The end of its log. */
  log(): string {
    const path = join(this.rootDir, "server.log");
    return existsSync(path) ? readFileSync(path, "utf8") : "";
  }
}

/** Servers of a test: made from templates in well under a second, and gone with it, however it ends. */
export class PostgresRig implements AsyncDisposable {
  readonly dir: string;
  readonly user: SystemUser;
  readonly #guard: ChildProcess;
  readonly #busyboxDir: string | null;
  readonly #servers: RigServer[] = [];

  constructor(dir: string, user: SystemUser, guard: ChildProcess, busyboxDir: string | null) {
    this.dir = dir;
    this.user = user;
    this.#guard = guard;
    this.#busyboxDir = busyboxDir;
  }

  /** A new primary that answers. */
  async primary(name: string, options: PrimaryOptions = {}): Promise<RigServer> {
    const template = await templateOf(options);
    const server = await this.#server(name);
    this.#copy(template, server.dataDir);
    server.configure(options.settings ?? {});
    await server.start();
    return server;
  }

  /** A standby of a running server, that streams from it through slot `fula_<name>`. */
  async standby(of: RigServer, name: string, settings: Readonly<Record<string, string>> = {}): Promise<RigServer> {
    const server = await this.#server(name);
    const slot = `fula_${name}`;
    await of.sql("select pg_create_physical_replication_slot($1, true)", [slot]);
    await this.#baseBackup(of, server);
    server.configure({ primary_conninfo: of.conninfo(name), primary_slot_name: slot, ...settings });
    this.write(join(server.dataDir, "standby.signal"), "");
    await server.start();
    await this.streaming(of, name);
    return server;
  }

  /**
   * A stopped server with the data that another, stopped, one has. It has no configuration of its own.
   * @param how `linked`: its files are the other's, and may be removed, and not be written
   */
  async copyOf(server: RigServer, name: string, how: "copied" | "linked" = "copied"): Promise<RigServer> {
    const copy = await this.#server(name);
    if (how === "linked") execFileSync("cp", ["-al", server.dataDir, copy.dataDir]);
    else this.#copy(server.dataDir, copy.dataDir);
    copy.configure({});
    return copy;
  }

  /** A server without any data. */
  async empty(name: string): Promise<RigServer> {
    const server = await this.#server(name);
    server.configure({});
    return server;
  }

  /** Waits until the primary says that the standby streams and has everything that is flushed now. */
  async streaming(primary: RigServer, name: string): Promise<void> {
    await until(
      `${name} streams from ${primary.name}`,
      async () => {
        const rows = await primary.sql(
          "select 1 from pg_stat_replication where application_name = $1 and state = 'streaming' and replay_lsn >= pg_current_wal_flush_lsn()",
          [name],
        );
        return rows.length === 1;
      },
      START_TIMEOUT_MS,
    );
  }

  /** Writes a file as the servers' user. */
  write(path: string, content: string): void {
    writeFileSync(path, content, { mode: 0o600 });
    chownSync(path, this.user.uid, this.user.gid);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all(this.#servers.map(async (server) => await server.stop("immediate")));
    await endGuard(this.#guard);
    if (this.#busyboxDir !== null) rmSync(this.#busyboxDir, { recursive: true });
  }

  #copy(from: string, to: string): void {
    execFileSync("cp", ["-a", "--reflink=auto", from, to]);
  }

  async #baseBackup(of: RigServer, server: RigServer): Promise<void> {
    await using session = await server.site.open(new AbortController().signal);
    const { exitCode, stderr } = await session.run("pg_basebackup", {
      args: [
        "-D",
        server.dataDir,
        "-d",
        of.conninfo("base"),
        "-X",
        "stream",
        "-c",
        "fast",
        "--no-sync",
        "--no-manifest",
      ],
    });
    if (exitCode !== 0) throw new Error(`pg_basebackup: ${stderr}`);
  }

  async #server(name: string): Promise<RigServer> {
    const rootDir = join(this.dir, name);
    mkdirSync(rootDir, { mode: 0o700 });
    chownSync(rootDir, this.user.uid, this.user.gid);
    this.write(
      join(rootDir, "pg_hba.conf"),
      "host all all 127.0.0.1/32 trust\nhost replication all 127.0.0.1/32 trust\n",
    );
    this.write(
      join(rootDir, "server.conf"),
      `include_if_exists 'data/postgresql.conf'\n${SERVER_SETTINGS}hba_file = '${join(rootDir, "pg_hba.conf")}'\nlisten_addresses = '${PG_HOST}'\ninclude 'node.conf'\n`,
    );
    this.write(join(rootDir, "node.conf"), "");
    const port = await findFreePort();
    const site = await openProcessSite({
      rootDir,
      binDir: PG_BIN_DIR,
      user: this.user,
      port,
      logFile: join(rootDir, "server.log"),
      clock: systemClock,
    });
    const dressed = this.#busyboxDir === null ? site : onBusybox(site, this.#busyboxDir);
    const server = new RigServer(name, rootDir, port, dressed, this.#guard);
    this.#servers.push(server);
    return server;
  }
}

const templates = new Map<string, Promise<string>>();
let templateRig: Promise<PostgresRig> | null = null;

/** The data directory of a stopped server that was made so; once a process. */
async function templateOf({ checksums = true, segmentMb = 1, ledger = false }: PrimaryOptions): Promise<string> {
  const key = `${checksums ? "sums" : "plain"}-${segmentMb}${ledger ? "-ledger" : ""}`;
  const made = templates.get(key) ?? makeTemplate(key, { checksums, segmentMb, ledger });
  templates.set(key, made);
  return await made;
}

async function makeTemplate(
  name: string,
  { checksums, segmentMb, ledger }: Required<Omit<PrimaryOptions, "settings">>,
): Promise<string> {
  templateRig ??= makeRig();
  const rig = await templateRig;
  const server = await rig.empty(name);
  const how = ["-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C", "--no-sync", `--wal-segsize=${segmentMb}`];
  execFileSync(join(PG_BIN_DIR, "initdb"), ["-D", server.dataDir, ...how, ...(checksums ? ["--data-checksums"] : [])], {
    uid: rig.user.uid,
    gid: rig.user.gid,
    cwd: "/",
    stdio: ["ignore", "ignore", "pipe"],
    env: { LC_ALL: "C" },
  });
  // What is tuned stands beside the directory.
  rig.write(join(server.dataDir, "postgresql.conf"), "");
  if (ledger) await addLedger(server);
  return server.dataDir;
}

async function addLedger(server: RigServer): Promise<void> {
  await server.start();
  await server.sql("create role ledger login password 'ledger'");
  await server.sql("create database ledger template template0 owner ledger");
  const pool = createPool({
    host: PG_HOST,
    port: server.port,
    database: "ledger",
    user: "ledger",
    password: "ledger",
    part: "template",
    node: "test",
  });
  try {
    await migrateUp(pool);
  } finally {
    await pool.end();
  }
  await server.stop();
}

function placeOfData(): string {
  if (!existsSync(MEMORY_DIR)) return tmpdir();
  const { bavail, bsize } = statfsSync(MEMORY_DIR);
  return bavail * bsize >= MEMORY_BYTES_MIN ? MEMORY_DIR : tmpdir();
}

async function endGuard(guard: ChildProcess): Promise<void> {
  const exited = once(guard, "exit");
  // Nothing else may keep the process until it is over.
  guard.ref();
  guard.stdin?.end();
  await exited;
}

async function makeRig(busyboxDir: string | null = null): Promise<PostgresRig> {
  const dir = mkdtempSync(join(placeOfData(), "fula-test-rig-"));
  const { user } = await ensurePostgresUser(await planPostgresUser({ dataDir: dir }));
  chmodSync(dir, 0o700);
  chownSync(dir, user.uid, user.gid);
  const guard = spawn(process.execPath, [join(import.meta.dirname, "children", "postgres-guard.ts"), dir], {
    detached: true,
    stdio: ["pipe", "ignore", "inherit"],
    cwd: "/",
  });
  // The templates' one lives until this process ends, and does not keep it from ending.
  guard.unref();
  return new PostgresRig(dir, user, guard, busyboxDir);
}

/** Begins a set of servers; use it with `await using`. */
export async function openPostgresRig(): Promise<PostgresRig> {
  return await makeRig();
}

/** As `openPostgresRig`, where busybox runs our scripts, as in PostgreSQL's images that stand on Alpine. */
export async function openBusyboxRig(): Promise<PostgresRig> {
  return await makeRig(makeBusyboxDir());
}
