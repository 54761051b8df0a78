import { readFile, readdir } from "node:fs/promises";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { renderChangelog } from "../../../scripts/changelog.ts";
import { RENDERED_DOCUMENTS } from "../../../scripts/render-docs.ts";
import { ERROR_CODES } from "../../../src/lib/kernel/error-codes.ts";
import { PROJECT_ROOT } from "../../../src/lib/kernel/project.ts";

async function filesBelow(dir: string, suffix: string): Promise<readonly string[]> {
  const entries = await readdir(join(PROJECT_ROOT, dir), { recursive: true });
  return entries.filter((name) => name.endsWith(suffix)).map((name) => join(dir, name));
}

async function read(file: string): Promise<string> {
  return await readFile(join(PROJECT_ROOT, file), "utf8");
}

function isDecision(file: string): boolean {
  return file.startsWith("docs/decisions/") && !file.endsWith("README.md");
}

describe("documents that are rendered from the code", () => {
  test.each(RENDERED_DOCUMENTS)(
    "$file says what the code says (else: npm run docs:generate)",
    async ({ file, render }) => {
      expect(await read(file)).toBe(await render());
    },
  );

  test("CHANGELOG.md says what the notes say (else: npm run changelog)", async () => {
    expect(await read("CHANGELOG.md")).toBe(await renderChangelog(join(PROJECT_ROOT, "changelog")));
  });
});

describe("error codes", () => {
  test("every code of the table is used, and every code that is thrown is in the table", async () => {
    const table = join("src", "lib", "kernel", "error-codes.ts");
    const files = (await filesBelow("src", ".ts")).filter((file) => file !== table);
    const sources = await Promise.all([...files, "bin/fula-master.js"].map(read));
    const thrown = new Set<string>();
    const named = new Set<string>();
    for (const source of sources) {
      for (const [, code] of source.matchAll(/new FulaError\(\s*"(\w+)"/g)) thrown.add(code ?? "");
      for (const [, code] of source.matchAll(/"(FULA_\w+)"/g)) named.add(code ?? "");
    }
    const codes = Object.keys(ERROR_CODES);
    expect(codes.filter((code) => !named.has(code))).toEqual([]);
    expect([...thrown].filter((code) => !codes.includes(code))).toEqual([]);
  });

  test.each(Object.entries(ERROR_CODES))("%s says in a sentence when it comes", (code, { when }) => {
    expect(code).toMatch(/^FULA_[A-Z0-9]+(_[A-Z0-9]+)*$/);
    expect(when).toMatch(/^\S.{15,}\.$/s);
  });
});

describe("docs/", () => {
  test("every document is linked from the index", async () => {
    const index = await read("docs/README.md");
    const links = new Set(Array.from(index.matchAll(/\]\(([^)#]+)/g), ([, target]) => target));
    const documents = (await filesBelow("docs", "")).filter((file) => /\.\w+$/.test(file) && file !== "docs/README.md");
    expect(documents.filter((file) => !isDecision(file) && !links.has(file.slice("docs/".length)))).toEqual([]);
  });

  test("every decision is linked from the list of decisions, under a number of its own", async () => {
    const index = await read("docs/decisions/README.md");
    const records = (await filesBelow("docs/decisions", ".md")).filter((file) => !file.endsWith("README.md"));
    const names = records.map((file) => file.slice("docs/decisions/".length));
    expect(names.filter((name) => !index.includes(`](${name})`))).toEqual([]);
    expect(names.filter((name) => !/^\d{4}-[a-z0-9-]+\.md$/.test(name))).toEqual([]);
    expect(new Set(names.map((name) => name.slice(0, 4))).size).toBe(names.length);
  });

  test("links between documents lead somewhere", async () => {
    const documents = [...(await filesBelow("docs", ".md")), "README.md", "CONTRIBUTING.md", "changelog/README.md"];
    const broken: string[] = [];
    for (const document of documents) {
      const text = (await read(document)).replaceAll(/```[\s\S]*?```/g, "");
      for (const [, target] of text.matchAll(/\]\((?!https?:|mailto:|#)([^)#\s]+)/g)) {
        const path = join(document, "..", target ?? "");
        await read(path).catch(
          async () => await readdir(join(PROJECT_ROOT, path)).catch(() => broken.push(`${document} → ${target}`)),
        );
      }
    }
    expect(broken).toEqual([]);
  });
});
