import { type SettingEntry, SETTINGS } from "./schema.ts";
import { renderYamlValue } from "./yaml-edit.ts";

const HEADER = `# Settings of this fula-master. A line that is commented out shows the default.
# docs/configuration.md explains every setting; fula-master config check tells whether a change is sound.
# Secrets do not belong here but into .env.
`;

interface Branch {
  readonly name: string;
  readonly entries: readonly SettingEntry[];
}

function branchesAt(entries: readonly SettingEntry[], depth: number): Branch[] {
  const names = [...new Set(entries.map(({ path }) => path[depth] ?? ""))];
  return names.map((name) => ({ name, entries: entries.filter(({ path }) => path[depth] === name) }));
}

function renderSetting(entry: SettingEntry, value: unknown, isCommented: boolean): string[] {
  const name = entry.path.at(-1) ?? entry.key;
  const { description, default: fallback } = entry.setting;
  if (value !== undefined) return [`# ${description}`, `${name}: ${renderYamlValue(value)}`];
  return [`# ${description}`, `${isCommented ? "" : "# "}${name}: ${fallback.example}`];
}

/** The lines of a section; `isCommented` where an outer section puts a `#` before them anyway. */
function renderBranch(
  branch: Branch,
  changes: Readonly<Record<string, unknown>>,
  depth: number,
  isCommented: boolean,
): string[] {
  const [first] = branch.entries;
  if (first !== undefined && first.path.length === depth + 1)
    return renderSetting(first, changes[first.key], isCommented);
  // A section without a live line must be a comment itself: an empty section is refused as a cut-off file.
  const isLive = branch.entries.some(({ key }) => changes[key] !== undefined);
  const inner = branchesAt(branch.entries, depth + 1).flatMap((child) =>
    renderBranch(child, changes, depth + 1, isCommented || !isLive),
  );
  const block = [`${branch.name}:`, ...inner.map((line) => `  ${line}`)];
  return isLive || isCommented ? block : block.map((line) => `# ${line}`);
}

/** A new settings file: every setting with its explanation, those that are given as live lines, the others as comments. */
export function renderSettingsTemplate(changes: Readonly<Record<string, unknown>>): string {
  const sections = branchesAt(SETTINGS, 0).map((branch) => renderBranch(branch, changes, 0, false).join("\n"));
  return `${HEADER}\n${sections.join("\n\n")}\n`;
}
