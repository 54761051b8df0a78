import { ERROR_CODES, type ErrorKind } from "../kernel/error-codes.ts";
import { FulaError } from "../kernel/errors.ts";
import type { Output } from "./output.ts";
import { printable } from "./printable.ts";

/** Exit codes of every command; docs/commands.md tells operators what each means. */
export const EXIT = { done: 0, failed: 1, usage: 2, refused: 3, unavailable: 4, bug: 70, interrupted: 130 } as const;

const EXIT_BY_KIND: Readonly<Record<ErrorKind, number>> = {
  failed: EXIT.failed,
  usage: EXIT.usage,
  refused: EXIT.refused,
  unavailable: EXIT.unavailable,
};

/** The exit code of whatever was thrown. */
export function exitCodeOf(error: unknown): number {
  if (!(error instanceof FulaError)) return EXIT.bug;
  if (error.code === "FULA_INTERRUPTED") return EXIT.interrupted;
  return EXIT_BY_KIND[ERROR_CODES[error.code].kind];
}

function causeChain(error: Error): string[] {
  const lines: string[] = [];
  for (let cause = error.cause; cause instanceof Error && lines.length < 10; cause = cause.cause) {
    lines.push(`  Caused by: ${cause.stack ?? cause.message}`);
  }
  return lines;
}

/**
 * Prints an error on stderr, as text or with `--json` as one JSON document, and returns the exit code.
 * The one place where a thrown thing becomes words.
 */
export function reportError(error: unknown, out: Output): number {
  const exitCode = exitCodeOf(error);
  if (error instanceof FulaError) {
    if (out.json) {
      const { code, message, hint, details } = error;
      out.stderr.write(`${JSON.stringify({ error: { code, message, hint, details, exitCode } })}\n`);
      return exitCode;
    }
    out.stderr.write(`${out.errorStyle.red(`${error.code}:`)} ${printable(error.message)}\n`);
    if (error.hint !== undefined) out.stderr.write(`  Try: ${printable(error.hint)}\n`);
    if (out.verbose) out.stderr.write(`${[error.stack ?? "", ...causeChain(error)].map(printable).join("\n")}\n`);
    return exitCode;
  }
  const bug = error instanceof Error ? error : new Error(String(error));
  if (out.json) {
    out.stderr.write(`${JSON.stringify({ error: { code: "BUG", message: bug.message, exitCode } })}\n`);
    return exitCode;
  }
  const stack = [bug.stack ?? bug.message, ...causeChain(bug)].map(printable).join("\n");
  out.stderr.write(`${out.errorStyle.red("This is a bug in fula-master:")} ${stack}\n`);
  out.stderr.write("  Try: report it with the lines above and the command that you ran; nothing here is secret.\n");
  return exitCode;
}
