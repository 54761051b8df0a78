import { execFile } from "node:child_process";
import { copyFile, mkdir, mkdtemp, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { z } from "zod";
import { PROJECT_ROOT } from "../../../src/lib/kernel/project.ts";

const INFRASTRUCTURE = ["kernel", "config", "postgres", "blocks", "cluster", "runtime"];
const DOMAINS = ["pinset", "lease", "billing", "identity", "buckets", "ingest", "membership"];
const EVERYTHING_BELOW_STACK = [...INFRASTRUCTURE, ...DOMAINS, "recovery", "pinning", "failover"];

/** The picture of docs/ARCHITECTURE.md, "Who may import whom": every folder of src/lib and what it may import. */
const ARROWS: Readonly<Record<string, readonly string[]>> = {
  kernel: [],
  config: ["kernel"],
  terminal: ["kernel"],
  postgres: ["kernel"],
  blocks: ["kernel"],
  runtime: ["kernel"],
  cluster: ["kernel", "blocks"],
  ...Object.fromEntries(DOMAINS.map((domain) => [domain, INFRASTRUCTURE])),
  // Its core alone; the folders in it reach what is real.
  recovery: ["kernel"],
  gateway: [...INFRASTRUCTURE, "buckets", "identity"],
  pinning: [...INFRASTRUCTURE, "identity"],
  failover: [...INFRASTRUCTURE, "recovery", "membership", "lease", "pinset"],
  stack: EVERYTHING_BELOW_STACK,
  server: [...EVERYTHING_BELOW_STACK, "gateway", "stack"],
};
const AREAS = Object.keys(ARROWS);

interface Planted {
  readonly file: string;
  readonly source: string;
  /** The rule that has to complain, or null where none may. */
  readonly rule: string | null;
}

const RESTRICTED = "eslint(no-restricted-imports)";

function arrowCases(): readonly Planted[] {
  return AREAS.flatMap((from) => {
    const areas = AREAS.filter((to) => to !== from).map((to) => ({
      file: `src/lib/${from}/imports-${to}.ts`,
      source: `import "../${to}/target.ts";\n`,
      rule: ARROWS[from]?.includes(to) === true ? null : RESTRICTED,
    }));
    const upward = ["commands/target.ts", "cli.ts", "main.ts"].map((to) => ({
      file: `src/lib/${from}/imports-${to.replaceAll(/\W/g, "-")}.ts`,
      source: `import "../../${to}";\n`,
      rule: RESTRICTED,
    }));
    return [...areas, ...upward];
  });
}

const FORMS: readonly Planted[] = [
  { file: "src/lib/pinset/form-dynamic.ts", source: 'await import("../server/target.ts");\n', rule: RESTRICTED },
  {
    file: "src/lib/pinset/form-type.ts",
    source: 'import type { Target } from "../server/target.ts";\nexport const target: Target = 1;\n',
    rule: RESTRICTED,
  },
  {
    file: "src/lib/pinset/form-export.ts",
    source: 'export { target } from "../server/target.ts";\n',
    rule: RESTRICTED,
  },
  { file: "src/lib/pinset/deeper/form-deep.ts", source: 'import "../../server/target.ts";\n', rule: RESTRICTED },
  { file: "src/lib/pinset/deeper/form-own.ts", source: 'import "../target.ts";\n', rule: null },
  { file: "src/lib/pinset/deeper/form-kernel.ts", source: 'import "../../kernel/target.ts";\n', rule: null },
  { file: "src/lib/recovery/imports-own-postgres.ts", source: 'import "./postgres/target.ts";\n', rule: RESTRICTED },
  { file: "src/lib/recovery/postgres/imports-core.ts", source: 'import "../target.ts";\n', rule: null },
  ...["kernel", "config", "postgres", "runtime"].map((area) => ({
    file: `src/lib/recovery/postgres/imports-${area}.ts`,
    source: `import "../../${area}/target.ts";\n`,
    rule: null,
  })),
  ...["blocks", "cluster", "membership", "lease", "server"].map((area) => ({
    file: `src/lib/recovery/postgres/imports-${area}.ts`,
    source: `import "../../${area}/target.ts";\n`,
    rule: RESTRICTED,
  })),
  { file: "src/commands/imports-server.ts", source: 'import "../lib/server/target.ts";\n', rule: null },
  { file: "src/commands/imports-terminal.ts", source: 'import "../lib/terminal/target.ts";\n', rule: null },
  { file: "src/commands/imports-cli.ts", source: 'import "../cli.ts";\n', rule: RESTRICTED },
];

const GLOBALS = "eslint(no-restricted-globals)";
const PROPERTIES = "eslint(no-restricted-properties)";

/** What reads the world: forbidden where decisions are made, open to the few folders that are the edge. */
const WORLD: readonly Planted[] = [
  { file: "src/lib/pinset/world-now.ts", source: "export const now = Date.now();\n", rule: PROPERTIES },
  { file: "src/lib/billing/world-random.ts", source: "export const dice = Math.random();\n", rule: PROPERTIES },
  { file: "src/lib/stack/world-env.ts", source: "export const home = process.env;\n", rule: GLOBALS },
  { file: "src/lib/config/world-fetch.ts", source: 'await fetch("http://[::1]/");\n', rule: GLOBALS },
  { file: "src/commands/world-timer.ts", source: "setTimeout(() => {}, 1);\n", rule: GLOBALS },
  {
    file: "src/lib/gateway/world-process.ts",
    source: 'import { env } from "node:process";\nexport const all = env;\n',
    rule: RESTRICTED,
  },
  {
    file: "src/lib/lease/world-sleep.ts",
    source: 'import { setTimeout as sleep } from "node:timers/promises";\nawait sleep(1);\n',
    rule: RESTRICTED,
  },
  ...["kernel", "runtime", "server"].map((area) => ({
    file: `src/lib/${area}/world-edge.ts`,
    source: "export const facts = [Date.now(), process.pid];\n",
    rule: null,
  })),
];

const STATEMENT = "  console.log(1);\n";

const SHAPE: readonly Planted[] = [
  {
    file: "src/lib/pinset/cycle-a.ts",
    source: 'import "./cycle-b.ts";\nexport const a = 1;\n',
    rule: "import(no-cycle)",
  },
  {
    file: "src/lib/pinset/cycle-b.ts",
    source: 'import "./cycle-a.ts";\nexport const b = 1;\n',
    rule: "import(no-cycle)",
  },
  {
    file: "src/lib/pinset/long-function.ts",
    source: `export function long(): void {\n${STATEMENT.repeat(70)}}\n`,
    rule: "eslint(max-lines-per-function)",
  },
  {
    file: "test/long-function.test.ts",
    source: `export function long(): void {\n${STATEMENT.repeat(70)}}\n`,
    rule: null,
  },
  { file: "src/lib/pinset/long-file.ts", source: "export {};\n".repeat(401), rule: "eslint(max-lines)" },
];

const CASES: readonly Planted[] = [...arrowCases(), ...FORMS, ...WORLD, ...SHAPE];

const reportSchema = z.object({ diagnostics: z.array(z.object({ code: z.string(), filename: z.string() })) });

/** Lints a tree with this repository's own configuration. @returns the rules that complain, by file */
async function lint(tree: string): Promise<ReadonlyMap<string, readonly string[]>> {
  const oxlint = join(PROJECT_ROOT, "node_modules", "oxlint", "bin", "oxlint");
  const json = await new Promise<string>((resolve) => {
    const args = [oxlint, "--config", ".oxlintrc.json", "--format", "json", "src", "test"];
    // Exit code 1 is what a forbidden import has to give; what was found stands in the document.
    execFile(process.execPath, args, { cwd: tree, maxBuffer: 1 << 26 }, (_error, stdout) => resolve(stdout));
  });
  const rules = new Map<string, string[]>();
  for (const { code, filename } of reportSchema.parse(JSON.parse(json)).diagnostics) {
    rules.set(filename, [...(rules.get(filename) ?? []), code]);
  }
  return rules;
}

let tree = "";
let found: ReadonlyMap<string, readonly string[]> = new Map();

beforeAll(async () => {
  tree = await mkdtemp(join(tmpdir(), "fula-arrows-"));
  await copyFile(join(PROJECT_ROOT, ".oxlintrc.json"), join(tree, ".oxlintrc.json"));
  const targets = [...AREAS.map((area) => `src/lib/${area}`), "src/commands"].map((dir) => `${dir}/target.ts`);
  const sources = [...targets, "src/cli.ts", "src/main.ts"].map((file) => ({
    file,
    source: "export const target = 1;\nexport type Target = number;\n",
  }));
  for (const { file, source } of [...sources, ...CASES]) {
    await mkdir(dirname(join(tree, file)), { recursive: true });
    await writeFile(join(tree, file), source);
  }
  found = await lint(tree);
});

afterAll(async () => {
  await rm(tree, { recursive: true, force: true });
});

async function readSources(): Promise<readonly { readonly file: string; readonly text: string }[]> {
  const sources = join(PROJECT_ROOT, "src");
  const files = (await readdir(sources, { recursive: true })).filter((file) => file.endsWith(".ts"));
  return await Promise.all(files.map(async (file) => ({ file, text: await readFile(join(sources, file), "utf8") })));
}

describe("import arrows", () => {
  test.each(CASES.filter(({ rule }) => rule !== null))("$file is refused by $rule", ({ file, rule }) => {
    expect(found.get(file)).toContain(rule);
  });

  test.each(CASES.filter(({ rule }) => rule === null))("$file is let pass", ({ file }) => {
    const about = (found.get(file) ?? []).filter((rule) => /restricted|cycle|max-lines/.test(rule));
    expect(about).toEqual([]);
  });

  test("every folder of src/lib stands in the picture", async () => {
    const folders = await readdir(join(PROJECT_ROOT, "src", "lib"));
    expect(folders.filter((folder) => !AREAS.includes(folder))).toEqual([]);
  });

  // oxlint has no rule for it: `new Date()` without an argument reads the machine's clock as Date.now() does.
  test("nobody reads the clock through new Date() but the kernel", async () => {
    const readers = (await readSources()).filter(
      ({ file, text }) => !file.startsWith("lib/kernel/") && /\bDate\(\)/.test(text),
    );
    expect(readers.map(({ file }) => file)).toEqual([]);
  });

  // The import loads undici besides: kernel/node-http.ts is what commands use. Imports of types load nothing.
  test("nobody imports node:http but what serves", async () => {
    const importers = (await readSources()).filter(({ text }) =>
      /^import (?!type\b)[^;]*from "node:http";$/m.test(text),
    );
    expect(importers.map(({ file }) => file).filter((file) => !/^lib\/(?:server|gateway)\//.test(file))).toEqual([]);
    expect(importers.length).toBeGreaterThan(0);
  });
});
