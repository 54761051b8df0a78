import { spawnSync } from "node:child_process";
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { delimiter, join } from "node:path";

/** Programs that the tests compare us with, and the Debian package that brings each. */
const PACKAGE_BY_PROGRAM: Readonly<Record<string, string>> = {
  bash: "bash",
  openssl: "openssl",
  zstd: "zstd",
  minisign: "minisign",
  b3sum: "b3sum",
  jq: "jq",
  pg_dump: "postgresql-client-15",
  "/usr/lib/postgresql/15/bin/postgres": "postgresql-15",
  "/usr/sbin/pgbouncer": "pgbouncer",
  "/bin/busybox": "busybox-static",
  ip: "iproute2",
  zsh: "zsh",
  fish: "fish",
};

function isPresent(program: string): boolean {
  if (program.startsWith("/")) return existsSync(program);
  return (process.env["PATH"] ?? "").split(delimiter).some((dir) => existsSync(join(dir, program)));
}

function aptGet(args: readonly string[]): boolean {
  const env = { ...process.env, DEBIAN_FRONTEND: "noninteractive", NEEDRESTART_SUSPEND: "1" };
  // A new machine may be updating itself, and two runs may begin at once; and a mirror may be busy.
  const patient = ["-o", "DPkg::Lock::Timeout=300", "-o", "Acquire::Retries=5", ...args];
  return spawnSync("apt-get", patient, { env, stdio: ["ignore", "ignore", "inherit"] }).status === 0;
}

const CREATE_CLUSTER_CONF = "/etc/postgresql-common/createcluster.conf";

/** Installs packages; the lists of a new machine are old or absent, and only then is the slow update wanted. */
function installPackages(packages: readonly string[]): boolean {
  const install = ["install", "-y", "-q", "--no-install-recommends", ...packages];
  return aptGet(install) || (aptGet(["update", "-q"]) && aptGet(install));
}

/** Debian starts a server as soon as the package of one is installed; the tests want its binaries and start their own. */
function keepDebianFromStartingPostgres(): boolean {
  if (!installPackages(["postgresql-common"])) return false;
  const settings = readFileSync(CREATE_CLUSTER_CONF, "utf8");
  const changed = settings.replace(/^#?create_main_cluster\b.*$/m, "create_main_cluster = false");
  if (changed !== settings) writeFileSync(CREATE_CLUSTER_CONF, changed);
  return true;
}

/**
 * Installs what is missing of these programs, given with the Debian package that brings each. A test that skips itself
 * where a tool is absent would be green on a machine where it proved nothing, so a machine that can neither have nor get
 * the tools fails here, by name.
 */
export function ensurePrograms(packageByProgram: Readonly<Record<string, string>>): void {
  const missing = Object.keys(packageByProgram).filter((program) => !isPresent(program));
  if (missing.length === 0) return;
  const packages = [...new Set(missing.map((program) => packageByProgram[program] ?? program))];
  if (process.getuid?.() === 0 && isPresent("apt-get")) {
    process.stderr.write(`Installing what the tests need: ${packages.join(" ")}\n`);
    const quiet = !packages.includes("postgresql-15") || keepDebianFromStartingPostgres();
    if (quiet && installPackages(packages)) return;
  }
  throw new Error(
    `These programs are needed by the tests and not installed: ${missing.join(", ")}.\n` +
      `  Try: sudo apt-get install ${packages.join(" ")}`,
  );
}

/** Installs, once a run, what the tests compare us with. */
export default function installDebianTools(): void {
  ensurePrograms(PACKAGE_BY_PROGRAM);
}
