import { InvalidArgumentError } from "commander";
import { describe, expect, test } from "vitest";
import { FulaError } from "../../src/lib/kernel/errors.ts";
import { type CommandSpec, defineCommand } from "../../src/lib/terminal/command.ts";
import { type CliTestOptions, runCliForTest } from "../support/cli.ts";

interface ShowOptions {
  readonly keep?: number;
  readonly mode?: string;
  readonly dryRun?: boolean;
  readonly yes?: boolean;
}

function parseCount(value: string): number {
  if (!/^\d+$/.test(value)) throw new InvalidArgumentError("A whole number is needed.");
  return Number(value);
}

const showCommand = defineCommand<ShowOptions>({
  name: "show",
  aliases: ["display"],
  summary: "show what was given",
  description: "Shows what it was given. Reads only.",
  examples: [{ command: "fula-master show a.txt --keep 3", explains: "Shows three." }],
  arguments: [{ name: "file", description: "what to show", required: true }],
  options: [
    { flags: "--keep <count>", description: "how many", parse: parseCount },
    { flags: "--mode <mode>", description: "how", choices: ["fast", "slow"], default: "fast" },
  ],
  changes: true,
  asks: true,
  run: async ({ out, globals }, options, args) => {
    out.note("a remark");
    out.result(
      { options: { keep: options.keep, mode: options.mode, dryRun: options.dryRun }, args, globals },
      () => "shown",
    );
  },
});

function failing(name: string, error: unknown): CommandSpec {
  return defineCommand({
    name,
    summary: name,
    description: name,
    examples: [],
    run: () => Promise.reject(error),
  });
}

const COMMANDS: readonly CommandSpec[] = [
  showCommand,
  {
    name: "key",
    summary: "keys",
    description: "Keys.",
    examples: [{ command: "fula-master key create", explains: "Makes one." }],
    subcommands: [{ ...failing("create", new Error("not reached")), aliases: ["new"] }, failing("revoke", null)],
  },
  {
    ...defineCommand<ShowOptions>({
      name: "box",
      summary: "box",
      description: "box",
      examples: [],
      options: [{ flags: "--mode <mode>", description: "how", default: "fast" }],
      run: async ({ out }, options) => out.result({ ran: "box", options }, () => "box"),
    }),
    subcommands: [
      defineCommand({
        name: "list",
        summary: "list",
        description: "list",
        examples: [],
        run: async ({ out }, options) => out.result({ ran: "list", options }, () => "list"),
      }),
    ],
  },
  defineCommand({ name: "bad", summary: "bad", description: "bad", examples: [], run: async () => 1 }),
  failing(
    "refuse",
    new FulaError("FULA_LOCKED", "Held by\u001b[2J 7.", {
      hint: "wait.",
      details: { pid: 7 },
      cause: new Error("why"),
    }),
  ),
  failing("crash", new TypeError("undefined is no function")),
  failing("unavailable", new FulaError("FULA_DISK_FULL", "Full.")),
  defineCommand({
    name: "ask",
    summary: "ask",
    description: "ask",
    examples: [],
    asks: true,
    run: async ({ out }, options: { readonly yes?: boolean }) => {
      await out.confirm("Remove 3 pins?", options.yes === true);
      out.result({ removed: 3 }, () => "removed");
    },
  }),
];

async function run(argv: readonly string[], options: CliTestOptions = {}) {
  return await runCliForTest(argv, { commands: COMMANDS, ...options });
}

describe("what was typed wrong", () => {
  test.each([
    [["shwo"], '"shwo" is no command of fula-master.', "fula-master show, or fula-master --help for the list."],
    [
      ["shwo", "--keep", "3"],
      '"shwo" is no command of fula-master.',
      "fula-master show, or fula-master --help for the list.",
    ],
    [["postgres"], '"postgres" is no command of fula-master.', "fula-master --help"],
    [
      ["key", "creat"],
      '"creat" is no command of fula-master key.',
      "fula-master key create, or fula-master key --help for the list.",
    ],
    [
      ["key", "creat", "--x"],
      '"creat" is no command of fula-master key.',
      "fula-master key create, or fula-master key --help for the list.",
    ],
    [
      ["show", "a", "--kep", "3"],
      "fula-master show has no option --kep.",
      "--keep, or fula-master show --help for the list.",
    ],
    [
      ["show", "a", "--dry"],
      "fula-master show has no option --dry.",
      "--dry-run, or fula-master show --help for the list.",
    ],
    [
      ["show", "a", "--kep=3"],
      "fula-master show has no option --kep.",
      "--keep, or fula-master show --help for the list.",
    ],
    [["show", "a", "-z"], "fula-master show has no option -z.", "fula-master show --help"],
    [["--jsno"], "fula-master has no option --jsno.", "--json, or fula-master --help for the list."],
    [["show"], "fula-master show needs <file>.", "fula-master show --help"],
    [
      ["show", "a", "b"],
      'fula-master show: too many arguments for "show". Expected 1 argument but got 2: a, b.',
      "fula-master show --help",
    ],
    [["show", "a", "--keep"], 'fula-master show: option "--keep <count>" argument missing.', "fula-master show --help"],
    [
      ["show", "a", "--keep", "many"],
      'fula-master show: option "--keep <count>" argument "many" is invalid. A whole number is needed.',
      "fula-master show --help",
    ],
    [
      ["show", "a", "--mode", "odd"],
      'fula-master show: option "--mode <mode>" argument "odd" is invalid. Allowed choices are fast, slow.',
      "fula-master show --help",
    ],
  ])("%j is answered with the reason and the next thing to type", async (argv, message, hint) => {
    expect(await run(argv)).toEqual({ exitCode: 2, stdout: "", stderr: `FULA_USAGE: ${message}\n  Try: ${hint}\n` });
  });

  test("with --json the answer is one JSON document, wherever --json stands", async () => {
    for (const argv of [["shwo", "--json"], ["--json", "shwo"], ["show", "--json"], ["--json"]]) {
      const { exitCode, stdout, stderr } = await run(argv);
      expect({ exitCode, stdout }).toEqual({ exitCode: 2, stdout: "" });
      expect(JSON.parse(stderr)).toMatchObject({ error: { code: "FULA_USAGE", exitCode: 2 } });
    }
    expect(JSON.parse((await run(["shwo", "--json"])).stderr)).toMatchObject({
      error: { details: { command: "fula-master", unknown: "shwo", nearest: "show" } },
    });
  });
});

describe("help", () => {
  test.each([[[]], [["key"]]])("%j alone is help on stderr and a usage error", async (argv) => {
    const { exitCode, stdout, stderr } = await run(argv);
    expect({ exitCode, stdout }).toEqual({ exitCode: 2, stdout: "" });
    expect(stderr).toContain("Usage: fula-master");
    expect(stderr).toContain("Examples:");
  });

  test.each([[["help", "show"]], [["show", "--help"]], [["show", "-h"]], [["display", "--help"]]])(
    "%j is the command's help on stdout",
    async (argv) => {
      const { exitCode, stdout, stderr } = await run(argv);
      expect({ exitCode, stderr }).toEqual({ exitCode: 0, stderr: "" });
      for (const part of [
        "Usage: fula-master show",
        "Shows what it was given. Reads only.",
        "--keep <count>",
        "--dry-run",
        "-y, --yes",
        "Options of every command:",
        "--json",
        "--base-dir <dir>",
        "$ fula-master show a.txt --keep 3\n      Shows three.",
      ]) {
        expect(stdout).toContain(part);
      }
    },
  );

  test("the list of commands names every one, and the exit codes", async () => {
    const { stdout } = await run(["--help"]);
    for (const { name, summary } of COMMANDS) expect(stdout).toMatch(new RegExp(`^ {2}${name}\\b.*${summary}$`, "m"));
    expect(stdout).toContain("Exit codes: 0 done, 1 a check came out bad");
  });

  test("on a narrow terminal no line is longer than it", async () => {
    const { stdout } = await run(["show", "--help"], { terminalColumns: 60, env: { NO_COLOR: "1" } });
    const ofCommander = stdout.slice(0, stdout.indexOf("Examples:"));
    expect(Math.max(...ofCommander.split("\n").map((line) => line.length))).toBeLessThanOrEqual(60);
  });
});

describe("results and remarks", () => {
  test("the result goes to stdout and remarks to stderr", async () => {
    expect(await run(["show", "a"])).toEqual({ exitCode: 0, stdout: "shown\n", stderr: "a remark\n" });
  });

  test("--quiet leaves only the result", async () => {
    expect(await run(["show", "a", "--quiet"])).toEqual({ exitCode: 0, stdout: "shown\n", stderr: "" });
  });

  test("--json makes the result one document", async () => {
    const { stdout } = await run(["show", "a", "--json", "--keep", "3", "--dry-run"]);
    expect(JSON.parse(stdout)).toMatchObject({ options: { keep: 3, mode: "fast", dryRun: true }, args: ["a"] });
  });

  test("global options may stand before the command, behind it, or both; the nearer one wins", async () => {
    const before = await run(["--json", "--base-dir", "/a", "-q", "show", "x"]);
    expect(JSON.parse(before.stdout)).toMatchObject({ globals: { json: true, quiet: true, baseDir: "/a" } });
    const both = await run(["--base-dir", "/a", "show", "x", "--json", "--base-dir", "/b", "--config", "c.yaml"]);
    expect(JSON.parse(both.stdout)).toMatchObject({ globals: { baseDir: "/b", config: "c.yaml", verbose: false } });
  });

  test("a command that has subcommands runs by itself, too, and keeps its options to itself", async () => {
    expect(JSON.parse((await run(["box", "--json"])).stdout)).toEqual({
      ran: "box",
      options: { json: true, mode: "fast" },
    });
    expect(JSON.parse((await run(["box", "--json", "list"])).stdout)).toEqual({ ran: "list", options: { json: true } });
  });

  test("an exit code that a command returns is the exit code of the run", async () => {
    expect((await run(["bad"])).exitCode).toBe(1);
  });

  test("--version prints the version, and with --json as JSON", async () => {
    const { stdout } = await run(["-V"]);
    expect(stdout).toMatch(/^\d+\.\d+\.\d+\S*\n$/);
    expect(JSON.parse((await run(["--version", "--json"])).stdout)).toEqual({ version: stdout.trim() });
  });
});

describe("errors", () => {
  test("a refusal names code, reason and what to do, and a terminal obeys nothing in it", async () => {
    expect(await run(["refuse"])).toEqual({
      exitCode: 3,
      stdout: "",
      stderr: "FULA_LOCKED: Held by\u{fffd}[2J 7.\n  Try: wait.\n",
    });
  });

  test("only --verbose shows where it comes from", async () => {
    const { stderr } = await run(["refuse", "--verbose"]);
    expect(stderr).toContain("cli.test.ts");
    expect(stderr).toContain("Caused by: Error: why");
  });

  test("with --json it is one document that carries the details", async () => {
    expect(JSON.parse((await run(["refuse", "--json"])).stderr)).toEqual({
      error: { code: "FULA_LOCKED", message: "Held by\u001b[2J 7.", hint: "wait.", details: { pid: 7 }, exitCode: 3 },
    });
  });

  test("what can be tried again later exits with 4", async () => {
    expect((await run(["unavailable"])).exitCode).toBe(4);
  });

  test("a bug says that it is one, with its stack, and exits with 70", async () => {
    const { exitCode, stderr } = await run(["crash"]);
    expect(exitCode).toBe(70);
    expect(stderr).toMatch(/^This is a bug in fula-master: TypeError: undefined is no function\n\s+at /);
    expect(JSON.parse((await run(["crash", "--json"])).stderr)).toMatchObject({ error: { code: "BUG", exitCode: 70 } });
  });

  test("whatever fails after Ctrl-C is an interruption, not a bug", async () => {
    const { exitCode, stderr } = await run(["crash"], { signal: AbortSignal.abort() });
    expect(exitCode).toBe(130);
    expect(stderr).toContain("FULA_INTERRUPTED");
  });
});

describe("asking", () => {
  test("where nobody can be asked, nothing is done without --yes", async () => {
    const { exitCode, stdout, stderr } = await run(["ask"]);
    expect({ exitCode, stdout }).toEqual({ exitCode: 3, stdout: "" });
    expect(stderr).toContain("FULA_CONFIRMATION_REQUIRED: Remove 3 pins?");
    expect((await run(["ask", "--yes"])).stdout).toBe("removed\n");
  });

  test.each([
    ["y\n", 0],
    ["YES\n", 0],
    ["n\n", 3],
    ["\n", 3],
    ["", 3],
    ["yesterday\n", 3],
  ])("the answer %j on a terminal gives exit code %d", async (stdin, exitCode) => {
    const result = await run(["ask"], { stdin, terminalColumns: 80 });
    expect(result.exitCode).toBe(exitCode);
    expect(result.stderr).toContain("Remove 3 pins? [y/N]");
  });
});

describe("colours", () => {
  const ESCAPE = "\u001b[";

  test.each([
    ["a pipe", undefined, {}, false],
    ["a terminal", 80, {}, true],
    ["a terminal with NO_COLOR", 80, { NO_COLOR: "1" }, false],
    ["a terminal with an empty NO_COLOR", 80, { NO_COLOR: "" }, true],
    ["a dumb terminal", 80, { TERM: "dumb" }, false],
    ["a pipe with FORCE_COLOR", undefined, { FORCE_COLOR: "1" }, true],
    ["a terminal with FORCE_COLOR=0", 80, { FORCE_COLOR: "0" }, false],
    ["NO_COLOR against FORCE_COLOR", 80, { NO_COLOR: "1", FORCE_COLOR: "1" }, false],
  ])("on %s", async (_where, terminalColumns, env, isColoured) => {
    const options = terminalColumns === undefined ? { env } : { env, terminalColumns };
    expect((await run(["refuse"], options)).stderr.includes(ESCAPE)).toBe(isColoured);
    expect((await run(["show", "--help"], options)).stdout.includes(ESCAPE)).toBe(isColoured);
  });
});
