import { spawnSync } from "node:child_process";
import { copyFileSync, existsSync, renameSync, rmSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { cacheDir, dropOlder, hashOf, makeCacheDir } from "./cache.ts";

const SOURCE = fileURLToPath(new URL("pinning-compliance/", import.meta.url));
const PRELOAD = fileURLToPath(new URL("../support/children/compliance-preload.ts", import.meta.url));
const PREFIX = "pinning-compliance-";
const CHECKER = "node_modules/@ipfs-shipyard/pinning-service-compliance/dist/src/index.js";

/** The program, and what it is to be run with. */
export interface ComplianceChecker {
  /** To be given to Node.js. */
  readonly program: string;
  readonly preload: string;
  readonly spec: string;
}

/**
 * The public compliance checker of the IPFS Pinning Service API, installed once into the cache as its lock file says. It is no
 * dependency of ours: its packages run scripts that download programs, which are left out here, and not run either.
 * @throws Error of npm
 */
export function installComplianceChecker(): ComplianceChecker {
  const files = ["package.json", "package-lock.json"];
  const name = `${PREFIX}${hashOf({ paths: files.map((file) => join(SOURCE, file)) })}`;
  const dir = cacheDir(name);
  if (!existsSync(join(dir, CHECKER))) {
    const unfinished = makeCacheDir(`unfinished-${name}`);
    for (const file of files) copyFileSync(join(SOURCE, file), join(unfinished, file));
    const options = { cwd: unfinished, encoding: "utf8" } as const;
    const { status, stderr } = spawnSync("npm", ["ci", "--ignore-scripts", "--no-audit", "--no-fund"], options);
    if (status !== 0) throw new Error(`npm did not install the compliance checker: ${stderr}`);
    rmSync(dir, { recursive: true, force: true });
    renameSync(unfinished, dir);
    dropOlder(cacheDir(), PREFIX, name);
  }
  return { program: join(dir, CHECKER), preload: PRELOAD, spec: join(SOURCE, "spec.json") };
}
