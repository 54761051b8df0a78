import { execFileSync, spawnSync } from "node:child_process";
import {
  chmodSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeEach, describe, expect, test } from "vitest";
import { PROJECT_ROOT } from "../../../src/lib/kernel/project.ts";
import { makeBusyboxDir } from "../../support/busybox.ts";

const SCRIPT = join(PROJECT_ROOT, "templates/docker/postgres-start.sh");
const serverUid = Number(execFileSync("id", ["-u", "postgres"], { encoding: "utf8" }));
const busyboxDir = makeBusyboxDir();
const made = mkdtempSync(join(tmpdir(), "fula-test-start-"));
let volume: string;
let data: string;

/** What stands in for the rest of the image: it says how it was called. */
function imageOf(): string {
  const dir = join(made, "image");
  mkdirSync(dir, { recursive: true });
  const path = join(dir, "docker-entrypoint.sh");
  writeFileSync(path, `#!/bin/sh\nprintf "%s\\n" "$@"\n`);
  chmodSync(path, 0o755);
  return dir;
}

afterAll(() => {
  for (const dir of [busyboxDir, made]) rmSync(dir, { recursive: true });
});

beforeEach(() => {
  volume = mkdtempSync(join(made, "volume-"));
  data = join(volume, "pgdata");
});

describe.each([
  ["the shell of Debian's image", "/bin/sh", "/usr/bin:/bin"],
  ["busybox, as in Alpine's image", join(busyboxDir, "sh"), `${busyboxDir}:/usr/bin:/bin`],
])("the start of PostgreSQL's container by %s", (_what, shell, path) => {
  function start(args: readonly string[] = [], env: Readonly<Record<string, string>> = {}) {
    const { status, stdout, stderr } = spawnSync(shell, [SCRIPT, ...args], {
      encoding: "utf8",
      env: { PATH: `${imageOf()}:${path}`, PGDATA: data, ...env },
    });
    return { status, said: stdout.trim().split("\n"), stderr };
  }

  test("writes what belongs to the box beside the data, for the server's user alone, and starts it with that", () => {
    const { status, said } = start();
    expect([status, ...said]).toEqual([0, "postgres", "-c", `config_file=${volume}/server.conf`]);
    expect(readFileSync(join(volume, "server.conf"), "utf8")).toContain(
      `include_if_exists = '${data}/postgresql.conf'`,
    );
    for (const name of ["server.conf", "pg_hba.conf", "pg_ident.conf"]) {
      const { mode, uid } = statSync(join(volume, name));
      expect([mode & 0o777, uid], name).toEqual([0o600, serverUid]);
    }
    const { mode, uid } = statSync(volume);
    expect([mode & 0o777, uid]).toEqual([0o700, serverUid]);
    expect(readdirSync(volume).filter((name) => name.endsWith(".new"))).toEqual([]);
  });

  test("keeps who may log in, and says the settings anew", () => {
    writeFileSync(join(volume, "pg_hba.conf"), "hostssl all all all cert\n");
    writeFileSync(join(volume, "server.conf"), "port = 1\n");
    expect(start().status).toBe(0);
    expect(readFileSync(join(volume, "pg_hba.conf"), "utf8")).toBe("hostssl all all all cert\n");
    expect(readFileSync(join(volume, "server.conf"), "utf8")).not.toContain("port = 1");
  });

  test("moves the data of an older stack into a directory of their own, also where that was cut off", () => {
    mkdirSync(join(volume, "base"));
    mkdirSync(join(volume, "lost+found"));
    for (const name of ["PG_VERSION", "postgresql.conf", ".hidden"]) writeFileSync(join(volume, name), "15\n");
    mkdirSync(join(data, "global"), { recursive: true });
    expect(start().status).toBe(0);
    expect(readdirSync(data).toSorted()).toEqual([".hidden", "PG_VERSION", "base", "global", "postgresql.conf"]);
    expect(existsSync(join(volume, "PG_VERSION"))).toBe(false);
    expect(existsSync(join(volume, "lost+found"))).toBe(true);
  });

  test("refuses what must not be started: two sets of data, half rewritten ones, and a standby without any", () => {
    const standby = start([], { FULA_POSTGRES_ROLE: "standby" });
    expect([standby.status, standby.stderr]).toEqual([1, expect.stringContaining("fula-master standby add")]);
    mkdirSync(data);
    writeFileSync(join(data, "PG_VERSION"), "15\n");
    writeFileSync(join(volume, "recovery.inprogress"), "{}");
    const marked = start();
    expect([marked.status, marked.stderr]).toEqual([1, expect.stringContaining("fula-master resync")]);
    writeFileSync(join(volume, "PG_VERSION"), "15\n");
    const two = start();
    expect([two.status, two.stderr]).toEqual([1, expect.stringContaining("both of them")]);
    expect(existsSync(join(volume, "server.conf"))).toBe(false);
  });

  test("hands other programs of the image through as they are", () => {
    const { status, said } = start(["psql", "--version"]);
    expect([status, ...said]).toEqual([0, "psql", "--version"]);
    expect(readdirSync(volume)).toEqual([]);
  });
});
