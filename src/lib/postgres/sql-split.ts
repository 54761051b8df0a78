/** One statement of a SQL file, as it stands there, without its semicolon. */
export interface SqlStatement {
  readonly text: string;
  /** Line of the file on which `text` starts, from 1. */
  readonly line: number;
}

const DOLLAR_TAG = /\$(?:[A-Za-z_\u0080-\uffff][\w\u0080-\uffff]*)?\$/y;
const SPACE = /\s/;

/** Where a comment, string, quoted name or dollar-quoted body that starts at `at` ends; `at` itself where none starts. */
function skipOpaque(sql: string, at: number): number {
  if (sql.startsWith("--", at)) return endOfLine(sql, at);
  if (sql.startsWith("/*", at)) return endOfBlockComment(sql, at);
  const char = sql[at];
  if (char === '"') return endOfQuoted(sql, at + 1, '"', false);
  if (char === "'") return endOfQuoted(sql, at + 1, "'", hasEscapes(sql, at));
  if (char === "$") return endOfDollarQuoted(sql, at);
  return at;
}

function endOfLine(sql: string, at: number): number {
  const newline = sql.indexOf("\n", at);
  return newline === -1 ? sql.length : newline;
}

/** PostgreSQL's block comments nest, unlike C's. */
function endOfBlockComment(sql: string, at: number): number {
  let depth = 0;
  for (let index = at; index < sql.length; index += 1) {
    if (sql.startsWith("/*", index)) {
      depth += 1;
      index += 1;
    } else if (sql.startsWith("*/", index)) {
      depth -= 1;
      index += 1;
      if (depth === 0) return index + 1;
    }
  }
  return sql.length;
}

/** True where the quote at `at` opens an escape string (`E'…'`), in which a backslash hides the next character. */
function hasEscapes(sql: string, at: number): boolean {
  const prefix = sql[at - 1];
  if (prefix !== "e" && prefix !== "E") return false;
  return at === 1 || !/[\w$\u0080-\uffff]/.test(sql[at - 2] ?? "");
}

function endOfQuoted(sql: string, at: number, quote: string, escapes: boolean): number {
  for (let index = at; index < sql.length; index += 1) {
    if (escapes && sql[index] === "\\") index += 1;
    else if (sql[index] === quote) {
      if (sql[index + 1] !== quote) return index + 1;
      index += 1;
    }
  }
  return sql.length;
}

function endOfDollarQuoted(sql: string, at: number): number {
  // In `name$1` or `$1` the dollar is no quote.
  if (at > 0 && /[\w\u0080-\uffff]/.test(sql[at - 1] ?? "")) return at;
  DOLLAR_TAG.lastIndex = at;
  const tag = DOLLAR_TAG.exec(sql)?.[0];
  if (tag === undefined) return at;
  const end = sql.indexOf(tag, at + tag.length);
  return end === -1 ? sql.length : end + tag.length;
}

/**
 * Cuts a SQL text at its top-level semicolons, the way psql does: quotes, dollar quotes, nested comments and
 * parentheses are seen through. Comments stay with the statement that follows them, except before its first word.
 * SQL-standard function bodies (`begin atomic`) are not known; write those bodies dollar-quoted.
 */
export function splitStatements(sql: string): readonly SqlStatement[] {
  const statements: SqlStatement[] = [];
  let start: number | null = null;
  let depth = 0;
  let line = 1;
  let counted = 0;
  const finish = (end: number): void => {
    if (start === null) return;
    for (; counted < start; counted += 1) if (sql[counted] === "\n") line += 1;
    statements.push({ text: sql.slice(start, end).trimEnd(), line });
    start = null;
    depth = 0;
  };
  for (let at = 0; at < sql.length; ) {
    const next = skipOpaque(sql, at);
    const isComment = next > at && (sql[at] === "-" || sql[at] === "/");
    const char = sql[at] ?? "";
    if (next === at && char === ";" && depth <= 0) finish(at);
    else if (start === null && !isComment && char !== ";" && !SPACE.test(char)) start = at;
    if (next === at && char === "(") depth += 1;
    if (next === at && char === ")") depth -= 1;
    at = Math.max(next, at + 1);
  }
  finish(sql.length);
  return statements;
}

/** A statement without comments, with single spaces outside quotes: for recognising what it is, never for running it. */
export function normalizeStatement(text: string): string {
  let out = "";
  for (let at = 0; at < text.length; ) {
    const next = skipOpaque(text, at);
    const char = text[at] ?? "";
    const isComment = next > at && (char === "-" || char === "/");
    if (next > at && !isComment) out += text.slice(at, next);
    else if (!isComment && !SPACE.test(char)) out += char;
    else if (out !== "" && !out.endsWith(" ")) out += " ";
    at = Math.max(next, at + 1);
  }
  return out.trimEnd();
}
