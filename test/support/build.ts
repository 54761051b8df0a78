import { execFileSync } from "node:child_process";
import { join } from "node:path";

const ROOT = join(import.meta.dirname, "..", "..");

/** Builds `dist/`, so that tests which start the real launcher test the code as it stands now. */
export default function buildOnce(): void {
  execFileSync(process.execPath, [join(ROOT, "scripts/build.ts")], {
    cwd: ROOT,
    stdio: ["ignore", "ignore", "inherit"],
  });
}
