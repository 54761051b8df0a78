import type { ErrorCode } from "../kernel/error-codes.ts";
import { FulaError } from "../kernel/errors.ts";

/** Something about the configuration that an operator should know. */
export interface ConfigProblem {
  /** An error stops every command; a warning is only told by `config check`. */
  readonly severity: "error" | "warning";
  readonly code: Extract<ErrorCode, `FULA_CONFIG_${string}` | `FULA_ENV_${string}`>;
  /** Dotted key, environment name or path that it is about. */
  readonly subject: string;
  readonly message: string;
  readonly hint: string | null;
}

/** A problem that stops every command. */
export function problem(
  code: ConfigProblem["code"],
  subject: string,
  message: string,
  hint: string | null = null,
): ConfigProblem {
  return { severity: "error", code, subject, message, hint };
}

/** A problem that only `config check` tells. */
export function doubt(subject: string, message: string, hint: string | null = null): ConfigProblem {
  return { severity: "warning", code: "FULA_CONFIG_RISK", subject, message, hint };
}

const SHOWN_LENGTH_MAX = 60;

/** What stands for a value that must not be shown. */
export const NOT_SHOWN = "****";

/** A refused value as an error message shows it: `"nine" (text)`. */
export function describeValue(value: unknown): string {
  if (value === null || value === undefined) return "empty";
  if (Array.isArray(value)) return "a list";
  if (typeof value === "object") return "a mapping";
  const text = JSON.stringify(value);
  const shown = text.length > SHOWN_LENGTH_MAX ? `${text.slice(0, SHOWN_LENGTH_MAX)}…` : text;
  return `${shown} (${typeof value === "string" ? "text" : typeof value === "boolean" ? "true/false" : "number"})`;
}

/** Turns the errors among the problems into what a command throws: the first in words, all in `details`. */
export function errorOf(problems: readonly ConfigProblem[]): FulaError | null {
  const errors = problems.filter(({ severity }) => severity === "error");
  const [first, ...others] = errors;
  if (first === undefined) return null;
  const more =
    others.length === 0 ? "" : ` (and ${others.length} more ${others.length === 1 ? "problem" : "problems"})`;
  const all = others.length === 0 ? "" : "fula-master config check lists all problems.";
  return new FulaError(first.code, `${first.message}${more}`, {
    hint: [first.hint, all].filter((part) => part !== null && part !== "").join(" ") || "fula-master config check",
    details: { problems: errors },
  });
}
