import { existsSync, readFileSync } from "node:fs";
import { dirname, join } from "node:path";

function findRoot(): string {
  let dir = import.meta.dirname;
  while (!existsSync(join(dir, "package.json"))) {
    const parent = dirname(dir);
    if (parent === dir) throw new Error(`No package.json above ${import.meta.dirname}`);
    dir = parent;
  }
  return dir;
}

/** The installed package's folder: where `migrations/`, `templates/` and `bin/` are, from `src/` and from `dist/` alike. */
export const PROJECT_ROOT: string = findRoot();

/** The version in package.json. */
export function toolVersion(): string {
  const parsed: unknown = JSON.parse(readFileSync(join(PROJECT_ROOT, "package.json"), "utf8"));
  if (typeof parsed === "object" && parsed !== null && "version" in parsed && typeof parsed.version === "string") {
    return parsed.version;
  }
  throw new Error(`${PROJECT_ROOT}/package.json has no version`);
}
