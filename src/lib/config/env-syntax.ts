import { FulaError } from "../kernel/errors.ts";

/** One `NAME=value` of an `.env` file. */
export interface EnvAssignment {
  readonly name: string;
  readonly value: string;
  /** 1 for the first line. */
  readonly line: number;
  /** Where the value stands in the text, quotes included: `text.slice(start, end)`. */
  readonly start: number;
  readonly end: number;
  readonly quoted: boolean;
}

/** What an `.env` file says. Comments and blank lines are in none of the lists. */
export interface EnvFile {
  readonly assignments: readonly EnvAssignment[];
  /** Lines that are no assignment, comment or blank. */
  readonly stray: readonly { readonly line: number; readonly text: string }[];
}

interface Word {
  readonly value: string;
  readonly end: number;
}

const ASSIGNMENT = /[ \t]*(?:export[ \t]+)?([A-Za-z_][A-Za-z0-9_]*)=[ \t]*/y;
const BLANK_OR_COMMENT = /[ \t\r\f\v]*(?:#[^\n]*)?(?:\n|$)/y;
// POSIX shell, 2.2.3: inside double quotes a backslash escapes these, and joins a line with the next one.
const ESCAPED_IN_DOUBLE_QUOTES = /\\([$`"\\\n])/g;

function syntaxError(line: number, what: string, hint: string): FulaError {
  return new FulaError("FULA_ENV_FILE_SYNTAX", `Line ${line} of the .env file ${what}.`, { hint, details: { line } });
}

/** Reads one quoted stretch that begins at `start`; both kinds may run over several lines. */
function readQuoted(text: string, start: number, line: number): Word {
  const quote = text[start];
  const body = quote === "'" ? /'([^']*)'/y : /"((?:[^"\\]|\\[^])*)"/y;
  body.lastIndex = start;
  const match = body.exec(text);
  if (match?.[1] === undefined) {
    throw syntaxError(
      line,
      `opens a ${quote === "'" ? "single" : "double"} quote that is never closed`,
      "close the quote, or quote the whole value.",
    );
  }
  const value =
    quote === "'"
      ? match[1]
      : match[1].replaceAll(ESCAPED_IN_DOUBLE_QUOTES, (_, char: string) => (char === "\n" ? "" : char));
  return { value, end: body.lastIndex };
}

/** Reads a value that begins with a quote, as a shell does: stretches side by side are one word. */
function readWord(text: string, start: number, line: number): Word {
  let value = "";
  let at = start;
  while (at < text.length && !/[ \t\r\n]/.test(text[at] ?? "")) {
    const char = text[at] ?? "";
    if (char === "'" || char === '"') {
      const stretch = readQuoted(text, at, line);
      value += stretch.value;
      at = stretch.end;
    } else if (char === "\\" && at + 1 < text.length) {
      value += text[at + 1] ?? "";
      at += 2;
    } else {
      value += char;
      at += 1;
    }
  }
  BLANK_OR_COMMENT.lastIndex = at;
  if (!BLANK_OR_COMMENT.test(text))
    throw syntaxError(line, "goes on after the closing quote", "put the whole value into one pair of quotes.");
  return { value, end: at };
}

/** Reads a value without quotes: literally, up to the end of the line or a comment. Nothing in it is expanded. */
function readBare(text: string, start: number): Word {
  const newline = text.indexOf("\n", start);
  const rest = text.slice(start, newline === -1 ? text.length : newline);
  const comment = rest.search(/(?:^|[ \t])#/);
  const value = (comment === -1 ? rest : rest.slice(0, comment)).trimEnd();
  return { value, end: start + value.length };
}

function lineEnd(text: string, from: number): number {
  const newline = text.indexOf("\n", from);
  return newline === -1 ? text.length : newline + 1;
}

function countLines(text: string, from: number, to: number): number {
  let count = 0;
  for (let at = text.indexOf("\n", from); at !== -1 && at < to; at = text.indexOf("\n", at + 1)) count += 1;
  return count;
}

/**
 * Reads an `.env` file the way `bash` reads what we write, and the way the fleet's installer reads what it wrote:
 * a value in quotes is a shell word, without expansion; a value without quotes is literal up to a comment.
 * @throws FulaError FULA_ENV_FILE_SYNTAX where a quote stays open or text follows a closing one.
 */
export function parseEnvFile(text: string): EnvFile {
  const assignments: EnvAssignment[] = [];
  const stray: { line: number; text: string }[] = [];
  let line = 1;
  for (let at = text.startsWith("\u{feff}") ? 1 : 0; at < text.length; ) {
    const from = at;
    BLANK_OR_COMMENT.lastIndex = at;
    ASSIGNMENT.lastIndex = at;
    if (BLANK_OR_COMMENT.test(text)) {
      at = BLANK_OR_COMMENT.lastIndex;
    } else {
      const name = ASSIGNMENT.exec(text)?.[1];
      at = lineEnd(text, at);
      if (name === undefined) {
        stray.push({ line, text: text.slice(from, at).trimEnd() });
      } else {
        const start = ASSIGNMENT.lastIndex;
        const quoted = text[start] === "'" || text[start] === '"';
        const { value, end } = quoted ? readWord(text, start, line) : readBare(text, start);
        assignments.push({ name, value, line, start, end, quoted });
        at = lineEnd(text, end);
      }
    }
    line += countLines(text, from, at);
  }
  return { assignments, stray };
}

/** The values that an `.env` file puts in force: the last assignment of each name. */
export function envFileValues(file: EnvFile): ReadonlyMap<string, EnvAssignment> {
  return new Map(file.assignments.map((assignment) => [assignment.name, assignment]));
}

const PLAIN = /^[A-Za-z0-9_./:,@%+=-]*$/;
const LONE_SURROGATE = /[\u{d800}-\u{dfff}]/u;

/**
 * Writes a value so that `bash`, `docker compose` and `parseEnvFile` all read it back to the last character, and
 * nothing in it is executed or expanded. docs/configuration.md tells the one combination that Compose refuses.
 * @throws FulaError FULA_ENV_VALUE for a NUL or half of a surrogate pair, which no environment can carry.
 */
export function renderEnvValue(value: string, name = "the value"): string {
  if (value.includes("\0")) {
    throw new FulaError("FULA_ENV_VALUE", `${name} contains a NUL character, which no environment variable can hold.`, {
      hint: "choose a value without it.",
    });
  }
  if (LONE_SURROGATE.test(value)) {
    throw new FulaError("FULA_ENV_VALUE", `${name} is not valid Unicode: it contains half of a surrogate pair.`, {
      hint: "choose a value of whole characters.",
    });
  }
  if (PLAIN.test(value)) return value;
  // Compose takes \' inside single quotes as an escaped quote, bash does not: a backslash at the end would split them.
  if (!value.includes("'") && !value.endsWith("\\")) return `'${value}'`;
  // Compose has no escape for a backtick in double quotes, bash needs one.
  if (!value.includes("`")) return `"${value.replaceAll(/[$"\\]/g, "\\$&")}"`;
  return `'${value.replaceAll("'", "'\\''")}'`;
}

/** True where `docker compose` reads a rendered value as bash does; false where it refuses the file. */
export function composeReads(value: string): boolean {
  return !(value.includes("`") && (value.includes("'") || value.endsWith("\\")));
}

/** True for a value whose unquoted form means something else, or a command, to a shell or to Compose. */
export function needsQuotes(value: string): boolean {
  return !PLAIN.test(value);
}
