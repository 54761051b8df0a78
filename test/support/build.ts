import { execFileSync } from "node:child_process";
import { join } from "node:path";

/** Compiles `src/` to `dist/` once a run, so that tests which start the real launcher test the code as it stands now. */
export default function buildOnce(): void {
  const root = join(import.meta.dirname, "..", "..");
  execFileSync(process.execPath, [join(root, "node_modules/typescript/bin/tsc"), "-p", "tsconfig.build.json"], {
    cwd: root,
    stdio: "inherit",
  });
}
