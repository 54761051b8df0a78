import { existsSync, renameSync, rmSync } from "node:fs";
import { join } from "node:path";
import { cacheDir, makeCacheDir } from "./cache.ts";
import { findGo } from "./go.ts";
import { run, type Say } from "./run.ts";

// Debian's rclone, which the drills use, is older than `rclone serve s3`.
const VERSION = "v1.76.0";
const GO_VERSION = "1.26.8";

/** A current rclone for benchmarks, built once into the cache. @returns its path @throws Error of `go install` */
export async function installRclone(say: Say): Promise<string> {
  const dir = cacheDir(`rclone-${VERSION}`);
  const program = join(dir, "rclone");
  if (existsSync(program)) return program;
  const go = await findGo(GO_VERSION, say);
  const unfinished = makeCacheDir(`unfinished-rclone-${VERSION}`);
  say(`installing rclone ${VERSION}`);
  const env = { CGO_ENABLED: "0", GOFLAGS: "-trimpath", GOWORK: "off", GOTOOLCHAIN: "local", GOBIN: unfinished };
  run(go, ["install", `github.com/rclone/rclone@${VERSION}`], { env });
  rmSync(dir, { recursive: true, force: true });
  renameSync(unfinished, dir);
  return program;
}
