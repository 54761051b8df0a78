/** Values of one event, never glued into text. No secrets; wrap those in `Secret`. */
export type LogFields = Readonly<Record<string, unknown>>;

/**
 * Structured log, one line an event. Event names are dotted constants (`snapshot.taken`); functions throw, loops log.
 * info = state changes and operator actions; warn = will be retried; error = needs a person; debug = the rest.
 */
export interface Log {
  debug(event: string, fields?: LogFields): void;
  info(event: string, fields?: LogFields): void;
  warn(event: string, fields?: LogFields): void;
  error(event: string, fields?: LogFields): void;
  child(fields: LogFields): Log;
}

/** Drops everything. */
export const silentLog: Log = {
  debug: () => {},
  info: () => {},
  warn: () => {},
  error: () => {},
  child: () => silentLog,
};
