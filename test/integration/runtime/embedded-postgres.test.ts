import { type ChildProcess, execFileSync, spawn } from "node:child_process";
import { chmod, mkdir, mkdtemp, readdir, readFile, rm, stat, writeFile } from "node:fs/promises";
import { createServer, type Server } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Client } from "pg";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { systemClock } from "../../../src/lib/kernel/clock.ts";
import { silentLog } from "../../../src/lib/kernel/log.ts";
import { systemRandom } from "../../../src/lib/kernel/random.ts";
import { Secret } from "../../../src/lib/kernel/secret.ts";
import {
  type EmbeddedPostgresOptions,
  ensureEmbeddedPostgres,
  inspectEmbeddedPostgres,
  planEmbeddedPostgres,
  type RunningPostgres,
  stopUnusedPostgres,
} from "../../../src/lib/runtime/embedded-postgres.ts";
import { findLeftovers, findPostmaster, stopPostmaster } from "../../../src/lib/runtime/postgres-process.ts";
import {
  argumentsOf,
  listPids,
  type ProcessIdentity,
  programOf,
  signalProcess,
} from "../../../src/lib/runtime/processes.ts";
import { superviseEmbeddedPostgres } from "../../../src/lib/runtime/supervised-postgres.ts";
import { findFreePort } from "../../support/free-port.ts";
import { debianBinDirs, type HolderSettings, PostgresHolder, removeTree } from "../../support/postgres-child.ts";

const PASSWORD = "p'a\"s$s\\ w%ord";
const IS_ROOT = process.getuid?.() === 0;

let baseDir: string;
let opened: RunningPostgres[];
let holders: PostgresHolder[];
let strays: ChildProcess[];

beforeEach(async () => {
  baseDir = await mkdtemp(join(tmpdir(), "fula-pg-"));
  opened = [];
  holders = [];
  strays = [];
});
afterEach(async () => {
  for (const child of strays) child.kill("SIGKILL");
  for (const holder of holders) await holder.kill9();
  for (const running of opened) await running.stop();
  await stopUnusedPostgres(options(), systemClock);
  expect(await findLeftovers(dataDir()), "processes left over").toEqual([]);
  await removeTree(baseDir);
});

function dataDir(): string {
  return join(baseDir, "state", "postgres", "data");
}

function options(more: Partial<EmbeddedPostgresOptions> = {}): EmbeddedPostgresOptions {
  return {
    baseDir,
    stateDir: join(baseDir, "state"),
    locksDir: join(baseDir, "state", "locks"),
    logsDir: join(baseDir, "logs"),
    port: 0,
    database: "ledger",
    user: "owner",
    password: new Secret(PASSWORD),
    purpose: "test",
    clock: systemClock,
    random: systemRandom,
    log: silentLog,
    ...more,
  };
}

async function ensure(more: Partial<EmbeddedPostgresOptions> = {}): Promise<RunningPostgres> {
  const running = await ensureEmbeddedPostgres(options(more));
  opened.push(running);
  return running;
}

function hold(more: Partial<HolderSettings> = {}): PostgresHolder {
  const holder = new PostgresHolder({ baseDir, password: PASSWORD, ...more });
  holders.push(holder);
  return holder;
}

async function query(port: number, sql: string, password = PASSWORD): Promise<unknown[]> {
  const client = new Client({ host: "127.0.0.1", port, user: "owner", database: "ledger", password });
  client.on("error", () => {});
  await client.connect();
  try {
    return (await client.query({ text: sql, rowMode: "array" })).rows;
  } finally {
    await client.end();
  }
}

async function until(what: string, holds: () => boolean | Promise<boolean>): Promise<void> {
  const deadline = performance.now() + 60_000;
  while (!(await holds())) {
    if (performance.now() > deadline) throw new Error(`Never happened: ${what}`);
    await systemClock.sleep(10);
  }
}

/** A process of the server that lives as long as it does: others, such as one that served a query, may be about to end. */
async function checkpointer(): Promise<ProcessIdentity> {
  const found = (await findLeftovers(dataDir())).find(({ pid }) => argumentsOf(pid).join(" ").includes("checkpointer"));
  if (found === undefined) throw new Error("the server has no checkpointer");
  return found;
}

describe("first start", () => {
  test("makes a server that is durable, in UTF-8, on loopback only, and closed without the password", async () => {
    const running = await ensure();
    expect(running).toMatchObject({ host: "127.0.0.1", attached: false });
    const settings = ["fsync", "data_checksums", "listen_addresses", "server_encoding", "timezone"];
    const sql = `select ${settings.map((name) => `current_setting('${name}')`).join(", ")}`;
    expect(await query(running.port, sql)).toEqual([["on", "on", "127.0.0.1", "UTF8", "UTC"]]);
    expect(argumentsOf(running.pid)).toContain("unix_socket_directories=");
    await expect(query(running.port, "select 1", "wrong")).rejects.toMatchObject({ code: "28P01" });
    await expect(query(running.port, "select 1", "")).rejects.toThrow(/password/);
  });

  test("the configured role owns its database, may make others for drills, and is no superuser", async () => {
    const { port } = await ensure();
    expect(
      await query(port, "select rolsuper, rolcreaterole, rolcreatedb from pg_roles where rolname = current_user"),
    ).toEqual([[false, false, true]]);
    await query(port, "create table mine (id int)");
    await query(port, "create extension pgcrypto");
  });

  test("text sorts by bytes and case folding knows more than ASCII, so indexes do not depend on the machine", async () => {
    const { port } = await ensure();
    expect(await query(port, "select 'B' < 'a', upper('ä')")).toEqual([[true, "Ä"]]);
  });

  test("every secret is 0600, every directory of ours closed to others, and no password file of initdb stays", async () => {
    await ensure();
    const root = join(baseDir, "state", "postgres");
    expect((await stat(join(root, "admin.password"))).mode & 0o777).toBe(0o600);
    for (const dir of [baseDir, join(baseDir, "state"), root]) {
      expect((await stat(dir)).mode & 0o777, dir).toBe(IS_ROOT ? 0o710 : 0o700);
    }
    expect((await stat(dataDir())).mode & 0o777).toBe(0o700);
    const beside = ["pg_hba.conf", "pg_ident.conf", "server.conf"];
    for (const name of beside) expect((await stat(join(root, name))).mode & 0o777, name).toBe(0o600);
    expect((await readdir(root)).toSorted()).toEqual(["admin.password", "data", ...beside, "port"].toSorted());
  });

  test("the password is in no log and in no argument of a process", async () => {
    const { pid } = await ensure();
    await ensure({ password: new Secret("another-secret") });
    const log = await readFile(join(baseDir, "logs", "postgres.log"), "utf8");
    for (const secret of [PASSWORD, "another-secret"]) {
      expect(log).not.toContain(secret);
      expect(argumentsOf(pid).join(" ")).not.toContain(secret);
    }
  });
});

describe("sharing", () => {
  test("processes that start at the same time get one server", async () => {
    const servers = await Promise.all([hold(), hold(), hold()].map(async (holder) => holder.ready()));
    expect(new Set(servers.map(({ pid }) => pid)).size).toBe(1);
    expect(servers.filter(({ attached }) => !attached)).toHaveLength(1);
  });

  test("the one who started it does not stop it under one who attached; the last one out does", async () => {
    const starter = hold({ purpose: "snapshot" });
    const { pid, port } = await starter.ready();
    const other = hold({ purpose: "serve" });
    expect(await other.ready()).toEqual({ pid, port, attached: true });
    expect(await starter.stop()).toBeNull();
    expect(starter.events.at(-1)).toMatchObject({ usedBy: [{ pid: other.process.pid, purpose: "serve" }] });
    expect(await query(port, "select 1")).toEqual([[1]]);
    expect(await other.stop()).toBe("fast");
    expect(await inspectEmbeddedPostgres(options())).toMatchObject({ running: null });
  });

  test("users that come and go at the same time never find a server that goes away under them", async () => {
    const visit = async (): Promise<void> => {
      await using running = await ensureEmbeddedPostgres(options());
      expect(await query(running.port, "select 1")).toEqual([[1]]);
    };
    await Promise.all(
      Array.from({ length: 4 }, async () => {
        for (let round = 0; round < 5; round += 1) await visit();
      }),
    );
    expect(await inspectEmbeddedPostgres(options())).toMatchObject({ running: null });
  });

  test("a killed process leaves its server to the next one, which stops it when it is the last", async () => {
    const killed = hold();
    const { pid, port } = await killed.ready();
    await query(port, "create table kept as select 42 as answer");
    await killed.kill9();
    const next = await ensure();
    expect(next).toMatchObject({ pid, port, attached: true });
    expect(await query(port, "select answer from kept")).toEqual([[42]]);
    expect(await next.stop()).toEqual({ stopped: "fast", usedBy: [] });
  });

  test("a server that somebody else started on the directory is used and left running", async () => {
    const first = await ensure();
    const [program = ""] = argumentsOf(first.pid);
    await first.stop();
    const { uid, gid } = await stat(dataDir());
    const port = await findFreePort();
    const args = ["-D", dataDir(), "-p", String(port), "-c", "unix_socket_directories="];
    const foreign = spawn(program, args, { ...(IS_ROOT ? { uid, gid } : {}), stdio: "ignore", env: { LC_ALL: "C" } });
    strays.push(foreign);
    await until("the foreign server has its pid file", async () => (await findPostmaster(dataDir())) !== null);
    const running = await ensure();
    expect(running).toMatchObject({ pid: foreign.pid, port, attached: true });
    expect(await running.stop()).toEqual({ stopped: null, usedBy: [] });
    expect(await query(port, "select 1")).toEqual([[1]]);
    foreign.kill("SIGINT");
    await until("the foreign server has ended", async () => (await findLeftovers(dataDir())).length === 0);
  });
});

/** Kills a process that makes a server while initdb runs for it. @returns false where initdb was quicker */
async function isKilledInInitdb(root: string): Promise<boolean> {
  const killed = hold();
  const list = async (dir: string): Promise<readonly string[]> => await readdir(dir).catch((): string[] => []);
  await until("initdb is at work, or through", async () => {
    const names = await list(root);
    if (names.includes("data")) return true;
    const unfinished = names.find((name) => name.startsWith("init-") && !name.endsWith(".password"));
    return unfinished !== undefined && (await list(join(root, unfinished))).includes("base");
  });
  await killed.kill9();
  return !(await list(root)).includes("data");
}

describe("crashes", () => {
  test("a kill -9 of initdb's parent in the middle leaves nothing that passes for a database", async () => {
    const root = join(baseDir, "state", "postgres");
    await until("one is killed in the middle", async () => {
      if (await isKilledInInitdb(root)) return true;
      // It was through before this process had a look: anew.
      await stopUnusedPostgres(options(), systemClock);
      await removeTree(join(baseDir, "state"));
      return false;
    });
    expect(await readdir(root)).not.toContain("data");
    const running = await ensure();
    expect(await query(running.port, "select 1")).toEqual([[1]]);
    expect((await readdir(root)).filter((name) => name.startsWith("init-"))).toEqual([]);
    expect(
      listPids().filter((pid) => programOf(pid) === "initdb" && argumentsOf(pid).join(" ").includes(baseDir)),
    ).toEqual([]);
  });

  test("what was committed survives a kill -9 of the server and of every process of it", async () => {
    const running = await ensure();
    await query(running.port, "create table kept as select generate_series(1, 1000) as n");
    // Some end by themselves as soon as the first of them is gone.
    for (const identity of await findLeftovers(dataDir())) signalProcess(identity, "SIGKILL");
    await running.exited;
    const again = await ensure();
    expect(again.attached).toBe(false);
    expect(await query(again.port, "select count(*)::int from kept")).toEqual([[1000]]);
  });

  test("a left-over process that does not notice its server's death is ended before the next start", async () => {
    const running = await ensure();
    const stuck = await checkpointer();
    process.kill(stuck.pid, "SIGSTOP");
    process.kill(running.pid, "SIGKILL");
    await running.exited;
    expect(await findLeftovers(dataDir())).toContainEqual(stuck);
    const again = await ensure();
    expect(await query(again.port, "select 1")).toEqual([[1]]);
    expect(await findLeftovers(dataDir())).not.toContainEqual(stuck);
  });

  test("a postmaster.pid whose pid belongs to another process of the same user does not keep it from starting", async () => {
    const first = await ensure();
    await first.stop();
    const { uid, gid } = await stat(dataDir());
    const stranger = spawn("sleep", ["600"], { ...(IS_ROOT ? { uid, gid } : {}), stdio: "ignore" });
    strays.push(stranger);
    const text = `${stranger.pid}\n${dataDir()}\n1700000000\n${first.port}\n\n127.0.0.1\n  1234567         0\nready   \n`;
    await writeFile(join(dataDir(), "postmaster.pid"), text);
    const again = await ensure();
    expect(again.attached).toBe(false);
    expect(await query(again.port, "select 1")).toEqual([[1]]);
    expect(stranger.exitCode).toBeNull();
  });

  test("serve's supervisor starts a killed server again on the same port and says so", async () => {
    const supervised = await superviseEmbeddedPostgres(options({ purpose: "serve" }));
    try {
      const before = supervised.state();
      expect(before).toMatchObject({ status: "running", restarts: 0 });
      await query(supervised.port, "create table kept as select 1 as n");
      if (before.status === "running") process.kill(before.pid, "SIGKILL");
      await until("the state is not running", () => supervised.state().status === "restarting");
      await until("it runs again", () => supervised.state().status === "running");
      expect(supervised.state()).toMatchObject({ status: "running", restarts: 1 });
      expect(await query(supervised.port, "select n from kept")).toEqual([[1]]);
    } finally {
      expect(await supervised.stop()).toMatchObject({ stopped: "fast" });
    }
    expect(supervised.state()).toEqual({ status: "stopped", restarts: 1 });
  });

  test("a supervisor that cannot start it again goes on trying, tells why, and ends when told to", async () => {
    const supervised = await superviseEmbeddedPostgres(options({ purpose: "serve" }));
    const before = supervised.state();
    try {
      await writeFile(join(dataDir(), "PG_VERSION"), "11\n");
      if (before.status === "running") process.kill(before.pid, "SIGKILL");
      await until("an attempt failed", () => {
        const state = supervised.state();
        return state.status === "restarting" && state.attempts >= 2;
      });
      expect(supervised.state()).toMatchObject({ lastError: expect.stringContaining("was written by PostgreSQL 11") });
    } finally {
      await supervised.stop();
    }
    expect(supervised.state()).toEqual({ status: "stopped", restarts: 0 });
  });

  test("a server that a stuck process keeps from a fast stop is stopped at once", async () => {
    const running = await ensure();
    const postmaster = await findPostmaster(dataDir());
    const stuck = await checkpointer();
    if (postmaster === null) throw new Error("no server");
    process.kill(stuck.pid, "SIGSTOP");
    expect(await stopPostmaster(postmaster, systemClock, 300)).toBe("immediate");
    await running.exited;
  });
});

describe("ports", () => {
  async function listen(port: number): Promise<Server> {
    const server = createServer();
    const { promise, resolve } = Promise.withResolvers<void>();
    server.listen({ host: "127.0.0.1", port }, resolve);
    await promise;
    return server;
  }

  test("a chosen port is remembered, and chosen anew when somebody else took it", async () => {
    const first = await ensure();
    await first.stop();
    const second = await ensure();
    expect(second.port).toBe(first.port);
    await second.stop();
    const stranger = await listen(first.port);
    try {
      const third = await ensure();
      expect(third.port).not.toBe(first.port);
      expect(await query(third.port, "select 1")).toEqual([[1]]);
    } finally {
      stranger.close();
    }
  });

  test("a configured port that somebody else has is refused by his name, and nothing is left running", async () => {
    const port = await findFreePort();
    const stranger = await listen(port);
    try {
      await expect(ensure({ port })).rejects.toMatchObject({
        code: "FULA_PORT_IN_USE",
        message: expect.stringContaining(`process ${process.pid}`),
      });
      expect(await findLeftovers(dataDir())).toEqual([]);
    } finally {
      stranger.close();
    }
    expect(await ensure({ port })).toMatchObject({ port });
  });

  test("a server that runs on another port than the new configuration is used as it is", async () => {
    const first = await ensure();
    const wanted = await findFreePort();
    expect(await ensure({ port: wanted })).toMatchObject({ port: first.port, attached: true });
  });
});

describe("refusals", () => {
  test("a data directory of another major version is refused with both named, and left as it is", async () => {
    const first = await ensure();
    await first.stop();
    await writeFile(join(dataDir(), "PG_VERSION"), "11\n");
    await expect(ensure()).rejects.toMatchObject({
      code: "FULA_POSTGRES_VERSION",
      message: expect.stringMatching(/written by PostgreSQL 11; the server programs are \d+\.\d+/),
    });
    expect(await readFile(join(dataDir(), "PG_VERSION"), "utf8")).toBe("11\n");
  });

  test("a directory with other files in it is refused and left as it is", async () => {
    await mkdir(dataDir(), { recursive: true });
    await writeFile(join(dataDir(), "thesis.txt"), "mine");
    await expect(ensure()).rejects.toMatchObject({ code: "FULA_POSTGRES_DATA" });
    expect(await readdir(dataDir())).toEqual(["thesis.txt"]);
  });

  test("a data directory that was there before is not replaced by an empty one", async () => {
    const first = await ensure();
    await first.stop();
    await rm(dataDir(), { recursive: true });
    await expect(ensure({ mustExist: true })).rejects.toMatchObject({ code: "FULA_STATE_LOST" });
    expect(await readdir(join(baseDir, "state", "postgres"))).not.toContain("data");
  });

  test("a database of another role is refused with both named", async () => {
    const first = await ensure();
    await first.stop();
    await expect(ensure({ user: "somebody_else" })).rejects.toMatchObject({
      code: "FULA_POSTGRES_DATA",
      message: "Database ledger belongs to role owner; the configuration says somebody_else.",
    });
    expect(await findLeftovers(dataDir())).toEqual([]);
  });

  test("programs that are not there are refused with their path", async () => {
    await expect(ensure({ binDir: "/nowhere/bin" })).rejects.toMatchObject({
      code: "FULA_POSTGRES_BINARIES",
      message: expect.stringContaining("/nowhere/bin/postgres"),
    });
  });

  test("a server that does not start shows the end of its own log", async () => {
    const first = await ensure();
    await first.stop();
    await writeFile(join(dataDir(), "postgresql.conf"), "shared_buffers = 'a lot'\n");
    await expect(ensure()).rejects.toMatchObject({
      code: "FULA_POSTGRES_START",
      message: expect.stringContaining('invalid value for parameter "shared_buffers"'),
    });
  });
});

describe("passwords", () => {
  test("a new password in the configuration is set in the server, and the old one no longer opens it", async () => {
    const { port } = await ensure();
    await ensure({ password: new Secret("n3w 'pass") });
    expect(await query(port, "select 1", "n3w 'pass")).toEqual([[1]]);
    await expect(query(port, "select 1", PASSWORD)).rejects.toMatchObject({ code: "28P01" });
  });

  test.each([
    ["is lost", async (file: string) => rm(file)],
    ["is wrong", async (file: string) => writeFile(file, "not it\n")],
  ])("a superuser password that %s is set anew, and nothing else changes", async (_what, damage) => {
    const first = await ensure();
    await query(first.port, "create table kept as select 7 as n");
    await first.stop();
    await damage(join(baseDir, "state", "postgres", "admin.password"));
    const again = await ensure();
    expect(await query(again.port, "select n from kept")).toEqual([[7]]);
  });

  test("a superuser password that is lost while others use the server is an error that says what to do", async () => {
    await ensure();
    await rm(join(baseDir, "state", "postgres", "admin.password"));
    await expect(ensure()).rejects.toMatchObject({
      code: "FULA_POSTGRES_DATA",
      hint: expect.stringContaining("fula-master stop"),
    });
  });
});

describe("planning", () => {
  test("writes nothing", async () => {
    await planEmbeddedPostgres(options());
    await inspectEmbeddedPostgres(options());
    expect(await readdir(baseDir)).toEqual([]);
  });

  test("names a directory above the base directory that the server's user cannot pass, before anything is made", async () => {
    const closed = join(baseDir, "closed");
    await mkdir(closed, { mode: 0o700 });
    await chmod(baseDir, 0o755);
    const inner = join(closed, "master");
    const plan = ensureEmbeddedPostgres(
      options({
        baseDir: inner,
        stateDir: join(inner, "state"),
        locksDir: join(inner, "state/locks"),
        logsDir: join(inner, "logs"),
      }),
    );
    if (IS_ROOT) {
      await expect(plan).rejects.toMatchObject({ code: "FULA_POSTGRES_ACCESS", details: { dir: closed } });
      expect(await readdir(closed)).toEqual([]);
    } else {
      // An ordinary user runs the server itself, so what is closed to others is open to it.
      await using running = await plan;
      expect(await query(running.port, "select 1")).toEqual([[1]]);
    }
  });

  test("a user to run as that does not exist is refused", async () => {
    await expect(ensure({ runAs: "nobody-of-that-name" })).rejects.toMatchObject({ code: "FULA_POSTGRES_USER" });
  });
});

describe.each(["npm", ...(await debianBinDirs())])("with the programs of %s", (source) => {
  const binDir = source === "npm" ? null : source;

  test("a server starts, keeps its data over a restart, and stops without a trace", async () => {
    const first = await ensure({ binDir });
    await query(first.port, "create table kept as select 'ä' as word");
    expect(await first.stop()).toEqual({ stopped: "fast", usedBy: [] });
    await first.exited;
    expect(await findLeftovers(dataDir())).toEqual([]);
    const second = await ensure({ binDir });
    expect(await query(second.port, "select word, upper(word) from kept")).toEqual([["ä", "Ä"]]);
    const version = execFileSync(argumentsOf(second.pid)[0] ?? "", ["--version"], { encoding: "utf8" });
    const major = await query(second.port, "select split_part(current_setting('server_version'), '.', 1)");
    expect(version).toContain(`(PostgreSQL) ${String(major)}.`);
    if (binDir !== null) expect(argumentsOf(second.pid)[0]).toBe(join(binDir, "postgres"));
  });
});
