import { execFileSync } from "node:child_process";
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { COMMANDS } from "../../../src/commands/all.ts";
import type { CommandSpec } from "../../../src/lib/terminal/command.ts";
import { renderCompletion } from "../../../src/lib/terminal/completion/render.ts";
import { runCliForTest } from "../../support/cli.ts";
import { COMPLETION_CASES, COMPLETION_COMMANDS } from "../../support/completion-commands.ts";
import { tempDir } from "../../support/temp-dir.ts";

/** Completes the last of `words` in a real bash that has sourced the script. */
function completeInBash(script: string, words: readonly string[], cwd = "/"): readonly string[] {
  const ask = `${script}
COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1))
"$(complete -p fula-master | sed -E 's/.*-F ([^ ]+).*/\\1/')"
printf '%s\\n' "\${COMPREPLY[@]}"`;
  const args = ["--norc", "--noprofile", "-c", ask, "bash", "fula-master", ...words];
  const replies = execFileSync("bash", args, { encoding: "utf8", cwd }).split("\n");
  return replies.filter((reply) => reply !== "").toSorted();
}

function namesOf({ name, aliases }: CommandSpec): readonly string[] {
  return [name].concat(aliases ?? []);
}

describe("in bash", () => {
  const script = renderCompletion("bash", COMPLETION_COMMANDS);

  test.each(COMPLETION_CASES)("$line offers $offers", ({ line, offers }) => {
    expect(completeInBash(script, line)).toEqual(offers);
  });

  test("an option with = offers its values, for bash splits it in three words", () => {
    expect(completeInBash(script, ["join", "--runtime", "="])).toEqual(["auto", "docker", "embedded"]);
    expect(completeInBash(script, ["join", "--runtime", "=", "d"])).toEqual(["docker"]);
    expect(completeInBash(script, ["join", "--runtime", "=", "auto", "--y"])).toEqual(["--yes"]);
  });

  test("files and directories are offered where they are wanted, names with blanks as one", () => {
    const dir = tempDir();
    writeFileSync(join(dir, "a b.yaml"), "");
    mkdirSync(join(dir, "sub"));
    expect(completeInBash(script, ["verify", ""], dir)).toEqual(["a b.yaml", "sub"]);
    expect(completeInBash(script, ["join", "--config", "a"], dir)).toEqual(["a b.yaml"]);
    expect(completeInBash(script, ["join", "--base-dir", ""], dir)).toEqual(["sub"]);
  });

  test("nothing on the line is ever run", () => {
    const dir = tempDir();
    completeInBash(script, ["$(touch ran)", "`touch ran`", "; touch ran", "$(touch ran)"], dir);
    expect(execFileSync("ls", { cwd: dir, encoding: "utf8" })).toBe("");
  });

  test("the real commands are offered", async () => {
    const { exitCode, stdout, stderr } = await runCliForTest(["completion", "bash"]);
    expect({ exitCode, stderr }).toEqual({ exitCode: 0, stderr: "" });
    expect(completeInBash(stdout, [""])).toEqual([...COMMANDS.flatMap(namesOf), "help"].toSorted());
    for (const { name, subcommands } of COMMANDS) {
      const subs = (subcommands ?? []).flatMap(namesOf);
      if (subs.length > 0) expect(completeInBash(stdout, [name, ""])).toEqual([...subs, "help"].toSorted());
    }
  });
});

test("with --json the script is a field", async () => {
  const { stdout } = await runCliForTest(["completion", "fish", "--json"]);
  expect(JSON.parse(stdout)).toEqual({ shell: "fish", script: renderCompletion("fish", COMMANDS) });
});
