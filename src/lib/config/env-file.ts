import { chmod, stat } from "node:fs/promises";
import { dirname, join } from "node:path";
import { type Clock, systemClock } from "../kernel/clock.ts";
import { FulaError, systemErrorCode } from "../kernel/errors.ts";
import { ensureDir, readTextIfExists, SECRET_FILE_MODE, writeFileAtomic } from "../kernel/files.ts";
import { Secret } from "../kernel/secret.ts";
import { parseEnvFile, renderEnvValue } from "./env-syntax.ts";
import { resolveLink, waitForLock } from "./file-access.ts";

export { parseEnvFile } from "./env-syntax.ts";

/** What a merge did, or with `dryRun` would do; names only. */
export interface EnvMergeReport {
  /** Names that were not in the file, or were there without a value. */
  readonly added: readonly string[];
  /** Names whose value was replaced; only with `overwrite`. */
  readonly updated: readonly string[];
  /** Names that keep the value that the file has. */
  readonly kept: readonly string[];
  readonly changed: boolean;
}

/** How `mergeEnvFile` treats what is there. */
export interface EnvMergeOptions {
  /** True replaces values that differ. Default false: a value that is there stays, whatever it is. */
  readonly overwrite?: boolean;
  /** True writes nothing at all, not even a lock. */
  readonly dryRun?: boolean;
  readonly clock?: Clock;
  readonly signal?: AbortSignal;
}

const NAME = /^[A-Za-z_][A-Za-z0-9_]*$/;
const NEW_FILE_HEADER =
  "# Secrets of this master, read by fula-master. Lines that you add or change stay as they are.\n";

interface Edit {
  readonly text: string;
  readonly report: EnvMergeReport;
}

function revealed(value: string | Secret): string {
  return value instanceof Secret ? value.reveal() : value;
}

function withLine(text: string, name: string, rendered: string): string {
  const gap = text === "" || text.endsWith("\n") ? "" : "\n";
  return `${text}${gap}${name}=${rendered}\n`;
}

/**
 * The text of an `.env` file after the values are merged into it. Every byte that does not belong to a merged value
 * stays where it is; a value is replaced in its line, which keeps its `export` and its comment; new names go to the end.
 * @throws FulaError FULA_ENV_FILE_SYNTAX, FULA_ENV_VALUE
 */
export function mergeEnvText(
  text: string,
  values: Readonly<Record<string, string | Secret>>,
  options: { readonly overwrite?: boolean } = {},
): Edit {
  const added: string[] = [];
  const updated: string[] = [];
  const kept: string[] = [];
  let result = text;
  for (const [name, value] of Object.entries(values)) {
    if (!NAME.test(name)) throw new FulaError("FULA_ENV_VALUE", `"${name}" is no name that an .env file can hold.`);
    const rendered = renderEnvValue(revealed(value), name);
    const file = parseEnvFile(result);
    // The last assignment of a name is the one in force, for every reader of the file.
    const found = file.assignments.findLast((assignment) => assignment.name === name);
    if (found === undefined) {
      assertNotStray(file.stray, name);
      result = withLine(result, name, rendered);
      added.push(name);
    } else if (
      found.value === "" ? revealed(value) !== "" : options.overwrite === true && found.value !== revealed(value)
    ) {
      result = `${result.slice(0, found.start)}${rendered}${result.slice(found.end)}`;
      (found.value === "" ? added : updated).push(name);
    } else {
      kept.push(name);
    }
  }
  return { text: result, report: { added, updated, kept, changed: result !== text } };
}

/** A line such as `JWT_SECRET: abc` is no assignment, but surely meant as one: adding a second secret would hide it. */
function assertNotStray(stray: readonly { readonly line: number; readonly text: string }[], name: string): void {
  const line = stray.find(({ text }) => new RegExp(`^\\s*(export\\s+)?${name}\\b`).test(text));
  if (line === undefined) return;
  throw new FulaError(
    "FULA_ENV_FILE_SYNTAX",
    `Line ${line.line} of the .env file names ${name}, but is not of the form ${name}=value.`,
    {
      hint: `write the line as ${name}='value', or remove it.`,
      details: { line: line.line, name },
    },
  );
}

/** The lock that everybody who rewrites a file of the base directory takes. */
function lockFile(path: string): string {
  return join(dirname(path), "state", "locks", "env-file.lock");
}

/**
 * Brings values into an `.env` file. Creates it with mode 0600 before any content; takes rights from others away
 * where an operator's copy gave them; never drops, reorders or re-quotes a line that it does not change; replaces the
 * file in one step. Two mergers at once both get their lines in.
 * @throws FulaError FULA_ENV_FILE_SYNTAX, FULA_ENV_VALUE, FULA_LOCKED, FULA_PATH_NOT_WRITABLE, FULA_DISK_FULL
 */
export async function mergeEnvFile(
  path: string,
  values: Readonly<Record<string, string | Secret>>,
  options: EnvMergeOptions = {},
): Promise<EnvMergeReport> {
  const read = async (): Promise<Edit> =>
    mergeEnvText((await readTextIfExists(path)) ?? NEW_FILE_HEADER, values, options);
  if (options.dryRun === true) return (await read()).report;
  await ensureDir(dirname(path));
  using _ = await waitForLock(lockFile(path), `write ${path}`, options.clock ?? systemClock, options.signal);
  const { text, report } = await read();
  const target = await resolveLink(path);
  if (report.changed) await writeFileAtomic(target, text, { mode: SECRET_FILE_MODE });
  else await tighten(target);
  return report;
}

async function tighten(path: string): Promise<void> {
  try {
    if (((await stat(path)).mode & 0o077) !== 0) await chmod(path, SECRET_FILE_MODE);
  } catch (error) {
    if (systemErrorCode(error) !== "ENOENT") throw error;
  }
}
