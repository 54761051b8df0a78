import { execFileSync } from "node:child_process";
import { join } from "node:path";

/** Compiles `src/` to `dist/` once a run, so that tests which start the real launcher test the code as it stands now. */
export default function buildOnce(): void {
  const root = join(import.meta.dirname, "..", "..");
  // The types are checked by a stage of their own; a test run only wants the code.
  const args = [join(root, "node_modules/typescript/bin/tsc"), "-p", "tsconfig.build.json", "--noCheck"];
  execFileSync(process.execPath, args, { cwd: root, stdio: "inherit" });
}
