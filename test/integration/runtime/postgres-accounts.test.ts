import { execFile } from "node:child_process";
import { chmod, chown, cp, mkdir, mkdtemp, readdir, rm, stat } from "node:fs/promises";
import { tmpdir, userInfo } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { Client } from "pg";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { resolvePostgresBinaries } from "../../../src/lib/runtime/postgres-binaries.ts";
import { planPostgresUser } from "../../../src/lib/runtime/postgres-user.ts";
import { embeddedPackageDir, PostgresHolder, publicBinaries, removeTree } from "../../support/postgres-child.ts";
import { runOnTinyDisk } from "../../support/tiny-disk.ts";

const IS_ROOT = process.getuid?.() === 0;
const NOBODY = 65_534;
const run = promisify(execFile);

let dir: string;
beforeEach(async () => {
  dir = await mkdtemp(join(tmpdir(), "fula-accounts-"));
});
afterEach(async () => {
  await removeTree(dir);
});

/** Another user than root: nobody where we are root, else ourselves. */
const ordinary = IS_ROOT ? { uid: NOBODY, gid: NOBODY } : { uid: userInfo().uid, gid: userInfo().gid };

describe("an ordinary user", () => {
  test("runs the server as itself, in directories that are closed to everybody else", async () => {
    await chmod(dir, 0o755);
    const baseDir = join(dir, "master");
    await mkdir(baseDir, { mode: 0o700 });
    await chown(baseDir, ordinary.uid, ordinary.gid);
    const { binDir, root } = await publicBinaries();
    await chmod(root, 0o755);
    const holder = new PostgresHolder({ baseDir, binDir, ...(IS_ROOT ? ordinary : {}) });
    try {
      const { pid, port } = await holder.ready();
      expect((await stat(`/proc/${pid}`)).uid).toBe(ordinary.uid);
      const client = new Client({
        host: "127.0.0.1",
        port,
        user: "owner",
        database: "ledger",
        password: "a password of a test",
      });
      await client.connect();
      expect((await client.query("select 1 as one")).rows).toEqual([{ one: 1 }]);
      await client.end();
      for (const path of [baseDir, join(baseDir, "state"), join(baseDir, "state", "postgres")]) {
        expect((await stat(path)).mode & 0o777, path).toBe(0o700);
      }
      expect(await holder.stop()).toBe("fast");
    } finally {
      await holder.kill9();
      await removeTree(root);
    }
  });

  test("may not ask for another user", async () => {
    const settings = { baseDir: join(dir, "master"), runAs: "daemon", ...(IS_ROOT ? ordinary : {}) };
    await chmod(dir, 0o777);
    const holder = new PostgresHolder(settings);
    expect(await holder.event("failed", "ready")).toMatchObject({ code: "FULA_POSTGRES_USER" });
    await holder.ended();
    expect(await readdir(dir)).toEqual([]);
  });
});

describe("root", () => {
  test("gives the server to a user that is not root; an ordinary user keeps it", async () => {
    const plan = await planPostgresUser({ dataDir: join(dir, "none") });
    if (IS_ROOT) expect(plan).not.toMatchObject({ user: { uid: 0 } });
    else expect(plan).toMatchObject({ kind: "self", user: { uid: userInfo().uid } });
  });

  test("follows the owner of the data that is there, whatever users have appeared since", async () => {
    const dataDir = join(dir, "data");
    await mkdir(dataDir);
    await chown(dataDir, ordinary.uid, ordinary.gid);
    expect(await planPostgresUser({ dataDir })).toMatchObject({ user: { uid: ordinary.uid } });
    const runAs = IS_ROOT ? "daemon" : "root";
    await expect(planPostgresUser({ dataDir, runAs })).rejects.toMatchObject({ code: "FULA_POSTGRES_USER" });
  });

  test("makes the user fula-postgres where the machine has no user for it, and finds it again", async () => {
    const child = join(import.meta.dirname, "../../support/children/make-user.ts");
    if (!IS_ROOT) {
      const { stdout } = await run(process.execPath, [child]);
      expect(JSON.parse(stdout)).toMatchObject({ plan: { kind: "self" }, made: { created: false } });
      return;
    }
    // In a copy of /etc of its own; where mounts are forbidden, on the machine itself, which is a container then.
    const script = `cp -a /etc "$1/etc" && sed -i '/^\\(fula-\\)\\?postgres:/d' "$1/etc/passwd" "$1/etc/shadow" "$1/etc/group" "$1/etc/gshadow"
      mount --bind "$1/etc" /etc || exit 99
      shift; exec "$@"`;
    const isolated = ["--mount", "--propagation", "private", "sh", "-c", script, "sh", dir, process.execPath, child];
    const { stdout, created } = await run("unshare", isolated).then(
      (result) => ({ stdout: result.stdout, created: true }),
      async () => {
        const hadUser = await run("id", ["postgres"]).then(
          () => true,
          () => false,
        );
        const direct = await run(process.execPath, [child]);
        await run("userdel", ["fula-postgres"]).catch(() => {});
        return { stdout: direct.stdout, created: !hadUser };
      },
    );
    const report: unknown = JSON.parse(stdout);
    const user = { name: created ? "fula-postgres" : "postgres", uid: expect.toSatisfy((uid: number) => uid > 0) };
    expect(report).toMatchObject({
      plan: created ? { kind: "create", name: "fula-postgres" } : { kind: "existing", user },
      made: { created, user },
      next: { kind: "existing", user },
    });
  });
});

describe("programs of the npm package", () => {
  test("that the user cannot reach, or that lack their links, are copied once and run from there", async () => {
    const packageDir = join(dir, "package");
    const copyRoot = join(dir, "copies");
    await cp(embeddedPackageDir(), packageDir, { recursive: true, verbatimSymlinks: true });
    const lib = join(packageDir, "native", "lib");
    for (const entry of await readdir(lib, { withFileTypes: true })) {
      // As after `npm install --ignore-scripts`.
      if (entry.isSymbolicLink()) await rm(join(lib, entry.name));
    }
    await chmod(packageDir, 0o700);
    await mkdir(copyRoot);
    await mkdir(join(copyRoot, "bin-0.0.1"));
    await chmod(dir, 0o755);
    const user = { name: "somebody", ...ordinary };
    const found = await resolvePostgresBinaries({ copyRoot, user, packageDir });
    expect(found.postgres.startsWith(copyRoot)).toBe(true);
    const options = { ...ordinary, cwd: "/" };
    expect((await run(found.postgres, ["--version"], IS_ROOT ? options : {})).stdout).toContain(found.version);
    const names = await readdir(copyRoot);
    expect(names).toHaveLength(1);
    const madeMs = (await stat(join(copyRoot, names[0] ?? ""))).ctimeMs;
    await resolvePostgresBinaries({ copyRoot, user, packageDir });
    expect((await stat(join(copyRoot, names[0] ?? ""))).ctimeMs).toBe(madeMs);
  });

  test("that can be run where they are, are not copied", async () => {
    const { binDir, root } = await publicBinaries();
    try {
      await cp(join(embeddedPackageDir(), "package.json"), join(root, "package.json"));
      await chmod(root, 0o755);
      const found = await resolvePostgresBinaries({
        copyRoot: dir,
        user: { name: "somebody", ...ordinary },
        packageDir: root,
      });
      expect(found.postgres).toBe(join(binDir, "postgres"));
      expect(await readdir(dir)).toEqual([]);
    } finally {
      await removeTree(root);
    }
  });
});

test("a disk that is too small for a database is FULA_DISK_FULL", async () => {
  const { stdout } = await runOnTinyDisk("hold-postgres.ts", 20_480);
  const events = stdout.trim().split("\n");
  expect(JSON.parse(events.at(-1) ?? "{}")).toMatchObject({ event: "failed", code: "FULA_DISK_FULL" });
});
