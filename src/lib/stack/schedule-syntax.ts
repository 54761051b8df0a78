import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { assert } from "../kernel/assert.ts";
import { PROJECT_ROOT } from "../kernel/project.ts";

/** A command line with the environment that it needs; nothing of it is quoted yet. */
export interface Invocation {
  readonly environment: Readonly<Record<string, string>>;
  readonly argv: readonly string[];
}

const SHELL_SAFE = /^[A-Za-z0-9_./:,@+=-]+$/;

/** One argument for `/bin/sh`. */
export function quoteForShell(text: string): string {
  return SHELL_SAFE.test(text) ? text : `'${text.replaceAll("'", "'\\''")}'`;
}

/** A command line for `/bin/sh`. */
export function renderForShell({ environment, argv }: Invocation): string {
  const assignments = Object.entries(environment).map(([name, value]) => `${name}=${quoteForShell(value)}`);
  const words = argv.map(quoteForShell);
  return (assignments.length === 0 ? words : ["/usr/bin/env", ...assignments, ...words]).join(" ");
}

/** The command field of a crontab: cron reads an unescaped `%` as the end of the command (crontab(5)). */
export function renderForCron(command: string): string {
  return command.replaceAll("%", "\\%");
}

function quoteForSystemd(text: string, expandsVariables: boolean): string {
  // systemd.syntax(7) and systemd.service(5): backslash and quote are C escapes, % begins a specifier, $ a variable.
  const escaped = text.replaceAll("\\", "\\\\").replaceAll('"', '\\"').replaceAll("%", "%%");
  const literal = expandsVariables ? escaped.replaceAll("$", "$$$$") : escaped;
  return SHELL_SAFE.test(text) ? literal : `"${literal}"`;
}

/** The value of `ExecStart=`. */
export function renderExecStart(argv: readonly string[]): string {
  // The program's own path is not searched for variables, its arguments are.
  return argv.map((word, index) => quoteForSystemd(word, index > 0)).join(" ");
}

/** `Environment=` lines, one a variable. */
export function renderEnvironment(environment: Readonly<Record<string, string>>): string {
  return Object.entries(environment)
    .map(([name, value]) => `Environment=${quoteForSystemd(`${name}=${value}`, false)}`)
    .join("\n");
}

/** Paths of a unit's setting such as `ReadWritePaths=`. */
export function renderPaths(paths: readonly string[]): string {
  return paths.map((path) => quoteForSystemd(path, false)).join(" ");
}

/** Text of a unit's `Description=`, where `%` begins a specifier. */
export function renderUnitText(text: string): string {
  return text.replaceAll("%", "%%");
}

/**
 * Fills `templates/<name>`; a placeholder that stands alone on its line goes with its line where its value is empty.
 */
export function fillTemplate(name: string, values: Readonly<Record<string, string>>): string {
  const template = readFileSync(join(PROJECT_ROOT, "templates", name), "utf8");
  const withoutEmpty = template.replaceAll(/^\{\{(\w+)\}\}\n/gm, (line, key: string) =>
    values[key] === "" ? "" : line,
  );
  return withoutEmpty.replaceAll(/\{\{(\w+)\}\}/g, (_, key: string) => {
    const value = values[key];
    assert(value !== undefined, `templates/${name} asks for ${key}`);
    return value;
  });
}

const HEADER = "# Written by fula-master. It rewrites this file only while the lines below are as it wrote them.\n";
const SEAL = /^# fula-master-base-dir: (".*")\n# fula-master-sha256: ([0-9a-f]{64})\n/;

function digestOf(baseDir: string, body: string): string {
  return createHash("sha256").update(`${baseDir}\n${body}`).digest("hex");
}

/** Puts before a file what lets us recognise it later: as ours, of which master, and whether it was edited since. */
export function sealFile(baseDir: string, body: string): string {
  const quoted = JSON.stringify(baseDir);
  return `${HEADER}# fula-master-base-dir: ${quoted}\n# fula-master-sha256: ${digestOf(quoted, body)}\n${body}`;
}

/** Who wrote a file. */
export type FileAuthor =
  /** We, for the master in `baseDir`, and nobody has edited it since. */
  | { readonly by: "us"; readonly baseDir: string }
  /** We, but it was changed afterwards. */
  | { readonly by: "editor" }
  | { readonly by: "stranger" };

/** Tells who wrote a file by the seal of `sealFile`. */
export function recogniseFile(text: string): FileAuthor {
  if (!text.startsWith(HEADER)) return { by: "stranger" };
  const rest = text.slice(HEADER.length);
  const [seal, quoted, digest] = SEAL.exec(rest) ?? [];
  if (seal === undefined || quoted === undefined) return { by: "editor" };
  if (digestOf(quoted, rest.slice(seal.length)) !== digest) return { by: "editor" };
  const baseDir: unknown = JSON.parse(quoted);
  return typeof baseDir === "string" ? { by: "us", baseDir } : { by: "editor" };
}
