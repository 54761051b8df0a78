import { stripVTControlCharacters } from "node:util";
import { describe, expect, test } from "vitest";
import { FulaError } from "../../../src/lib/kernel/errors.ts";
import { runTasks, type Task } from "../../../src/lib/terminal/tasks.ts";
import { testOutput } from "../../support/terminal.ts";

const REFUSED = new FulaError("FULA_LOCKED", "Held.");

function steps(log: string[]): readonly Task[] {
  return [
    {
      title: "Check the box",
      run: async (report) => {
        log.push("check");
        report("ports");
        return "8 checks";
      },
    },
    {
      title: "Create keys",
      skip: () => "already so",
      run: async () => {
        log.push("keys");
      },
    },
    {
      title: "Write settings",
      skip: async () => null,
      run: async () => {
        log.push("settings");
      },
    },
  ];
}

const FAILING: readonly Task[] = [
  { title: "Start serve", run: () => Promise.reject(REFUSED) },
  { title: "Take a snapshot", run: async () => "never" },
];

describe("tasks on a pipe", () => {
  test("are plain lines on stderr, with what came of each", async () => {
    const { out, stdout, stderr } = testOutput(null);
    const log: string[] = [];
    await runTasks(out, steps(log));
    expect(log).toEqual(["check", "settings"]);
    expect(stdout.text).toBe("");
    expect(stderr.text).toBe(
      [
        "> Check the box",
        "+ Check the box: 8 checks",
        "- Create keys: already so",
        "> Write settings",
        "+ Write settings",
        "",
      ].join("\n"),
    );
  });

  test("with --verbose every report is a line", async () => {
    const { out, stderr } = testOutput(null, { verbose: true });
    await runTasks(out, steps([]));
    expect(stderr.text).toContain("  Check the box: ports\n");
  });

  test("with --quiet nothing is said and everything is done", async () => {
    const { out, stderr } = testOutput(null, { quiet: true });
    const log: string[] = [];
    await runTasks(out, steps(log));
    expect({ log, said: stderr.text }).toEqual({ log: ["check", "settings"], said: "" });
  });

  test("the first failure ends the run, marks its task, and is thrown as it is", async () => {
    const { out, stderr } = testOutput(null);
    await expect(runTasks(out, FAILING)).rejects.toBe(REFUSED);
    expect(stderr.text).toBe("> Start serve\n! Start serve: failed\n");
  });

  test("a terminal that does not know its width gets plain lines, too", async () => {
    const { out, stderr } = testOutput(0);
    await runTasks(out, steps([]));
    expect(stderr.text).toContain("+ Check the box: 8 checks\n");
  });
});

describe("tasks on a terminal", () => {
  test("end as a list of what was done, with the cursor shown again", async () => {
    const { out, stdout, stderr } = testOutput(80, { env: { NO_COLOR: "1" } });
    await runTasks(out, steps([]));
    const final = stripVTControlCharacters(stderr.text).trimEnd().split("\n").slice(-3);
    expect(final.map((line) => line.replace(/^\S+ /, ""))).toEqual([
      "Check the box: 8 checks",
      "Create keys: already so",
      "Write settings",
    ]);
    expect(stderr.text.lastIndexOf("\u001b[?25h")).toBeGreaterThan(stderr.text.lastIndexOf("\u001b[?25l"));
    expect(stdout.text).toBe("");
  });

  test("a failure ends the run and is thrown as it is, for reportError to print once", async () => {
    const { out, stderr } = testOutput(80);
    await expect(runTasks(out, FAILING)).rejects.toBe(REFUSED);
    expect(stripVTControlCharacters(stderr.text)).not.toContain("Held.");
    expect(stderr.text.endsWith("\u001b[?25h")).toBe(true);
  });

  test("Ctrl-C is left to the run's signal", async () => {
    const { out } = testOutput(80);
    const before = process.listenerCount("SIGINT");
    let during = -1;
    await runTasks(out, [
      {
        title: "Look",
        run: async () => {
          during = process.listenerCount("SIGINT");
        },
      },
    ]);
    expect(during).toBe(before);
  });

  test("a remark made on the way is not lost", async () => {
    const { out, stderr } = testOutput(80);
    await runTasks(out, [
      {
        title: "Warn",
        run: async () => {
          out.warn("the clock is 3 s behind");
        },
      },
    ]);
    expect(stderr.text).toContain("the clock is 3 s behind");
  });
});
