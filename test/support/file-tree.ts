import { createHash } from "node:crypto";
import { lstat, readdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import { systemErrorCode } from "../../src/lib/kernel/errors.ts";

/** Everything about one file that a run which "changes nothing" must leave alone. */
function describe(path: string, mtimeNs: bigint, mode: bigint, digest: string): string {
  return `${path} ${mode.toString(8)} ${mtimeNs} ${digest}`;
}

/**
 * Lists a directory with mode, modification time in nanoseconds and content of everything in it. A directory that is
 * not there is an empty list. `leaveOut` names paths, relative to `dir`, that are not looked at.
 */
export async function treeOf(dir: string, leaveOut: readonly string[] = [], below = ""): Promise<readonly string[]> {
  const path = join(dir, below);
  let stats;
  try {
    stats = await lstat(path, { bigint: true });
  } catch (error) {
    if (systemErrorCode(error) === "ENOENT") return [];
    throw error;
  }
  if (leaveOut.includes(below)) return [];
  if (!stats.isDirectory()) {
    const content = stats.isFile() ? await readFile(path) : "";
    return [describe(below, stats.mtimeNs, stats.mode, createHash("sha256").update(content).digest("hex"))];
  }
  const inner: string[] = [describe(`${below}/`, stats.mtimeNs, stats.mode, "")];
  for (const name of (await readdir(path)).toSorted()) inner.push(...(await treeOf(dir, leaveOut, join(below, name))));
  return inner;
}
