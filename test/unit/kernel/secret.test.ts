import { format, inspect } from "node:util";
import fc from "fast-check";
import pino from "pino";
import { expect, test } from "vitest";
import { FulaError } from "../../../src/lib/kernel/errors.ts";
import { Secret } from "../../../src/lib/kernel/secret.ts";
import { property } from "../../support/property.ts";

function logLine(fields: object): string {
  let line = "";
  pino({}, { write: (text: string) => (line += text) }).info(fields, "event");
  return line;
}

const WAYS_OUT: Readonly<Record<string, (secret: Secret) => string>> = {
  "a joined list": (secret) => ["password ", secret, "."].join(""),
  concatenation: (secret) => String(secret) + secret.toString(),
  JSON: (secret) => JSON.stringify({ secret, list: [secret] }),
  inspect: (secret) => inspect({ deep: { deeper: { secret } } }, { depth: 9, showHidden: true, getters: true }),
  "console's format": (secret) => format("%s %o %O %j", secret, secret, secret, secret),
  "a log line": (secret) => logLine({ secret, settings: { password: secret } }),
  "an error's details": (secret) => inspect(new FulaError("FULA_USAGE", "no", { details: { secret } }), { depth: 9 }),
  "its own properties": (secret) =>
    JSON.stringify([Object.entries(secret), Object.assign({}, secret), Object.values(secret)]),
};

test.each(Object.entries(WAYS_OUT))("a secret never shows in %s", (_way, show) => {
  fc.assert(
    fc.property(
      fc.string({
        minLength: 12,
        maxLength: 40,
        unit: fc.constantFrom("g", "h", "j", "k", "q", "v", "w", "X", "Y", "Z", "7"),
      }),
      (value) => {
        expect(show(new Secret(value))).not.toContain(value);
      },
    ),
    property(50),
  );
});

test("a secret gives itself out when it is asked to", () => {
  expect(new Secret("s3cret").reveal()).toBe("s3cret");
});
