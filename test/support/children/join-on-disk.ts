import { readdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import { runCliForTest } from "../cli.ts";

// Joins on a file system that is too small: once with the check that says so, twice without it.
const [dir = ""] = process.argv.slice(2);
const baseDir = join(dir, "base");
const names = async (path: string): Promise<string[]> => await readdir(path).catch(() => []);
const args = ["join", "--runtime", "embedded", "--yes", "--no-start", "--no-schedules"];
const checked = await runCliForTest(args, { baseDir });
const afterCheck = await names(baseDir);
const first = await runCliForTest([...args, "--skip-preflight", "disk"], { baseDir });
const secrets = await readFile(join(baseDir, ".env"), "utf8");
const second = await runCliForTest([...args, "--skip-preflight", "disk"], { baseDir });
const report = {
  checked,
  afterCheck,
  first,
  second,
  secretsKept: secrets !== "" && (await readFile(join(baseDir, ".env"), "utf8")) === secrets,
  temporary: (await names(baseDir)).filter((name) => name.endsWith(".tmp")),
};
process.stdout.write(JSON.stringify(report));
