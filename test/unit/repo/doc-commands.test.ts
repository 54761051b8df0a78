import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { Command } from "commander";
import { expect, test } from "vitest";
import { COMMANDS } from "../../../src/commands/all.ts";
import { messageOf } from "../../../src/lib/kernel/errors.ts";
import { addCommand, addGlobalOptions } from "../../../src/lib/terminal/program.ts";

const ROOT = join(import.meta.dirname, "..", "..", "..");
const FENCED = /^ *```(?:sh|console)\n([\s\S]*?)^ *```/gm;
const INLINE = /`(fula-master config [^`\n]+)`/g;
/** Ends a command: what follows is the shell's. */
const SHELL = /^(?:#.*|\||\|\||&&|;|>.*|2>.*|<|<<.*)$/;
const WORD = /"[^"]*"|'[^']*'|\S*<[a-z0-9][^>]*>\S*|\S+/g;

const documents = ["README.md", "CONTRIBUTING.md"].concat(
  readdirSync(join(ROOT, "docs"), { recursive: true, encoding: "utf8" })
    // What stands in commands.md is made of the commands themselves.
    .filter((name) => name.endsWith(".md") && !name.startsWith("decisions") && name !== "commands.md")
    .map((name) => join("docs", name)),
);

/** Every command line of ours that a document shows, as words. */
function commandsOf(markdown: string): readonly (readonly string[])[] {
  const blocks = Array.from(markdown.matchAll(FENCED), ([, block = ""]) => block.replaceAll(/\\\n/g, " "));
  const lines = [
    ...blocks.flatMap((block) => block.split("\n")),
    ...Array.from(markdown.matchAll(INLINE), ([, it]) => it),
  ];
  return lines.flatMap((line = "") =>
    line.split(/ (?:&&|;) /).flatMap((part) => {
      const [, command] = /^\s*(?:\$ )?(?:sudo )?fula-master ?(.*)$/.exec(part) ?? [];
      if (command === undefined || command.includes("…")) return [];
      const words = command.match(WORD) ?? [];
      const end = words.findIndex((word) => SHELL.test(word));
      return [(end === -1 ? words : words.slice(0, end)).map((word) => word.replaceAll(/^["']|["']$/g, ""))];
    }),
  );
}

/** What the command line says of words; null where it would run them. */
async function refusalOf(words: readonly string[]): Promise<string | null> {
  const program = new Command("fula-master")
    .enablePositionalOptions()
    .configureOutput({ writeOut: () => {}, writeErr: () => {}, outputError: () => {} })
    .version("0")
    .exitOverride();
  addGlobalOptions(program);
  const run = async (): Promise<void> => await Promise.resolve();
  for (const spec of COMMANDS.filter(({ name }) => words.includes(name)))
    addCommand(program, spec, { run, styleTitle: (text) => text });
  try {
    await program.parseAsync([...words], { from: "user" });
    return null;
  } catch (error) {
    const isHelp = error instanceof Error && "exitCode" in error && error.exitCode === 0;
    return isHelp ? null : `fula-master ${words.join(" ")}: ${messageOf(error)}`;
  }
}

test.each(documents)("every command of %s can be typed", async (name) => {
  const commands = commandsOf(readFileSync(join(ROOT, name), "utf8"));
  const refusals = await Promise.all(commands.map(refusalOf));
  expect(refusals.filter((refusal) => refusal !== null)).toEqual([]);
});
