import { execFileSync } from "node:child_process";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { COMMANDS } from "../../../src/commands/all.ts";
import { renderCompletion } from "../../../src/lib/terminal/completion/render.ts";
import { COMPLETION_CASES, COMPLETION_COMMANDS } from "../../support/completion-commands.ts";
import { tempDir } from "../../support/temp-dir.ts";

/** The first words of what fish offers for a line; behind them stand the descriptions. */
function completeInFish(script: string, line: readonly string[]): readonly string[] {
  const dir = tempDir();
  writeFileSync(join(dir, "fula-master.fish"), script);
  const ask = `source ${dir}/fula-master.fish; complete -C "$argv[1]"`;
  const env = { PATH: process.env["PATH"], HOME: dir, XDG_DATA_HOME: dir, XDG_CONFIG_HOME: dir };
  const offers = execFileSync("fish", ["--no-config", "-c", ask, `fula-master ${line.join(" ")}`], {
    encoding: "utf8",
    cwd: dir,
    env,
  });
  return offers
    .split("\n")
    .filter((offer) => offer !== "" && !offer.startsWith("fula-master.fish"))
    .map((offer) => offer.split("\t")[0] ?? "")
    .toSorted();
}

/** What zsh offers: its completion only runs within the line editor, so the two builtins that offer are replaced. */
function completeInZsh(script: string, line: readonly string[]): readonly string[] {
  const ask = `
compdef() { }
_describe() { local name=$@[-1]; print -rl -- "\${(@P)name}" | sed -E 's/([^\\\\]):.*/\\1/' }
compadd() { shift; print -rl -- "$@" }
_files() { print -r -- "<files>" }
_message() { }
${script}
words=(fula-master "$@"); CURRENT=$#words; PREFIX=$words[-1]
_fula-master || true`;
  const offers = execFileSync("zsh", ["--no-rcs", "-c", ask, "zsh", ...line], { encoding: "utf8" });
  const prefix = line.at(-1) ?? "";
  return offers
    .split("\n")
    .filter((offer) => offer !== "" && offer.startsWith(prefix))
    .toSorted();
}

describe("in fish", () => {
  test("the script of the real commands is sound", () => {
    const file = join(tempDir(), "fula-master.fish");
    writeFileSync(file, renderCompletion("fish", COMMANDS));
    expect(execFileSync("fish", ["--no-execute", file], { encoding: "utf8" })).toBe("");
  });

  test.each(COMPLETION_CASES)("$line offers $offers", ({ line, offers }) => {
    expect(completeInFish(renderCompletion("fish", COMPLETION_COMMANDS), line)).toEqual(offers);
  });
});

describe("in zsh", () => {
  test("the script of the real commands is sound", () => {
    const file = join(tempDir(), "_fula-master");
    writeFileSync(file, renderCompletion("zsh", COMMANDS));
    expect(execFileSync("zsh", ["--no-rcs", "-n", file], { encoding: "utf8" })).toBe("");
  });

  test.each(COMPLETION_CASES)("$line offers $offers", ({ line, offers }) => {
    expect(completeInZsh(renderCompletion("zsh", COMPLETION_COMMANDS), line)).toEqual(offers);
  });

  test("paths are offered where they are wanted", () => {
    const script = renderCompletion("zsh", COMPLETION_COMMANDS);
    expect(completeInZsh(script, ["verify", ""])).toEqual(["<files>"]);
    expect(completeInZsh(script, ["join", "--config", ""])).toEqual(["<files>"]);
  });
});
