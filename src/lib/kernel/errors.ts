import { ERROR_CODES, type ErrorCode, type ErrorKind } from "./error-codes.ts";

/** What a `FulaError` may carry beside its code and message. */
export interface FulaErrorOptions {
  /** The next thing to type or do, as a sentence; printed after "Try:". */
  readonly hint?: string;
  readonly cause?: unknown;
  /** Machine-readable facts for `--json`; never a secret. */
  readonly details?: Readonly<Record<string, unknown>>;
}

/**
 * A failure that an operator or a client can cause or mend. Anything else that is thrown is a bug and exits with 70.
 * The message says what was refused or failed, on which object, with observed and expected value.
 */
export class FulaError extends Error {
  override readonly name = "FulaError";
  readonly code: ErrorCode;
  readonly hint: string | undefined;
  readonly details: Readonly<Record<string, unknown>> | undefined;

  constructor(code: ErrorCode, message: string, options: FulaErrorOptions = {}) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.code = code;
    this.hint = options.hint;
    this.details = options.details;
  }

  /** The kind that `ERROR_CODES` gives this code. */
  get kind(): ErrorKind {
    return ERROR_CODES[this.code].kind;
  }
}

/** True for a `FulaError`, of one code where one is named. */
export function isFulaError(error: unknown, code?: ErrorCode): error is FulaError {
  return error instanceof FulaError && (code === undefined || error.code === code);
}

/** The `code` of a Node.js system error ("ENOENT", "EADDRINUSE"), or undefined for anything else. */
export function systemErrorCode(error: unknown): string | undefined {
  if (!(error instanceof Error) || !("code" in error) || typeof error.code !== "string") return undefined;
  return error.code;
}

/** The message of whatever was thrown. */
export function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
