import { execFileSync, spawn } from "node:child_process";
import { once } from "node:events";
import { chmod, chown, mkdtemp, rm, writeFile } from "node:fs/promises";
import { connect } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { findFreePort } from "./free-port.ts";
import type { TestDatabase } from "./postgres.ts";
import { until } from "./until.ts";

/** A pooler in front of a test database. */
export interface Pgbouncer extends AsyncDisposable {
  readonly host: string;
  readonly port: number;
}

const HOST = "127.0.0.1";

/** It refuses to run as root, so root borrows an account that has no rights. */
function account(): { readonly uid: number; readonly gid: number } | null {
  if (process.getuid?.() !== 0) return null;
  const id = (flag: string): number => Number(execFileSync("id", [flag, "nobody"], { encoding: "utf8" }));
  return { uid: id("-u"), gid: id("-g") };
}

async function answers(port: number): Promise<boolean> {
  const socket = connect({ host: HOST, port });
  try {
    await once(socket, "connect");
    return true;
  } catch {
    return false;
  } finally {
    socket.destroy();
  }
}

/** Starts a real pgbouncer in front of a database. @param poolMode how long a client keeps a session of the server */
export async function startPgbouncer(
  database: TestDatabase,
  poolMode: "session" | "transaction" | "statement",
): Promise<Pgbouncer> {
  const { host, port: target, user, password } = database.options;
  const port = await findFreePort();
  const dir = await mkdtemp(join(tmpdir(), "fula-pgbouncer-"));
  const ini = join(dir, "pgbouncer.ini");
  await writeFile(
    ini,
    `[databases]
${database.name} = host=${host} port=${target} dbname=${database.name} user=${user} password=${password}
[pgbouncer]
listen_addr = ${HOST}
listen_port = ${port}
unix_socket_dir =
auth_type = any
pool_mode = ${poolMode}
default_pool_size = 5
`,
  );
  const as = account();
  for (const path of [dir, ini]) {
    await chmod(path, 0o700);
    if (as !== null) await chown(path, as.uid, as.gid);
  }
  const child = spawn("/usr/sbin/pgbouncer", ["-q", ini], { ...as, cwd: "/", stdio: ["ignore", "ignore", "inherit"] });
  const exited = once(child, "exit");
  await until("pgbouncer answers", async () => await answers(port));
  return {
    host: HOST,
    port,
    [Symbol.asyncDispose]: async () => {
      child.kill("SIGKILL");
      await exited;
      await rm(dir, { recursive: true, force: true });
    },
  };
}
