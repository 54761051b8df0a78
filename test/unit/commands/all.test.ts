import { describe, expect, test } from "vitest";
import { COMMANDS } from "../../../src/commands/all.ts";
import { type CommandSpec, GLOBAL_OPTIONS, ownOptionsOf } from "../../../src/lib/terminal/command.ts";

interface Listed {
  readonly path: string;
  readonly spec: CommandSpec;
}

function list(specs: readonly CommandSpec[], parent: string): readonly Listed[] {
  return specs.flatMap((spec) => {
    const path = `${parent} ${spec.name}`;
    return [{ path, spec }, ...list(spec.subcommands ?? [], path)];
  });
}

const ALL = list(COMMANDS, "fula-master");

function namesOf(spec: CommandSpec): readonly string[] {
  return [spec.name].concat(spec.aliases ?? []);
}

function flagsOf(spec: CommandSpec): readonly string[] {
  return [...ownOptionsOf(spec), ...GLOBAL_OPTIONS].flatMap(
    ({ flags }) => flags.match(/(?<=^|[\s,])--?[a-z][\w-]*/gi) ?? [],
  );
}

/** The commands that a command line names, from the first to the innermost. */
function namedIn(line: string): readonly CommandSpec[] {
  const words = (/fula-master (.*)/.exec(line)?.[1] ?? "").split(" ");
  const named: CommandSpec[] = [];
  let among: readonly CommandSpec[] = COMMANDS;
  for (const word of words) {
    const spec = among.find((each) => namesOf(each).includes(word));
    if (spec === undefined) break;
    named.push(spec);
    among = spec.subcommands ?? [];
  }
  return named;
}

describe.each(ALL)("$path", ({ spec }) => {
  test("does something, or has subcommands that do", () => {
    expect(spec.run !== undefined || (spec.subcommands ?? []).length > 0).toBe(true);
  });

  test("has a summary for the list and a description in sentences", () => {
    expect(spec.summary).toMatch(/^[a-z"].{5,70}[^.]$/);
    expect(spec.description).toMatch(/^[A-Z`].*\.$/s);
  });

  test("has an example of its own, and every example is a command line that exists", () => {
    const own = spec.examples.filter(({ command }) => namedIn(command).includes(spec));
    expect(own.length).toBeGreaterThan(0);
    for (const { command, explains } of spec.examples) {
      expect(namedIn(command).length, `${command} names no command`).toBeGreaterThan(0);
      expect(explains.length).toBeGreaterThanOrEqual(8);
    }
  });

  test("every option in an example is one it has", () => {
    for (const { command } of spec.examples) {
      const used = command.split(/[|;>]|&&/)[0]?.match(/(?<=\s)--[a-z][\w-]*/g) ?? [];
      const known = new Set(namedIn(command).flatMap(flagsOf));
      expect(used.filter((flag) => !known.has(flag))).toEqual([]);
    }
  });

  test("no option is declared twice, and none takes the name of a global one", () => {
    const flags = flagsOf(spec);
    expect(flags.filter((flag, index) => flags.indexOf(flag) !== index)).toEqual([]);
  });

  test("names, aliases and long options are lower-case words with hyphens", () => {
    const words = [...namesOf(spec), ...flagsOf(spec).filter((flag) => flag.startsWith("--"))];
    expect(words.filter((word) => !/^(?:--)?[a-z][a-z0-9]*(?:-[a-z0-9]+)*$/.test(word))).toEqual([]);
  });
});

test("no two commands of one place answer to the same name", () => {
  for (const specs of [COMMANDS, ...ALL.map(({ spec }) => spec.subcommands ?? [])]) {
    const names = [...specs.flatMap(namesOf), "help"];
    expect(names.filter((name, index) => names.indexOf(name) !== index)).toEqual([]);
  }
});
