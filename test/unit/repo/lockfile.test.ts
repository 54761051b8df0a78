import { readFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";

interface LockedPackage {
  readonly dependencies?: Readonly<Record<string, string>>;
  readonly optionalDependencies?: Readonly<Record<string, string>>;
}

const LOCK = join(import.meta.dirname, "../../../package-lock.json");

/** The entry that Node.js would find for `name` from the folder of `from`: the nearest one above it. */
function isLocked(packages: ReadonlyMap<string, LockedPackage>, from: string, name: string): boolean {
  for (let folder = from; ; folder = folder.slice(0, Math.max(0, folder.lastIndexOf("node_modules/") - 1))) {
    if (packages.has(`${folder === "" ? "" : `${folder}/`}node_modules/${name}`)) return true;
    if (folder === "") return false;
  }
}

// `npm install` leaves out what was built for other platforms; `npm ci` then refuses to install anything, on every machine.
test("the lockfile has an entry for every package that another one names, whatever platform it is for", () => {
  // oxlint-disable-next-line typescript/no-unsafe-type-assertion -- npm's own format
  const lock = JSON.parse(readFileSync(LOCK, "utf8")) as { readonly packages: Readonly<Record<string, LockedPackage>> };
  const packages = new Map(Object.entries(lock.packages));
  const missing = [...packages].flatMap(([path, { dependencies, optionalDependencies }]) =>
    Object.keys({ ...dependencies, ...optionalDependencies })
      .filter((name) => !isLocked(packages, path, name))
      .map((name) => `${name}, of ${path === "" ? "this package" : path}`),
  );
  expect(missing).toEqual([]);
});
