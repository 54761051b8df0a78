import { execFileSync } from "node:child_process";
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, renameSync, rmSync } from "node:fs";
import { dirname, join } from "node:path";

const ROOT = join(import.meta.dirname, "..", "..");

/**
 * Compiles `src/` to `dist/`, so that tests which start the real launcher test the code as it stands now. Files that are
 * as they were stay untouched and the others are put in place whole: drills that build while others run would have
 * launchers read half a file.
 */
export default function buildOnce(): void {
  const dist = join(ROOT, "dist");
  const fresh = mkdtempSync(join(ROOT, ".dist-"));
  try {
    // The types are checked by a stage of their own; a test run only wants the code.
    const args = [join(ROOT, "node_modules/typescript/bin/tsc"), "-p", "tsconfig.build.json", "--noCheck"];
    execFileSync(process.execPath, [...args, "--outDir", fresh], { cwd: ROOT, stdio: "inherit" });
    for (const entry of readdirSync(fresh, { recursive: true, withFileTypes: true })) {
      if (!entry.isFile()) continue;
      const from = join(entry.parentPath, entry.name);
      const to = join(dist, from.slice(fresh.length));
      if (existsSync(to) && readFileSync(to).equals(readFileSync(from))) continue;
      mkdirSync(dirname(to), { recursive: true });
      renameSync(from, to);
    }
  } finally {
    rmSync(fresh, { recursive: true, force: true });
  }
}
