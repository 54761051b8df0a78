import { existsSync, readdirSync, readFileSync } from "node:fs";
import { dirname, join, relative, resolve } from "node:path";
import { expect, test } from "vitest";

const ROOT = join(import.meta.dirname, "..", "..", "..");
const LINK = /\]\((?!https?:|mailto:)([^)\s#]*)(?:#([^)\s]+))?\)/g;

const documents = ["README.md", "CONTRIBUTING.md"].concat(
  readdirSync(join(ROOT, "docs"), { recursive: true, encoding: "utf8" })
    .filter((name) => name.endsWith(".md"))
    .map((name) => join("docs", name)),
);

/** The text of a document without its code, in which brackets mean other things. */
function proseOf(path: string): string {
  return readFileSync(path, "utf8")
    .replaceAll(/^```[\s\S]*?^```/gm, "")
    .replaceAll(/`[^`\n]*`/g, "code");
}

/** Anchors of the headings as GitHub makes them: lower case, no punctuation, dashes for blanks. */
function anchorsOf(path: string): ReadonlySet<string> {
  const headings = readFileSync(path, "utf8")
    .replaceAll(/^```[\s\S]*?^```/gm, "")
    .matchAll(/^#{1,6} (.+)$/gm);
  return new Set(
    Array.from(headings, ([, title = ""]) =>
      title
        .toLowerCase()
        .replaceAll(/[^\p{L}\p{N}\s_-]/gu, "")
        .trim()
        .replaceAll(" ", "-"),
    ),
  );
}

test.each(documents)("every link of %s leads to a file, and to a heading that it has", (name) => {
  const path = join(ROOT, name);
  const broken = Array.from(proseOf(path).matchAll(LINK)).flatMap(([, file = "", anchor]) => {
    const target = file === "" ? path : resolve(dirname(path), file);
    if (!existsSync(target)) return [file];
    if (anchor === undefined || !target.endsWith(".md") || anchorsOf(target).has(anchor)) return [];
    return [`${relative(ROOT, target)}#${anchor}`];
  });
  expect(broken).toEqual([]);
});

test("the handbook is among the documents whose links are looked at", () => {
  expect(documents).toContain("docs/handbook/incident.md");
});
