import { expect, test } from "vitest";
import { chooseRuntime } from "../../../src/lib/stack/join-runtime.ts";
import { overridesOf, parsePostgresUrl } from "../../../src/lib/stack/join-options.ts";

test("a whole URL is taken apart, and its password is kept out of sight", () => {
  const ledger = parsePostgresUrl("postgres://pinning%5Fuser:p%40ss%2Fw%3Ard@db.example:6432/pinning_service");
  expect(ledger).toMatchObject({ host: "db.example", port: 6432, database: "pinning_service", user: "pinning_user" });
  expect(ledger.password?.reveal()).toBe("p@ss/w:rd");
  expect(JSON.stringify(ledger)).not.toContain("p@ss");
});

test("what a URL leaves out is left to the settings", () => {
  expect(parsePostgresUrl("postgresql://db.example")).toEqual({
    host: "db.example",
    port: null,
    database: null,
    user: null,
    password: null,
  });
  expect(overridesOf({}, parsePostgresUrl("postgres://db"))["postgres.port"]?.value).toBeUndefined();
});

test.each([
  ["postgres://u@[2001:db8::1]:5433/x", "2001:db8::1"],
  ["postgres:///x?host=/run/postgresql", "/run/postgresql"],
])("%s names the host %s", (url, host) => {
  expect(parsePostgresUrl(url).host).toBe(host);
});

test.each(["db.example", "mysql://db/x", "postgres:///x", "postgres://db/a/b", "postgres://db/x?sslmode=require"])(
  "%s is refused without repeating a URL that may hold a password",
  (url) => {
    expect(() => parsePostgresUrl(url)).toThrow(expect.objectContaining({ code: "FULA_USAGE" }));
    expect(() => parsePostgresUrl(`${url}secret`)).not.toThrow(/secret/);
  },
);

const docker = { version: "29.0.1", apiVersion: "1.52" };
const none = { absent: "connect ENOENT" };

test("auto is embedded where no Docker Engine answers, and where one does, and says which", () => {
  expect(chooseRuntime({ wanted: "auto", postgresMode: "embedded", docker: none })).toEqual({
    runtime: "embedded",
    reason: "no Docker Engine answers here",
  });
  expect(chooseRuntime({ wanted: "auto", postgresMode: "embedded", docker })).toEqual({
    runtime: "embedded",
    reason: "Docker Engine 29.0.1 answers, but this version does not set up containers",
  });
});

test("the docker runtime is refused, whether an engine answers or not", () => {
  for (const engine of [docker, none]) {
    expect(() => chooseRuntime({ wanted: "docker", postgresMode: "external", docker: engine })).toThrow(
      expect.objectContaining({ code: "FULA_RUNTIME_UNSUPPORTED", kind: "refused" }),
    );
  }
});

test("a named PostgreSQL server makes the runtime external; external without one is refused", () => {
  expect(chooseRuntime({ wanted: "auto", postgresMode: "external", docker: none }).runtime).toBe("external");
  expect(chooseRuntime({ wanted: "external", postgresMode: "external", docker: none }).runtime).toBe("external");
  expect(() => chooseRuntime({ wanted: "external", postgresMode: "embedded", docker: none })).toThrow(/address/);
});
