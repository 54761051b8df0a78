import { execFileSync } from "node:child_process";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { composeReads, envFileValues, parseEnvFile, renderEnvValue } from "../../../src/lib/config/env-syntax.ts";
import { property } from "../../support/property.ts";
import { tempDir } from "../../support/temp-dir.ts";

// The characters that some reader of .env files treats in its own way come far more often than by chance.
const anyValue = fc
  .array(
    fc.oneof(
      fc.constantFrom(
        "'",
        '"',
        "`",
        "$",
        "\\",
        "#",
        " ",
        "\n",
        "\r",
        "\r\n",
        "\t",
        "=",
        "!",
        "~",
        "*",
        "$(touch pwned)",
        ..."${HOME}|`touch pwned`|\\n|\\$|';touch pwned;'|é|漢|😀|\u{2028}|\u{7f}|\u{1}|export A=1".split("|"),
      ),
      fc.string({ unit: "binary", maxLength: 4 }),
    ),
    { maxLength: 12 },
  )
  .map((parts) => parts.join("").replaceAll("\0", ""));

function readWithBash(dir: string, text: string): ReadonlyMap<string, string> {
  writeFileSync(join(dir, ".env"), text);
  const output = execFileSync("bash", ["--norc", "--noprofile", "-c", "set -a; . ./.env; env -0"], {
    stdio: ["ignore", "pipe", "inherit"],
    cwd: dir,
    env: { PATH: process.env["PATH"], LC_ALL: "C.UTF-8" },
  });
  const pairs = output.toString("utf8").split("\0");
  return new Map(pairs.map((pair) => [pair.slice(0, pair.indexOf("=")), pair.slice(pair.indexOf("=") + 1)] as const));
}

describe("a rendered value", () => {
  test("comes back to the last character through our parser, whatever stands around it", () => {
    fc.assert(
      fc.property(fc.array(anyValue, { minLength: 1, maxLength: 6 }), (values) => {
        const text = values.map((value, index) => `# comment ${index}\nV${index}=${renderEnvValue(value)}\n`).join("");
        const file = parseEnvFile(text);
        expect(file.assignments.map(({ value }) => value)).toEqual(values);
        expect(file.stray).toEqual([]);
      }),
      property(2_000),
    );
  });

  test("comes back to the last character through bash, which executes nothing", () => {
    const dir = tempDir();
    fc.assert(
      fc.property(fc.array(anyValue, { minLength: 200, maxLength: 250 }), (values) => {
        const text = values.map((value, index) => `V${index}=${renderEnvValue(value)}\n`).join("");
        const seen = readWithBash(dir, text);
        expect(values.map((_, index) => seen.get(`V${index}`))).toEqual(values);
        expect(seen.has("A")).toBe(false);
      }),
      property(8),
    );
    expect(execFileSync("ls", ["-A", dir], { encoding: "utf8" })).toBe(".env\n");
  });

  test.each([
    ["3f2a", "3f2a", "hex needs no quotes, so that the fleet's own installer reads it as well"],
    ["", "", "an empty value"],
    ["pa$$ #w`d", "'pa$$ #w`d'", "single quotes expand nothing, for bash and for Compose"],
    ["it's", `"it's"`, "a single quote cannot stand in single quotes"],
    ["a'$b\"c\\d", `"a'\\$b\\"c\\\\d"`, "escapes that bash and Compose share"],
    ["ends\\", `"ends\\\\"`, "Compose would take \\' at the end for an escaped quote"],
    ["a'`", `'a'\\''\`'`, "bash only: Compose stops at it with an error"],
    ["two\nlines", "'two\nlines'", "newlines stand in the quotes"],
  ])("%j is written as %j: %s", (value, rendered) => {
    expect(renderEnvValue(value)).toBe(rendered);
  });

  test.each(["a`'", "`\\"])("%j is known as one that Compose cannot read", (value) => {
    expect(composeReads(value)).toBe(false);
  });

  test.each([
    ["a\0b", "NUL"],
    ["\ud83d", "surrogate"],
  ])("%j is refused, because no environment can hold it", (value, why) => {
    expect(() => renderEnvValue(value, "SYSTEM_KEY")).toThrow(
      expect.objectContaining({ code: "FULA_ENV_VALUE", message: expect.stringContaining(why) }),
    );
    expect(() => renderEnvValue(value, "SYSTEM_KEY")).toThrow(/SYSTEM_KEY/);
  });
});

describe("a file that people wrote", () => {
  test.each([
    ["A=b c", "b c", "without quotes the whole line counts, as for the fleet's installer"],
    ["A=pa#ss", "pa#ss", "a # inside a word is no comment"],
    ["A=pass # rotated in May", "pass", "a comment after a blank"],
    ["A=it's", "it's", "a quote inside a word is a character"],
    ["A=$HOME`id`", "$HOME`id`", "nothing is expanded"],
    ["  export   A='x'  # why", "x", "export and indentation"],
    ["A='x'\r", "x", "CRLF"],
    ["A=x\r", "x", "CRLF without quotes"],
    ['A="a\\$b\\n"', "a$b\\n", "double quotes as in bash: \\n stays two characters"],
    ['A="a\\\nb"', "ab", "a backslash joins two lines"],
    ["A='a'\"b\"c", "abc", "stretches side by side are one word"],
    ["A= x", "x", "a blank after the ="],
    ["A=", "", "empty"],
  ])("%j gives %j: %s", (text, value) => {
    expect(parseEnvFile(`${text}\n`).assignments).toMatchObject([{ name: "A", value, line: 1 }]);
    expect(parseEnvFile(text).assignments).toMatchObject([{ name: "A", value, line: 1 }]);
  });

  test("the last of two lines for one name is in force", () => {
    const file = parseEnvFile("A=1\nB=2\nA=3\n");
    expect(envFileValues(file).get("A")).toMatchObject({ value: "3", line: 3 });
  });

  test("lines are counted across values of several lines", () => {
    expect(parseEnvFile("A='1\n2\n'\n\n# c\nB=3\n").assignments).toMatchObject([{ line: 1 }, { name: "B", line: 6 }]);
  });

  test("a line that is no assignment is told with its number and stops nothing", () => {
    const { assignments, stray } = parseEnvFile("A=1\nSYSTEM_KEY: abc\nB=2\n");
    expect(stray).toEqual([{ line: 2, text: "SYSTEM_KEY: abc" }]);
    expect(assignments).toHaveLength(2);
  });

  test.each([
    ["A=1\nB='open\nC=2\n", /Line 2 .* single quote that is never closed/],
    ['A="open', /Line 1 .* double quote that is never closed/],
    ["\nA='x' y\n", /Line 2 .* goes on after the closing quote/],
  ])("%j is refused with its line", (text, message) => {
    expect(() => parseEnvFile(text)).toThrow(
      expect.objectContaining({ code: "FULA_ENV_FILE_SYNTAX", message: expect.stringMatching(message) }),
    );
  });
});
