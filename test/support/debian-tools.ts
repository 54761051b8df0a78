import { spawnSync } from "node:child_process";
import { existsSync } from "node:fs";
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
  zsh: "zsh",
  fish: "fish",
};

function isPresent(program: string): boolean {
  if (program.startsWith("/")) return existsSync(program);
  return (process.env["PATH"] ?? "").split(delimiter).some((dir) => existsSync(join(dir, program)));
}

function aptGet(args: readonly string[]): boolean {
  const env = { ...process.env, DEBIAN_FRONTEND: "noninteractive" };
  return spawnSync("apt-get", args, { env, stdio: ["ignore", "ignore", "inherit"] }).status === 0;
}

/**
 * Installs what is missing, once a run. A test that skips itself where a tool is absent would be green on a machine
 * where it proved nothing, so a machine that can neither have nor get the tools fails here, by name.
 */
export default function installDebianTools(): void {
  const missing = Object.keys(PACKAGE_BY_PROGRAM).filter((program) => !isPresent(program));
  if (missing.length === 0) return;
  const packages = [...new Set(missing.map((program) => PACKAGE_BY_PROGRAM[program] ?? program))];
  if (process.getuid?.() === 0 && isPresent("apt-get")) {
    process.stderr.write(`Installing what the tests compare us with: ${packages.join(" ")}\n`);
    const install = ["install", "-y", "-q", "--no-install-recommends", ...packages];
    // The package lists of a new machine are old or absent; only then is the slow update wanted.
    if (aptGet(install) || (aptGet(["update", "-q"]) && aptGet(install))) return;
  }
  throw new Error(
    `These programs are needed by the tests and not installed: ${missing.join(", ")}.\n` +
      `  Try: sudo apt-get install ${packages.join(" ")}`,
  );
}
