import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { normalizeStatement, splitStatements } from "../../../src/lib/postgres/sql-split.ts";
import { property } from "../../support/property.ts";

function texts(sql: string): readonly string[] {
  return splitStatements(sql).map(({ text }) => text);
}

describe("splitting SQL into statements", () => {
  test.each<readonly [string, string, readonly string[]]>([
    ["two statements", "select 1; select 2;", ["select 1", "select 2"]],
    ["a last one without semicolon", "select 1;\nselect 2", ["select 1", "select 2"]],
    ["nothing but comments", "-- a;\n/* b; */", []],
    ["empty statements", ";;select 1;;", ["select 1"]],
    ["a semicolon in a string", "select ';'; select 2", ["select ';'", "select 2"]],
    ["a doubled quote", "select 'it''s;'; select 2", ["select 'it''s;'", "select 2"]],
    ["an escape string", String.raw`select e'\';'; select 2`, [String.raw`select e'\';'`, "select 2"]],
    ["a backslash in a plain string", String.raw`select '\'; select 2`, [String.raw`select '\'`, "select 2"]],
    ["a name that ends in e before a string", "select the'x\\'; select 2", ["select the'x\\'", "select 2"]],
    ["a quoted name", 'select ";"; select 2', ['select ";"', "select 2"]],
    ["a dollar quote", "do $$ begin; end; $$; select 2", ["do $$ begin; end; $$", "select 2"]],
    ["a tagged dollar quote", "do $a$ $b$; $$; $a$; select 2", ["do $a$ $b$; $$; $a$", "select 2"]],
    ["a parameter, which is no dollar quote", "select $1; select $1$2", ["select $1", "select $1$2"]],
    ["a dollar within a name", "select a$b$; select b$", ["select a$b$", "select b$"]],
    ["a comment with a quote", "select 1 -- it's\n; select 2", ["select 1 -- it's", "select 2"]],
    ["a nested comment", "select 1 /* a /* b; */ c; */; select 2", ["select 1 /* a /* b; */ c; */", "select 2"]],
    ["a rule in parentheses", "create rule r do (a; b); select 2", ["create rule r do (a; b)", "select 2"]],
    ["an unclosed string", "select '; select 2", ["select '; select 2"]],
  ])("sees through %s", (_name, sql, expected) => {
    expect(texts(sql)).toEqual(expected);
  });

  test("gives each statement the line on which its first word stands", () => {
    const sql = "-- head\n\nselect 1;\n\n-- why\nselect\n 2; select 3;\ndo $$\n;\n$$;\nselect 4";
    expect(splitStatements(sql).map(({ line }) => line)).toEqual([3, 6, 7, 8, 11]);
  });

  test("any statements joined by semicolons come apart again", () => {
    const piece = fc.constantFrom(
      "select 1",
      "select ';'",
      "select e'\\';'",
      'select ";"',
      "do $x$ ; $x$",
      "select /* ; */ 2",
      "select 3 -- ;\n + 1",
      "select ($1)",
      "insert into t values ('a''b', $$;$$)",
    );
    const gap = fc.constantFrom(";", " ;\n", ";\n-- between; it's\n", ";/* a ' */");
    fc.assert(
      fc.property(fc.array(fc.tuple(piece, gap), { maxLength: 12 }), (pieces) => {
        expect(texts(pieces.map(([text, end]) => text + end).join(""))).toEqual(pieces.map(([text]) => text));
      }),
      property(),
    );
  });

  test("no text makes it fail, and what it gives stands where it says, in order", () => {
    const noise = fc.string({
      unit: fc.constantFrom("'", '"', "$", "$a$", "-", "/", "*", ";", "\\", "e", "\n", " ", "(", ")"),
    });
    fc.assert(
      fc.property(noise, (sql) => {
        const lines = sql.split("\n");
        let last = 1;
        for (const { text, line } of splitStatements(sql)) {
          expect(line).toBeGreaterThanOrEqual(last);
          const at = lines
            .slice(line - 1)
            .join("\n")
            .indexOf(text);
          expect(at).toBeGreaterThanOrEqual(0);
          expect(at).toBeLessThanOrEqual(lines[line - 1]?.length ?? -1);
          last = line;
        }
      }),
      property(2_000),
    );
  });
});

test("a normalized statement has no comments and single spaces, and its strings as they were", () => {
  expect(normalizeStatement("create -- why\n  index /* x */ i\n on t ('a  -- b')")).toBe(
    "create index i on t ('a  -- b')",
  );
});
