import { spawn } from "node:child_process";
import { once } from "node:events";
import { lstatSync, mkdirSync, readdirSync, readFileSync, statSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import fc from "fast-check";
import { describe, expect, onTestFinished, test } from "vitest";
import { mergeEnvFile, mergeEnvText } from "../../../src/lib/config/env-file.ts";
import { envFileValues, parseEnvFile } from "../../../src/lib/config/env-syntax.ts";
import { Secret } from "../../../src/lib/kernel/secret.ts";
import { property } from "../../support/property.ts";
import { tempDir } from "../../support/temp-dir.ts";

// What an operator of the existing fleet has in the file, as defect 23 lost it: everything but thirteen names.
const OPERATORS_FILE = `# our master, see ticket 4711
POSTGRES_HOST=10.0.0.7

export ETHERSCAN_API_KEY='abc'   # Ana's account
DEDUCTION_INTERVAL_MS=900000\r
ENCRYPTION_KEY=0011
  # indented comment
ODD LINE
JWT_SECRET=
SYSTEM_KEY="old key"`;

const anyLine = fc.oneof(
  fc.constantFrom(
    "",
    "# a comment",
    "export X='1'",
    "Y=2\r",
    'Z="three" # why',
    "not an assignment",
    "JWT_SECRET=",
    "JWT_SECRET=kept",
    "  A = b",
  ),
  fc.stringMatching(/^[A-Z]{1,3}=[a-z0-9 ]{0,5}$/),
);

describe("merging into an .env file", () => {
  test("keeps every line of an operator: names we do not know, comments, blanks, export, CRLF, order", () => {
    const { text, report } = mergeEnvText(OPERATORS_FILE, {
      JWT_SECRET: "fresh",
      SYSTEM_KEY: "new",
      SESSION_SECRET: "s",
    });
    expect(text).toBe(`${OPERATORS_FILE.replace("JWT_SECRET=", "JWT_SECRET=fresh")}\nSESSION_SECRET=s\n`);
    expect(report).toEqual({
      added: ["JWT_SECRET", "SESSION_SECRET"],
      updated: [],
      kept: ["SYSTEM_KEY"],
      changed: true,
    });
  });

  test("a second run changes nothing, and a secret that is there is never replaced", () => {
    const values = { JWT_SECRET: new Secret("a'b`c"), SYSTEM_KEY: new Secret("x y") };
    const first = mergeEnvText("", values);
    const second = mergeEnvText(first.text, { JWT_SECRET: "other", SYSTEM_KEY: "other" });
    expect(second.text).toBe(first.text);
    expect(second.report).toMatchObject({ kept: ["JWT_SECRET", "SYSTEM_KEY"], changed: false });
  });

  test("with overwrite a value is replaced in its line, which keeps its export and its comment", () => {
    const { text, report } = mergeEnvText(
      OPERATORS_FILE,
      { ETHERSCAN_API_KEY: "x'y", SYSTEM_KEY: "old key" },
      { overwrite: true },
    );
    expect(text).toBe(OPERATORS_FILE.replace("='abc'", `="x'y"`));
    expect(report).toMatchObject({ updated: ["ETHERSCAN_API_KEY"], kept: ["SYSTEM_KEY"] });
  });

  test("of two lines with one name the one in force is changed", () => {
    expect(mergeEnvText("A=1\nA=2\n", { A: "3" }, { overwrite: true }).text).toBe("A=1\nA=3\n");
  });

  test("whatever the file holds, all its other lines survive in order and the merged values are in force", () => {
    fc.assert(
      fc.property(
        fc.array(anyLine),
        fc.boolean(),
        fc.string({ unit: "grapheme" }).filter((value) => !value.includes("\0")),
        (lines, overwrite, value) => {
          const before = lines.join("\n");
          const { text } = mergeEnvText(before, { JWT_SECRET: value, NEW_NAME: value }, { overwrite });
          const others = (each: string): string[] =>
            each.split("\n").filter((line) => line !== "" && !line.startsWith("JWT_SECRET="));
          expect(others(text).slice(0, others(before).length)).toEqual(others(before));
          const had = envFileValues(parseEnvFile(before)).get("JWT_SECRET")?.value ?? "";
          expect(envFileValues(parseEnvFile(text)).get("JWT_SECRET")?.value).toBe(
            had === "" || overwrite ? value : had,
          );
          expect(envFileValues(parseEnvFile(text)).get("NEW_NAME")?.value).toBe(value);
        },
      ),
      property(500),
    );
  });

  test("a line that was meant as the secret, but is none, is not hidden behind a second one", () => {
    expect(() => mergeEnvText("A=1\nJWT_SECRET: abc\n", { JWT_SECRET: "x" })).toThrow(
      expect.objectContaining({ code: "FULA_ENV_FILE_SYNTAX", message: expect.stringContaining("Line 2") }),
    );
  });

  test("a NUL is refused and the file stays as it was", async () => {
    const path = join(tempDir(), ".env");
    writeFileSync(path, "A=1\n");
    await expect(mergeEnvFile(path, { B: "x", C: "a\0b" })).rejects.toMatchObject({ code: "FULA_ENV_VALUE" });
    expect(readFileSync(path, "utf8")).toBe("A=1\n");
  });
});

describe("the file on the disk", () => {
  test("is created with mode 0600 even under a umask that hides nothing", async () => {
    const before = process.umask(0);
    onTestFinished(() => void process.umask(before));
    const path = join(tempDir(), "base", ".env");
    await mergeEnvFile(path, { JWT_SECRET: new Secret("a b") });
    expect(statSync(path).mode & 0o777).toBe(0o600);
    expect(statSync(join(path, "..")).mode & 0o777).toBe(0o700);
    expect(readFileSync(path, "utf8")).toMatch(/^# Secrets.*\nJWT_SECRET='a b'\n$/);
  });

  test.each([
    ["changed", { NEW: "1" }],
    ["left as it is", { A: "2" }],
  ])("loses the rights of others when it is %s", async (_, values) => {
    const path = join(tempDir(), ".env");
    writeFileSync(path, "A=1\n", { mode: 0o644 });
    await mergeEnvFile(path, values);
    expect(statSync(path).mode & 0o777).toBe(0o600);
  });

  test("a dry run tells the same and writes nothing, not even a lock", async () => {
    const dir = tempDir();
    const path = join(dir, "base", ".env");
    const planned = await mergeEnvFile(path, { JWT_SECRET: "x" }, { dryRun: true });
    expect(readdirSync(dir)).toEqual([]);
    expect(await mergeEnvFile(path, { JWT_SECRET: "x" })).toEqual(planned);
  });

  test("behind a symbolic link is changed, and the link stays", async () => {
    const dir = tempDir();
    const target = join(dir, "managed.env");
    writeFileSync(target, "A=1\n");
    mkdirSync(join(dir, "base"));
    symlinkSync(target, join(dir, "base", ".env"));
    await mergeEnvFile(join(dir, "base", ".env"), { B: "2" });
    expect(readFileSync(target, "utf8")).toBe("A=1\nB=2\n");
    expect(lstatSync(join(dir, "base", ".env")).isSymbolicLink()).toBe(true);
  });

  test("gets the lines of all mergers that run at once, in this process", async () => {
    const path = join(tempDir(), ".env");
    const names = Array.from({ length: 12 }, (_, index) => `NAME${index}`);
    await Promise.all(names.map(async (name) => mergeEnvFile(path, { [name]: name })));
    const found = envFileValues(parseEnvFile(readFileSync(path, "utf8")));
    expect(names.filter((name) => found.get(name)?.value !== name)).toEqual([]);
  });

  test("gets the lines of all mergers that run at once, in other processes", async () => {
    const path = join(tempDir(), ".env");
    const script = join(import.meta.dirname, "..", "..", "support", "children", "merge-env.ts");
    const children = ["A", "B", "C"].map((prefix) =>
      spawn(process.execPath, [script, path, prefix, "8"], { stdio: ["ignore", "ignore", "inherit"] }),
    );
    const codes = await Promise.all(children.map(async (child) => (await once(child, "exit"))[0] as unknown));
    expect(codes).toEqual([0, 0, 0]);
    const { assignments, stray } = parseEnvFile(readFileSync(path, "utf8"));
    expect(stray).toEqual([]);
    expect(assignments).toHaveLength(24);
    expect(assignments.filter(({ name, value }) => value !== `value of ${name}`)).toEqual([]);
  });
});
