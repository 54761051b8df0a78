import { existsSync, mkdirSync, readFileSync, renameSync, rmSync } from "node:fs";
import { join } from "node:path";
import { cacheDir, dropOlder, hashOf, makeCacheDir } from "./cache.ts";
import { findGo } from "./go.ts";
import { runBeside, type Say } from "./run.ts";

/** Programs of the real daemons, built from their modules; paths. */
export interface Binaries {
  readonly ipfs: string;
  readonly clusterService: string;
  readonly clusterCtl: string;
  readonly nats: string;
}

interface Module {
  readonly name: "kubo" | "ipfs-cluster" | "nats-server";
  /** What the build calls the programs, by the package that each is built from. */
  readonly packages: Readonly<Record<string, string>>;
}

const MODULES: readonly Module[] = [
  { name: "kubo", packages: { ipfs: "github.com/ipfs/kubo/cmd/ipfs" } },
  {
    name: "ipfs-cluster",
    packages: {
      "ipfs-cluster-service": "github.com/ipfs-cluster/ipfs-cluster/cmd/ipfs-cluster-service",
      "ipfs-cluster-ctl": "github.com/ipfs-cluster/ipfs-cluster/cmd/ipfs-cluster-ctl",
    },
  },
  { name: "nats-server", packages: { "nats-server": "github.com/nats-io/nats-server/v2" } },
];

const MODULES_DIR = join(import.meta.dirname, "daemons");
const BUILD_FLAGS = ["-trimpath", "-ldflags=-s -w"];
/** Static, so that the binaries run in an image of any base; and nothing of the builder's own flags. */
const BUILD_ENV = { CGO_ENABLED: "0", GOFLAGS: "", GOWORK: "off", GOTOOLCHAIN: "local" };

function outputName(module: Module): string {
  const inputs = {
    texts: [BUILD_FLAGS.join(" "), JSON.stringify(BUILD_ENV), JSON.stringify(module.packages), process.arch],
    paths: [join(MODULES_DIR, module.name, "go.mod"), join(MODULES_DIR, module.name, "go.sum")],
  };
  return `${module.name}-${hashOf(inputs)}`;
}

/** The Go version that the modules ask for, as `1.26.8`. */
function goVersionWanted(): string {
  const versions = MODULES.map(({ name }) => {
    const text = readFileSync(join(MODULES_DIR, name, "go.mod"), "utf8");
    const version = /^go (\d+\.\d+(?:\.\d+)?)$/m.exec(text)?.[1];
    if (version === undefined) throw new Error(`${name}/go.mod names no Go version`);
    return version;
  });
  const [version = "", ...others] = new Set(versions);
  if (others.length > 0)
    throw new Error(`The daemons' go.mod files name different Go versions: ${versions.join(", ")}`);
  return version;
}

function programPath(program: string): string {
  const module = MODULES.find(({ packages }) => packages[program] !== undefined);
  if (module === undefined) throw new Error(`No module builds ${program}`);
  return cacheDir("daemons", outputName(module), program);
}

/** Where the programs are once they are built. */
export function binaries(): Binaries {
  return {
    ipfs: programPath("ipfs"),
    clusterService: programPath("ipfs-cluster-service"),
    clusterCtl: programPath("ipfs-cluster-ctl"),
    nats: programPath("nats-server"),
  };
}

function missingOf(only: readonly Module["name"][] | undefined): readonly Module[] {
  return MODULES.filter(
    (module) =>
      (only?.includes(module.name) ?? true) &&
      Object.keys(module.packages).some((program) => !existsSync(programPath(program))),
  );
}

/** Whether the programs of a module are in the cache: all of them are, or none. */
export function isBuilt(name: Module["name"]): boolean {
  return missingOf([name]).length === 0;
}

/**
 * Builds what is not in the cache.
 * @param only the modules that are wanted; all of them where it is left out
 * @returns the names of the modules that were built
 * @throws Error of `go build`
 */
export async function buildDaemons(say: Say, only?: readonly Module["name"][]): Promise<readonly string[]> {
  const missing = missingOf(only);
  if (missing.length === 0) return [];
  const go = await findGo(goVersionWanted(), say);
  // What one is made of arrives while the one before is built.
  const fetched = fetchModules(go, missing);
  for (const module of missing) await buildModule(go, module, say);
  await fetched;
  return missing.map(({ name }) => name);
}

async function fetchModules(go: string, modules: readonly Module[]): Promise<void> {
  for (const { name } of modules) {
    // Where it fails, the build that wants it says so.
    await runBeside(go, ["mod", "download"], { cwd: join(MODULES_DIR, name), env: BUILD_ENV }).catch(() => {});
  }
}

async function buildModule(go: string, module: Module, say: Say): Promise<void> {
  const parent = makeCacheDir("daemons");
  const name = outputName(module);
  const unfinished = join(parent, `unfinished-${name}`);
  rmSync(unfinished, { recursive: true, force: true });
  mkdirSync(unfinished);
  for (const [program, source] of Object.entries(module.packages)) {
    say(`building ${program} from ${source}`);
    const target = join(unfinished, program);
    const options = { cwd: join(MODULES_DIR, module.name), env: BUILD_ENV };
    await runBeside(go, ["build", ...BUILD_FLAGS, "-o", target, source], options);
  }
  // All programs of a module are there, or none: a killed build leaves a name that nobody looks for.
  rmSync(join(parent, name), { recursive: true, force: true });
  renameSync(unfinished, join(parent, name));
  dropOlder(parent, `${module.name}-`, name);
}
