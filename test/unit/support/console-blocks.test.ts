import { tmpdir } from "node:os";
import { describe, expect, test } from "vitest";
import { tempDir } from "../../support/temp-dir.ts";
import { differenceOf, parseConsoleBlocks, runConsoleSteps, sectionOf } from "../../support/console-blocks.ts";

const run = { cwd: tmpdir(), env: { PATH: process.env["PATH"] ?? "" }, timeoutMs: 50_000 };
const fence = "```";

function consoleBlock(body: string): string {
  return `# T\n\n${fence}console\n${body}\n${fence}\n`;
}

function steps(body: string) {
  return parseConsoleBlocks(consoleBlock(body));
}

describe("reading a document", () => {
  test("commands, their output and their exit code are told apart", () => {
    expect(parseConsoleBlocks(consoleBlock("$ true\n$ ls \\\n> -l\ntotal …\n…\n\n$ false\nno\n# exit 1"))).toEqual([
      { line: 4, command: "true", expected: [], exitCode: 0 },
      { line: 5, command: "ls \\\n-l", expected: ["total …", "…"], exitCode: 0 },
      { line: 10, command: "false", expected: ["no"], exitCode: 1 },
    ]);
  });

  test("an sh block is one command whose output is not looked at; other blocks are left out", () => {
    const markdown = `${fence}sh\ncd /\nls\n${fence}\n${fence}js\n$ no()\n${fence}\n`;
    expect(parseConsoleBlocks(markdown)).toEqual([{ line: 2, command: "cd /\nls", expected: null, exitCode: 0 }]);
  });

  test("a block that begins with output, or never ends, is an error in the document", () => {
    expect(() => parseConsoleBlocks(consoleBlock("hello"))).toThrow(/Line 4/);
    expect(() => parseConsoleBlocks(`${fence}console\n$ true\n`)).toThrow(/does not end/);
  });

  test("a section ends where the next heading of its level begins, and keeps its line numbers", () => {
    const markdown = `# A\n## Tour\n${fence}console\n$ a\n# exit 0\n${fence}\n### Sub\n## Next\n${fence}console\n$ b\n${fence}\n`;
    expect(parseConsoleBlocks(sectionOf(markdown, /Tour/))).toEqual([
      { line: 4, command: "a", expected: [], exitCode: 0 },
    ]);
    expect(() => sectionOf(markdown, /Absent/)).toThrow(/No heading/);
  });
});

describe("comparing output", () => {
  test.each<[string, string[], string]>([
    ["the same lines", ["a", "b"], "a\nb\n"],
    ["something within a line", ["id … made in …ms"], "id 7 made in 12ms\n"],
    ["any number of lines", ["a", "…", "z"], "a\nb\nc\nz\n"],
    ["no line at all", ["a", "…", "z"], "a\nz\n"],
    ["lines after the last", ["a", "…"], "a\nb\nc"],
    ["a marker that comes twice", ["…", "b", "c"], "a\nb\nb\nc"],
    ["nothing", [], ""],
    ["styles", ["red"], "\u001b[31mred\u001b[39m\n"],
    ["a line that was drawn over", ["done"], "50 %\rdone\n"],
  ])("%s agrees", (_what, expected, output) => {
    expect(differenceOf(expected, output)).toBeNull();
  });

  test.each<[string, string[], string]>([
    ["another line", ["a"], "b"],
    ["a line too many", ["a"], "a\nb"],
    ["a line too few", ["a", "b"], "a"],
    ["output where none is expected", [], "a"],
    ["another order", ["…", "b", "a"], "a\nb"],
    ["a part of a line only", ["ab"], "abc"],
    ["overlapping ends", ["ab…bc"], "abc"],
    ["a middle that is missing", ["a…x…c"], "abc"],
    ["a last line that is missing", ["a", "…", "z"], "a\nb"],
  ])("%s differs", (_what, expected, output) => {
    expect(differenceOf(expected, output)).toEqual(expect.any(String));
  });
});

describe("running", () => {
  test("variables and the directory go from one command to the next", async () => {
    await runConsoleSteps(steps('$ export NAME="a b"; cd /\n$ echo "$NAME in $PWD"\na b in /'), run);
  });

  test("stderr is shown as in a terminal", async () => {
    await runConsoleSteps(steps("$ echo oops >&2; exit 3\noops\n# exit 3"), run);
  });

  test("another output fails, and the report names line, command and what was printed", async () => {
    await expect(runConsoleSteps(steps("$ echo good\nbad"), run)).rejects.toThrow(
      /line 4: \$ echo good[^]*"bad"[^]*good/,
    );
  });

  test("another exit code fails even where the output agrees", async () => {
    await expect(runConsoleSteps(steps("$ echo a; false\na"), run)).rejects.toThrow(/exit code 1, expected 0/);
    await expect(runConsoleSteps(steps("$ echo a\na\n# exit 1"), run)).rejects.toThrow(/exit code 0, expected 1/);
  });

  test("a command of an sh block that fails, fails", async () => {
    await expect(runConsoleSteps(parseConsoleBlocks(`${fence}sh\nfalse\n${fence}\n`), run)).rejects.toThrow(
      /exit code 1/,
    );
  });

  test("a command that hangs is ended and named", async () => {
    await expect(runConsoleSteps(steps("$ sleep 60"), { ...run, timeoutMs: 200 })).rejects.toThrow(/sleep 60\nkilled/);
  });

  test("a command that only looks is typed again until it prints what the document says, and no other is", async () => {
    const text = "$ rm -f looked\n$ test -e looked || { touch looked; exit 1; }\n$ rm looked";
    const dir = { ...run, cwd: tempDir() };
    const again = { looks: /^test /, withinMs: 50_000 };
    await runConsoleSteps(steps(text), { ...dir, again });
    await expect(runConsoleSteps(steps(text), { ...dir, again: { ...again, looks: /^rm / } })).rejects.toThrow(
      /exit code 1/,
    );
  });

  test("a background process that outlives its command does not hold the next one up", async () => {
    await runConsoleSteps(steps("$ sleep 2 & echo $!\n…\n$ echo next\nnext"), run);
  });
});
