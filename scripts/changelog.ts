/**
 * Builds CHANGELOG.md from the notes in changelog/ (the rules are in changelog/README.md).
 *
 *   node scripts/changelog.ts                                     write CHANGELOG.md
 *   node scripts/changelog.ts --release 1.2.0 --date 2026-12-01   make the unreleased notes those of a release first
 */
import { existsSync } from "node:fs";
import { mkdir, readdir, readFile, rename, writeFile } from "node:fs/promises";
import { basename, join } from "node:path";
import { parseArgs } from "node:util";
import { PROJECT_ROOT } from "../src/lib/kernel/project.ts";

/** Kinds of change, in the order of https://keepachangelog.com/en/1.1.0. */
const KINDS = ["Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"] as const;
type Kind = (typeof KINDS)[number];

interface Note {
  readonly kind: Kind;
  readonly text: string;
}

interface Section {
  /** "Unreleased", or "1.2.0 - 2026-12-01". */
  readonly title: string;
  readonly notes: readonly Note[];
}

const UNRELEASED = "unreleased";
const RELEASE_FOLDER = /^(\d+\.\d+\.\d+)_(\d{4}-\d{2}-\d{2})$/;

const HEAD = `# Changelog

What changed for those who run fula-master. The form is [Keep a Changelog](https://keepachangelog.com/en/1.1.0/), the numbers
follow [Semantic Versioning](https://semver.org/). Built from \`changelog/\` by \`npm run changelog\`; do not edit it by hand.`;

/** Reads one note. @throws Error naming the file when its first line does not say what kind of change it is. */
export function parseNote(file: string, content: string): Note {
  const match = /^(\w+): (\S[\s\S]*)$/.exec(content.trim());
  const kind = KINDS.find((each) => each === match?.[1]);
  if (kind === undefined || match?.[2] === undefined) {
    throw new Error(
      `${file}: the first line has to begin with one of ${KINDS.map((each) => `"${each}: "`).join(", ")}`,
    );
  }
  return { kind, text: match[2] };
}

async function readNotes(dir: string): Promise<readonly Note[]> {
  const names = existsSync(dir) ? (await readdir(dir)).filter((name) => name.endsWith(".md")).toSorted() : [];
  return await Promise.all(
    names.map(async (name) => parseNote(join(dir, name), await readFile(join(dir, name), "utf8"))),
  );
}

function compareVersions(a: string, b: string): number {
  return a.localeCompare(b, "en", { numeric: true });
}

async function readSections(changelogDir: string): Promise<readonly Section[]> {
  const folders = (await readdir(changelogDir)).filter((name) => RELEASE_FOLDER.test(name));
  const newestFirst = folders.toSorted((a, b) => compareVersions(basename(b), basename(a)));
  const released = newestFirst.map(async (folder) => ({
    title: folder.replace("_", " - "),
    notes: await readNotes(join(changelogDir, folder)),
  }));
  const unreleased = { title: "Unreleased", notes: await readNotes(join(changelogDir, UNRELEASED)) };
  return [unreleased, ...(await Promise.all(released))];
}

function renderSection({ title, notes }: Section): string {
  const groups = KINDS.flatMap((kind) => {
    const texts = notes.filter((note) => note.kind === kind).map(({ text }) => `- ${text.replaceAll("\n", "\n  ")}`);
    return texts.length === 0 ? [] : [`### ${kind}\n\n${texts.join("\n")}`];
  });
  return [`## ${title}`, ...groups].join("\n\n");
}

/** Renders CHANGELOG.md from the notes below `changelogDir`. */
export async function renderChangelog(changelogDir: string): Promise<string> {
  const sections = await readSections(changelogDir);
  return `${[HEAD, ...sections.map(renderSection)].join("\n\n")}\n`;
}

/** Makes the unreleased notes those of a release. @throws Error when there is nothing to release, or it is there already. */
export async function releaseNotes(changelogDir: string, version: string, date: string): Promise<void> {
  const folder = `${version}_${date}`;
  if (!RELEASE_FOLDER.test(folder)) throw new Error(`"${version}" of "${date}" is no X.Y.Z of a YYYY-MM-DD`);
  const from = join(changelogDir, UNRELEASED);
  const names = (await readdir(from)).filter((name) => name.endsWith(".md"));
  if (names.length === 0) throw new Error(`${from} has no notes: there is nothing to release`);
  await mkdir(join(changelogDir, folder));
  for (const name of names) await rename(join(from, name), join(changelogDir, folder, name));
}

if (import.meta.main) {
  const { values } = parseArgs({ options: { release: { type: "string" }, date: { type: "string" } } });
  const dir = join(PROJECT_ROOT, "changelog");
  if (values.release !== undefined) {
    await releaseNotes(dir, values.release, values.date ?? new Date().toISOString().slice(0, 10));
  }
  await writeFile(join(PROJECT_ROOT, "CHANGELOG.md"), await renderChangelog(dir));
}
