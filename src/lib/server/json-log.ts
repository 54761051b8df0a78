import { type DestinationStream, type Logger, pino } from "pino";
import { FulaError } from "../kernel/errors.ts";
import type { Log, LogFields } from "../kernel/log.ts";

/** Least important lines that are written. */
export type LogLevel = "debug" | "info" | "warn" | "error";

/** What a log needs. */
export interface JsonLogOptions {
  readonly level: LogLevel;
  /** Fields of every line, such as the node's name. */
  readonly base: LogFields;
  /** Where the lines go; one `write` call a line. */
  readonly destination: DestinationStream;
}

/** An error as log fields: code and hint of ours; the stack only where it is a bug. */
function describeError(error: unknown): unknown {
  if (error instanceof FulaError) {
    const { code, message, hint, cause } = error;
    return { code, message, hint, ...(cause === undefined ? {} : { cause: describeError(cause) }) };
  }
  if (!(error instanceof Error)) return error;
  const { name, message, stack, cause } = error;
  return { name, message, stack, ...(cause === undefined ? {} : { cause: describeError(cause) }) };
}

function wrap(logger: Logger): Log {
  return {
    debug: (event, fields) => {
      logger.debug(fields ?? {}, event);
    },
    info: (event, fields) => {
      logger.info(fields ?? {}, event);
    },
    warn: (event, fields) => {
      logger.warn(fields ?? {}, event);
    },
    error: (event, fields) => {
      logger.error(fields ?? {}, event);
    },
    child: (fields) => wrap(logger.child(fields)),
  };
}

/**
 * A log that writes one JSON line an event: `{"level":"info","time":"2026-11-20T03:00:00.000Z",…,"event":"…"}`.
 * A field named `error` may hold whatever was thrown; `Secret` values come out as `****`.
 */
export function createJsonLog(options: JsonLogOptions): Log {
  return wrap(
    pino(
      {
        level: options.level,
        base: options.base,
        messageKey: "event",
        timestamp: pino.stdTimeFunctions.isoTime,
        formatters: { level: (label) => ({ level: label }) },
        serializers: { error: describeError },
      },
      options.destination,
    ),
  );
}
