import { copyFileSync, cpSync, existsSync, mkdirSync, readFileSync, renameSync, rmSync } from "node:fs";
import { join } from "node:path";
import buildOnce from "../support/build.ts";
import { cacheDir, dropOlder, hashOf, makeCacheDir } from "./cache.ts";
import { run, runBeside, type Say } from "./run.ts";

const ROOT = join(import.meta.dirname, "../..");
const fromRoot = (name: string): string => join(ROOT, name);
const NPM_FLAGS = ["--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"];

/** What decides which packages are installed. */
function dependencyInputs(): string {
  return hashOf({ paths: ["package.json", "package-lock.json"].map(fromRoot) });
}

/** Changes with everything that an installed package consists of. */
export function packageInputs(): string {
  const { files }: { readonly files: readonly string[] } = JSON.parse(readFileSync(fromRoot("package.json"), "utf8"));
  // Not what was compiled but what it is compiled from.
  const sources = files.map((name) => (name === "dist" ? "src" : name));
  return hashOf({ texts: [dependencyInputs()], paths: ["scripts/build.ts", ...sources].map(fromRoot) });
}

/** Lays out, in `dir`, what `npm install --global fula-master` makes: the package with the packages that it runs on. */
export function makePackage(dir: string, say: Say): void {
  say("compiling and packing fula-master");
  buildOnce();
  const packed = run("npm", ["pack", ...NPM_FLAGS, "--json", "--pack-destination", dir], { cwd: ROOT });
  const [archive]: readonly { readonly filename: string }[] = JSON.parse(packed);
  if (archive === undefined) throw new Error("npm pack made no archive");
  const file = join(dir, archive.filename);
  run("tar", ["-xzf", file, "-C", dir, "--strip-components=1"]);
  rmSync(file);
  run("cp", ["-al", join(cacheDir("packages"), productionName(), "node_modules"), join(dir, "node_modules")]);
}

const productionName = (): string => `production-${dependencyInputs()}`;

/** Installs the packages without those for development, once for every state of the lock file. */
export async function installProductionModules(say: Say): Promise<void> {
  const parent = makeCacheDir("packages");
  const name = productionName();
  const dir = join(parent, name);
  if (existsSync(dir)) return;
  say("installing the packages that fula-master runs on");
  const unfinished = join(parent, "unfinished");
  rmSync(unfinished, { recursive: true, force: true });
  mkdirSync(unfinished);
  for (const file of ["package.json", "package-lock.json"]) copyFileSync(fromRoot(file), join(unfinished, file));
  if (existsSync(fromRoot(".npmrc"))) cpSync(fromRoot(".npmrc"), join(unfinished, ".npmrc"));
  await runBeside("npm", ["ci", "--omit=dev", "--prefer-offline", ...NPM_FLAGS], { cwd: unfinished });
  renameSync(unfinished, dir);
  dropOlder(parent, "production-", name);
}
