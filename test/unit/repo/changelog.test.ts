import { existsSync, mkdirSync, readdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { parseNote, releaseNotes, renderChangelog } from "../../../scripts/changelog.ts";
import { tempDir } from "../../support/temp-dir.ts";

function layNotes(dir: string, folder: string, notes: Readonly<Record<string, string>>): void {
  mkdirSync(join(dir, folder), { recursive: true });
  for (const [name, text] of Object.entries(notes)) writeFileSync(join(dir, folder, name), text);
}

/** The changelog from its first section on. */
async function sectionsOf(dir: string): Promise<string> {
  const text = await renderChangelog(dir);
  return text.slice(text.indexOf("## "));
}

describe("the changelog", () => {
  test("groups notes by kind, in the order of Keep a Changelog, whatever the files are called", async () => {
    const dir = tempDir();
    layNotes(dir, "unreleased", {
      "a-fix.md": "Fixed: A pin is no longer lost.\n",
      "b-news.md": "Added: A command.\nIt does a thing.\n",
      "c-news.md": "Added: Another.\n",
      "ignored.txt": "no note",
    });
    expect(await sectionsOf(dir)).toBe(
      "## Unreleased\n\n### Added\n\n- A command.\n  It does a thing.\n- Another.\n\n### Fixed\n\n- A pin is no longer lost.\n",
    );
  });

  test("a release takes the notes, and later releases stand first by number, not by letters", async () => {
    const dir = tempDir();
    layNotes(dir, "0.9.0_2026-10-01", { "old.md": "Added: Old." });
    layNotes(dir, "unreleased", { "new.md": "Security: New." });
    await releaseNotes(dir, "0.10.0", "2026-12-01");
    expect(readdirSync(join(dir, "unreleased"))).toEqual([]);
    expect(await sectionsOf(dir)).toBe(
      "## Unreleased\n\n## 0.10.0 - 2026-12-01\n\n### Security\n\n- New.\n\n## 0.9.0 - 2026-10-01\n\n### Added\n\n- Old.\n",
    );
  });

  test("a release of nothing, of no version, or of one that is there, moves no note", async () => {
    const dir = tempDir();
    layNotes(dir, "unreleased", {});
    await expect(releaseNotes(dir, "1.0.0", "2026-12-01")).rejects.toThrow("nothing to release");
    layNotes(dir, "unreleased", { "new.md": "Added: New." });
    await expect(releaseNotes(dir, "1.0", "2026-12-01")).rejects.toThrow("no X.Y.Z");
    await expect(releaseNotes(dir, "1.0.0", "tomorrow")).rejects.toThrow("YYYY-MM-DD");
    mkdirSync(join(dir, "1.0.0_2026-12-01"));
    await expect(releaseNotes(dir, "1.0.0", "2026-12-01")).rejects.toThrow("EEXIST");
    expect(existsSync(join(dir, "unreleased", "new.md"))).toBe(true);
  });
});

test.each(["A new thing.", "added: small letters", "Added:no blank", "Added: ", "News: what", ""])(
  "%j is no note, and the file is named",
  (text) => {
    expect(() => parseNote("changelog/unreleased/x.md", text)).toThrow("changelog/unreleased/x.md: the first line");
  },
);
