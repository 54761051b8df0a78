import { DatabaseError } from "pg";
import { FulaError, messageOf } from "../kernel/errors.ts";
import { isConnectionLoss } from "./database-errors.ts";
import { type Migration, migrationId, type MigrationScript } from "./migration-files.ts";
import type { SqlStatement } from "./sql-split.ts";

/** lock_not_available, deadlock_detected, serialization_failure: nothing was changed, and the next attempt may do it. */
export const RETRYABLE_STATES: ReadonlySet<string> = new Set(["55P03", "40P01", "40001"]);
// raise_exception: a check that the migration itself makes.
const RAISED_STATE = "P0001";

/** A statement of a migration that failed; `explainFailure` turns it into words once it is known what was applied. */
export class StatementFailure extends Error {
  readonly script: MigrationScript;
  readonly statement: SqlStatement;

  constructor(script: MigrationScript, statement: SqlStatement, cause: unknown) {
    super(messageOf(cause), { cause });
    this.script = script;
    this.statement = statement;
  }

  /** Line of the file at which the server stopped, or on which the statement begins where the server names no place. */
  get line(): number {
    const position = this.cause instanceof DatabaseError ? Number(this.cause.position) : Number.NaN;
    if (!Number.isInteger(position)) return this.statement.line;
    // The server counts characters from 1, not UTF-16 units.
    const before = Array.from(this.statement.text).slice(0, position - 1);
    return this.statement.line + before.filter((char) => char === "\n").length;
  }
}

function describePlace(failure: StatementFailure): string {
  const first = failure.statement.text.split("\n", 1)[0] ?? "";
  return `${failure.script.fileName}:${failure.line} (${first.length > 80 ? `${first.slice(0, 79)}…` : first})`;
}

/** How far a run came when it stopped. */
export interface FailedRun {
  readonly migration: Migration;
  /** Ids of the migrations that the run had done. */
  readonly done: readonly string[];
  readonly verb: "applied" | "reverted";
  readonly signal: AbortSignal | undefined;
}

const BLOCKED_HINT =
  "end the transactions that hold the table (select pid, application_name, xact_start, query from pg_stat_activity order by xact_start), then run the command again.";

/** The error an operator gets for a run that stopped in the middle: what is in effect, what failed, where and why. */
export function explainFailure(error: unknown, run: FailedRun): unknown {
  const { migration, done, verb } = run;
  const id = migrationId(migration);
  const before = done.length === 0 ? `Nothing was ${verb} before it.` : `Before it, ${done.join(", ")} was ${verb}.`;
  if (run.signal?.aborted === true) {
    return new FulaError("FULA_INTERRUPTED", `Stopped in the middle of ${id}. ${before}`, {
      hint: "run the same command again; it goes on where it stopped.",
      cause: error,
      details: { [verb]: done, interrupted: id },
    });
  }
  const cause = error instanceof StatementFailure ? error.cause : error;
  if (isConnectionLoss(cause)) {
    return new FulaError("FULA_DATABASE_UNREACHABLE", `The connection was lost in the middle of ${id}. ${before}`, {
      hint: "run the same command again when the server answers; it goes on where it stopped.",
      cause,
      details: { [verb]: done, interrupted: id },
    });
  }
  if (!(error instanceof StatementFailure && cause instanceof DatabaseError)) return error;
  const details = {
    [verb]: done,
    failed: id,
    file: error.script.fileName,
    line: error.line,
    sqlState: cause.code,
    detail: cause.detail,
  };
  if (cause.code === RAISED_STATE) {
    const why = [cause.message, cause.detail, before].filter((part) => part !== undefined).join(" ");
    return new FulaError("FULA_MIGRATION_ABORTED", why, {
      hint: cause.hint ?? "mend the data that it names, then run the command again.",
      cause: error,
      details,
    });
  }
  return new FulaError(
    "FULA_MIGRATION_FAILED",
    `${id} failed at ${describePlace(error)}: ${cause.message} [${cause.code ?? "no SQLSTATE"}]. ${before}`,
    {
      hint: RETRYABLE_STATES.has(cause.code ?? "")
        ? BLOCKED_HINT
        : "mend what it names, then run the command again; it goes on with the migration that failed.",
      cause: error,
      details,
    },
  );
}
