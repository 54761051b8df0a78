import { existsSync, mkdirSync, renameSync, rmSync } from "node:fs";
import { join } from "node:path";
import { cacheDir, dropOlder, hashOf, makeCacheDir } from "./cache.ts";
import { run, runBeside, type Say } from "./run.ts";

/** A Debian system made by debootstrap, as a tar file in the cache. */
export interface DebianSystem {
  readonly name: string;
  readonly packages: readonly string[];
  /** Paths to leave out, beside those that no image wants. */
  readonly without?: readonly string[];
}

const SUITE = "bookworm";
const DEFAULT_MIRROR = "http://deb.debian.org/debian";

/** What no image needs, as shell patterns below the root. */
const UNWANTED = [
  "var/cache/apt/*",
  "var/cache/debconf/*-old",
  "var/lib/apt/lists/*",
  "var/log/*",
  "usr/share/doc/*",
  "usr/share/info/*",
  "usr/share/locale/*",
  "usr/share/man/*",
  "usr/share/i18n/*",
];

function fileNameOf(system: DebianSystem): string {
  return `${system.name}-${hashOf({ texts: [SUITE, process.arch, JSON.stringify(system), UNWANTED.join(" ")] })}.tar`;
}

/** Where the system lies once it is made. */
export function debianTar(system: DebianSystem): string {
  return cacheDir("debian", fileNameOf(system));
}

/** The mirror that this machine takes its own packages from. */
function mirror(): string {
  const targets = run("apt-get", ["indextargets", "--format", "$(REPO_URI) $(CODENAME)", "Created-By: Packages"]);
  const line = targets.split("\n").find((text) => text.endsWith(` ${SUITE}`) && text.includes("debian"));
  return line?.split(" ")[0] ?? DEFAULT_MIRROR;
}

/** Makes the system unless it is in the cache. Root only. @throws Error of debootstrap */
export async function makeDebian(system: DebianSystem, say: Say): Promise<void> {
  const target = debianTar(system);
  if (existsSync(target)) return;
  const parent = makeCacheDir("debian");
  const packages = makeCacheDir("debian", "packages");
  const unfinished = join(parent, `unfinished-${system.name}`);
  rmSync(unfinished, { recursive: true, force: true });
  mkdirSync(unfinished);
  const root = join(unfinished, "root");
  say(`installing Debian ${SUITE} with ${system.packages.join(", ")} for an image`);
  const include = `--include=${system.packages.join(",")}`;
  await runBeside("debootstrap", ["--variant=minbase", `--cache-dir=${packages}`, include, SUITE, root, mirror()]);
  const unwanted = [...UNWANTED, ...(system.without ?? [])].map((pattern) => `./${pattern}`);
  await runBeside("sh", ["-c", `rm -rf -- ${unwanted.join(" ")}`], { cwd: root });
  const tar = join(unfinished, "root.tar");
  await runBeside("tar", ["--numeric-owner", "--one-file-system", "--exclude=./dev/*", "-C", root, "-cf", tar, "."]);
  renameSync(tar, target);
  rmSync(unfinished, { recursive: true, force: true });
  dropOlder(parent, `${system.name}-`, fileNameOf(system));
}
