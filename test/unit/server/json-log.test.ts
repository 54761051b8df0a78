import { expect, test } from "vitest";
import { z } from "zod";
import { FulaError } from "../../../src/lib/kernel/errors.ts";
import type { Log } from "../../../src/lib/kernel/log.ts";
import { Secret } from "../../../src/lib/kernel/secret.ts";
import { createJsonLog, type LogLevel } from "../../../src/lib/server/json-log.ts";

const record = z.record(z.string(), z.unknown());

function capture(level: LogLevel): { readonly log: Log; readonly lines: string[] } {
  const lines: string[] = [];
  const destination = { write: (line: string) => lines.push(line) };
  return { log: createJsonLog({ level, base: { node: "box-1" }, destination }), lines };
}

function only(lines: readonly string[]): Record<string, unknown> {
  expect(lines).toHaveLength(1);
  return record.parse(JSON.parse(lines[0] ?? ""));
}

test("an event is one JSON line with its level, time, node and fields", () => {
  const { log, lines } = capture("info");
  log.child({ listener: "gateway" }).info("http.request", { status: 200, text: "two\nlines" });
  expect(only(lines)).toEqual({
    level: "info",
    time: expect.stringMatching(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/),
    node: "box-1",
    listener: "gateway",
    status: 200,
    text: "two\nlines",
    event: "http.request",
  });
  expect(lines[0]?.split("\n")).toHaveLength(2);
});

test.each([
  ["debug", ["debug", "info", "warn", "error"]],
  ["warn", ["warn", "error"]],
  ["error", ["error"]],
] as const)("at level %s only %j are written", (level, written) => {
  const { log, lines } = capture(level);
  log.debug("a");
  log.info("a");
  log.warn("a");
  log.error("a");
  expect(lines.map((line) => record.parse(JSON.parse(line))["level"])).toEqual(written);
});

test("a secret is masked wherever it stands", () => {
  const { log, lines } = capture("info");
  const secret = new Secret("hunter2");
  log.info("a", { secret, nested: { list: [secret] }, text: String(secret) });
  expect(lines.join("")).not.toContain("hunter2");
  expect(only(lines)).toMatchObject({ secret: "****", nested: { list: ["****"] }, text: "****" });
});

test("an error of ours has code and hint, a bug its stack, and each its cause", () => {
  const { log, lines } = capture("info");
  const cause = new Error("ECONNREFUSED");
  log.error("a", { error: new FulaError("FULA_DATABASE_UNREACHABLE", "It is away.", { hint: "look.", cause }) });
  expect(only(lines)["error"]).toMatchObject({
    code: "FULA_DATABASE_UNREACHABLE",
    message: "It is away.",
    hint: "look.",
    cause: { message: "ECONNREFUSED", stack: expect.stringContaining("json-log.test") },
  });
});
