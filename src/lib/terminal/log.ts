import type { Log, LogFields } from "../kernel/log.ts";
import type { Output } from "./output.ts";

function line(event: string, fields: LogFields): string {
  const values = Object.entries(fields).map(([name, value]) => `${name}=${JSON.stringify(value) ?? "undefined"}`);
  return [event, ...values].join(" ");
}

/** The log of a command: what needs a look is printed on stderr, the rest only with `--verbose`. */
export function logTo(out: Output, base: LogFields = {}): Log {
  const detail = (event: string, fields: LogFields = {}): void => {
    out.detail(line(event, { ...base, ...fields }));
  };
  const warn = (event: string, fields: LogFields = {}): void => {
    out.warn(line(event, { ...base, ...fields }));
  };
  return { debug: detail, info: detail, warn, error: warn, child: (fields) => logTo(out, { ...base, ...fields }) };
}
