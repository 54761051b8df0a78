import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { Secret } from "../../../src/lib/kernel/secret.ts";
import { parseDatabaseUrl } from "../../../src/lib/postgres/database-url.ts";
import { property } from "../../support/property.ts";

describe("reading a database URL", () => {
  test.each<readonly [string, object]>([
    ["postgresql://u@h/d", { host: "h", port: 5432, database: "d", user: "u" }],
    [
      "postgres://u@h:6432/d?sslmode=verify-full",
      { host: "h", port: 6432, database: "d", user: "u", tls: "verify-full" },
    ],
    ["postgresql://u@[::1]:5433/d", { host: "::1", port: 5433, database: "d", user: "u" }],
    ["postgresql://u@/d?host=/run/postgresql", { host: "/run/postgresql", port: 5432, database: "d", user: "u" }],
    ["postgresql://a%40b@h/my%20db", { host: "h", port: 5432, database: "my db", user: "a@b" }],
  ])("%s", (text, expected) => {
    expect(parseDatabaseUrl(text)).toEqual(expected);
  });

  test.each([
    "",
    "mysql://u@h/d",
    "postgresql://h/d",
    "postgresql://u@h/",
    "postgresql://u@h/a/b",
    "postgresql://u@h/d?sslmode=prefer",
    "postgresql://u@h/d?options=-c",
    "postgresql://u:%zz@h/d",
  ])("refuses %j", (text) => {
    expect(() => parseDatabaseUrl(text)).toThrow(expect.objectContaining({ code: "FULA_DATABASE_URL" }));
  });

  test("any password survives being encoded, and comes as a secret", () => {
    fc.assert(
      fc.property(fc.string({ unit: "grapheme", minLength: 1 }), (password) => {
        fc.pre(password.isWellFormed());
        const options = parseDatabaseUrl(`postgresql://u:${encodeURIComponent(password)}@h/d`);
        expect(options.password).toBeInstanceOf(Secret);
        expect(options.password?.reveal()).toBe(password);
        expect(JSON.stringify(options)).not.toContain("reveal");
      }),
      property(),
    );
  });

  test("no error repeats the URL, which holds a password", () => {
    for (const text of ["mysql://u:hunter2@h/d", "postgresql://u:hunter2@h/", "postgresql://u:hunter2@h/d?x=1"]) {
      expect(() => parseDatabaseUrl(text)).toThrow(
        expect.objectContaining({ message: expect.not.stringContaining("hunter2") }),
      );
    }
  });
});
