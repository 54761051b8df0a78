import { hasZodFastifySchemaValidationErrors } from "fastify-type-provider-zod";
import type { ErrorCode } from "../kernel/error-codes.ts";
import { isFulaError } from "../kernel/errors.ts";

/** A request that the API refuses because of what it is. */
export class ApiError extends Error {
  override readonly name = "ApiError";
  readonly status: number;
  /** `UPPER_SNAKE`, for programs. */
  readonly reason: string;
  readonly headers: Readonly<Record<string, string>>;

  constructor(status: number, reason: string, details: string, headers: Readonly<Record<string, string>> = {}) {
    super(details);
    this.status = status;
    this.reason = reason;
    this.headers = headers;
  }
}

/** An error as it is answered: the fleet's body `{"error":{"reason","details"}}`. */
export interface ErrorAnswer {
  readonly status: number;
  readonly reason: string;
  readonly details: string;
  readonly headers: Readonly<Record<string, string>>;
}

// What a client caused and may read about, with its status; any other failure is ours, and its text stays in the log.
const CLIENT_CODES: Readonly<Partial<Record<ErrorCode, number>>> = {
  FULA_USER_INVALID: 400,
  FULA_DENIAL_TARGET: 400,
  FULA_DENIAL_NOT_FOUND: 404,
  FULA_ACCOUNT_UNKNOWN: 404,
  FULA_AMOUNT_INVALID: 400,
  FULA_CREDIT_REFERENCE_TAKEN: 409,
  FULA_HISTORY_PAGE: 400,
  FULA_CHAIN_UNKNOWN: 400,
  FULA_CHAIN_OFF: 409,
  FULA_CHAIN_HALTED: 409,
  FULA_DEPOSIT_HASH: 400,
  FULA_DEPOSIT_NOT_FOUND: 404,
  FULA_DEPOSIT_UNLINKED: 409,
  FULA_DEPOSIT_FOREIGN: 403,
  // As the fleet answers a second claim.
  FULA_DEPOSIT_CLAIMED: 400,
  FULA_DEPOSIT_DUST: 400,
  FULA_DEPOSIT_REFUSED: 409,
  FULA_KEY_NOT_FOUND: 404,
  FULA_KEYS_TOO_MANY: 409,
  FULA_SUBJECT_DENIED: 409,
  FULA_SIGNING_KEY_MISSING: 503,
  FULA_WALLET_ADDRESS: 400,
  FULA_WALLET_SIGNATURE: 400,
  FULA_WALLET_CHALLENGE: 400,
  FULA_WALLET_CHALLENGE_USED: 409,
  FULA_WALLET_TAKEN: 409,
  FULA_WALLET_NOT_FOUND: 404,
  FULA_WALLET_DEBT: 409,
  FULA_CID_INVALID: 400,
  FULA_PIN_REQUEST: 400,
};

const RETRY_AFTER_SECONDS = 5;

const REASONS: Readonly<Record<number, string>> = {
  404: "NOT_FOUND",
  413: "BODY_TOO_LARGE",
  415: "UNSUPPORTED_MEDIA_TYPE",
};

function statusOf(error: unknown): number {
  const has = typeof error === "object" && error !== null && "statusCode" in error;
  return has && typeof error.statusCode === "number" ? error.statusCode : 500;
}

/** What is wrong with a request's parameters: `body.address: Invalid input`. */
function explainIssues(error: unknown): string | null {
  if (!hasZodFastifySchemaValidationErrors(error)) return null;
  const lines = error.validation.map(({ instancePath, message }) => {
    const path = instancePath.split("/").filter((part) => part !== "");
    return `${[error.validationContext ?? "request", ...path].join(".")}: ${message ?? "not allowed"}`;
  });
  return lines.join("; ");
}

/** The answer for whatever was thrown. */
export function answerOf(error: unknown): ErrorAnswer {
  if (error instanceof ApiError) {
    return { status: error.status, reason: error.reason, details: error.message, headers: error.headers };
  }
  const issues = explainIssues(error);
  if (issues !== null) return { status: 400, reason: "INVALID_REQUEST", details: issues, headers: {} };
  if (isFulaError(error)) {
    const status = CLIENT_CODES[error.code];
    const reason = error.code.slice("FULA_".length);
    if (status !== undefined) return { status, reason, details: error.message, headers: {} };
    if (error.kind === "unavailable") {
      const details = "Something that this master needs does not answer; try again.";
      return { status: 503, reason: "UNAVAILABLE", details, headers: { "retry-after": String(RETRY_AFTER_SECONDS) } };
    }
  }
  const status = statusOf(error);
  if (status >= 500 || !(error instanceof Error)) {
    return {
      status: 500,
      reason: "INTERNAL",
      details: "Something went wrong here; it stands in the log.",
      headers: {},
    };
  }
  return { status, reason: REASONS[status] ?? "INVALID_REQUEST", details: error.message, headers: {} };
}
