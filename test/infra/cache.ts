import { createHash } from "node:crypto";
import { mkdirSync, readdirSync, readFileSync, rmSync, statSync } from "node:fs";
import { homedir } from "node:os";
import { join } from "node:path";

/** Where binaries, base systems and logs are kept between runs: outside of the checkout, so that they survive a fresh one. */
export function cacheDir(...parts: readonly string[]): string {
  const home = process.env["XDG_CACHE_HOME"];
  const root = home === undefined || home === "" ? join(homedir(), ".cache") : home;
  return join(root, "fula-master-infra", ...parts);
}

/** Makes a folder of the cache, and gives its path. */
export function makeCacheDir(...parts: readonly string[]): string {
  const dir = cacheDir(...parts);
  mkdirSync(dir, { recursive: true });
  return dir;
}

/** What a product is made of: texts that are taken as they stand, and files and folders that are read. */
export interface Inputs {
  readonly texts?: readonly string[];
  readonly paths?: readonly string[];
}

/** 16 hex digits that change when any of the inputs does: a text, the name, the content or the mode of a file. */
export function hashOf({ texts = [], paths = [] }: Inputs): string {
  const hash = createHash("sha256");
  for (const text of texts) hash.update(`text ${Buffer.byteLength(text)}\n${text}\n`);
  for (const path of paths) addPath(hash, path, "");
  return hash.digest("hex").slice(0, 16);
}

function addPath(hash: ReturnType<typeof createHash>, path: string, name: string): void {
  const stat = statSync(path);
  if (stat.isDirectory()) {
    for (const entry of readdirSync(path).toSorted()) addPath(hash, join(path, entry), `${name}/${entry}`);
    return;
  }
  hash.update(`file ${name} ${(stat.mode & 0o111) === 0 ? "" : "x"} ${stat.size}\n`).update(readFileSync(path));
}

/** Removes what earlier inputs gave: folders of `parent` that begin with `prefix`, without `keep`. */
export function dropOlder(parent: string, prefix: string, keep: string): void {
  for (const entry of readdirSync(parent)) {
    if (entry.startsWith(prefix) && entry !== keep) rmSync(join(parent, entry), { recursive: true, force: true });
  }
}
