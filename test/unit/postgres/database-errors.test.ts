import { DatabaseError } from "pg";
import { describe, expect, test } from "vitest";
import { FulaError } from "../../../src/lib/kernel/errors.ts";
import { explainDatabaseError, formatTarget, isConnectionLoss } from "../../../src/lib/postgres/database-errors.ts";

const TARGET = { host: "db.example.org", port: 5432, database: "pinning_service", user: "pinning_user" };

function server(code: string, message = "server says no"): DatabaseError {
  return Object.assign(new DatabaseError(message, message.length, "error"), { code });
}

function system(code: string): Error {
  return Object.assign(new Error(`connect ${code}`), { code });
}

describe("what pg throws, in an operator's words", () => {
  test.each<readonly [string, unknown, string]>([
    ["a closed port", system("ECONNREFUSED"), "FULA_DATABASE_UNREACHABLE"],
    ["a name that does not resolve", system("ENOTFOUND"), "FULA_DATABASE_UNREACHABLE"],
    [
      "both addresses of a name closed",
      new AggregateError([system("ECONNREFUSED"), system("ECONNREFUSED")]),
      "FULA_DATABASE_UNREACHABLE",
    ],
    ["a connection cut in the middle", new Error("Connection terminated unexpectedly"), "FULA_DATABASE_UNREACHABLE"],
    ["no answer in time", new Error("timeout exceeded when trying to connect"), "FULA_DATABASE_UNREACHABLE"],
    ["a server that starts", server("57P03"), "FULA_DATABASE_UNREACHABLE"],
    ["a server that shuts down", server("57P01"), "FULA_DATABASE_UNREACHABLE"],
    ["no free connection", server("53300"), "FULA_DATABASE_UNREACHABLE"],
    ["a wrong password", server("28P01"), "FULA_DATABASE_LOGIN"],
    ["a role that may not log in", server("28000"), "FULA_DATABASE_LOGIN"],
    ["no such database", server("3D000"), "FULA_DATABASE_LOGIN"],
    [
      "no password at all",
      new Error("SASL: SCRAM-SERVER-FIRST-MESSAGE: client password must be a string"),
      "FULA_DATABASE_LOGIN",
    ],
    ["a table of another owner", server("42501", "must be owner of table pins"), "FULA_DATABASE_PERMISSION"],
    ["a standby", server("25006"), "FULA_DATABASE_READ_ONLY"],
  ])("%s", (_name, error, code) => {
    const explained = explainDatabaseError(error, TARGET);
    expect(explained).toBeInstanceOf(FulaError);
    expect(explained).toMatchObject({ code, message: expect.stringContaining("pinning"), hint: expect.any(String) });
  });

  test.each<readonly [string, unknown]>([
    ["a violated constraint", server("23505")],
    ["a bug of ours", new TypeError("undefined is not a function")],
    ["an error that is explained already", new FulaError("FULA_LOCKED", "x")],
  ])("leaves %s as it is", (_name, error) => {
    expect(explainDatabaseError(error, TARGET)).toBe(error);
    expect(isConnectionLoss(error)).toBe(false);
  });

  test("an IPv6 address is bracketed", () => {
    expect(formatTarget({ ...TARGET, host: "::1" })).toBe("pinning_service at [::1]:5432");
  });
});
