import type { CommandSpec } from "../../src/lib/terminal/command.ts";

const TEXT = { summary: "it's a summary: short", description: "A description.", examples: [] };

/** A small command tree with everything that a completion has to know: groups, aliases, choices, paths, quotes. */
export const COMPLETION_COMMANDS: readonly CommandSpec[] = [
  {
    ...TEXT,
    name: "join",
    aliases: ["join-as-master"],
    options: [{ flags: "--runtime <runtime>", description: "where: here", choices: ["auto", "embedded", "docker"] }],
    changes: true,
    asks: true,
    run: async () => {},
  },
  {
    ...TEXT,
    name: "key",
    subcommands: [
      {
        ...TEXT,
        name: "create",
        options: [{ flags: "-n, --name <name>", description: "its name" }],
        run: async () => {},
      },
      { ...TEXT, name: "revoke", run: async () => {} },
    ],
  },
  { ...TEXT, name: "verify", arguments: [{ name: "file", description: "which", required: true }], run: async () => {} },
  {
    ...TEXT,
    name: "completion",
    arguments: [{ name: "shell", description: "for", choices: ["bash", "zsh"] }],
    run: async () => {},
  },
];

/** What stands on the line, and what each shell has to offer for its last word. Paths are of a folder with `a b.yaml` and `sub/`. */
export const COMPLETION_CASES: readonly { readonly line: readonly string[]; readonly offers: readonly string[] }[] = [
  { line: [""], offers: ["completion", "help", "join", "join-as-master", "key", "verify"] },
  { line: ["jo"], offers: ["join", "join-as-master"] },
  { line: ["help", "k"], offers: ["key"] },
  { line: ["key", ""], offers: ["create", "help", "revoke"] },
  { line: ["--json", "key", "c"], offers: ["create"] },
  { line: ["--base-dir", "key", "k"], offers: ["key"] },
  { line: ["completion", ""], offers: ["bash", "zsh"] },
  { line: ["join", "--runtime", ""], offers: ["auto", "docker", "embedded"] },
  { line: ["join-as-master", "--runtime", "e"], offers: ["embedded"] },
  { line: ["join", "--dry"], offers: ["--dry-run"] },
  { line: ["join", "--runtime", "auto", "--y"], offers: ["--yes"] },
  { line: ["key", "create", "--na"], offers: ["--name"] },
  { line: ["key", "revoke", "--na"], offers: [] },
  { line: ["key", "create", "--name", ""], offers: [] },
  { line: ["--vers"], offers: ["--version"] },
  { line: ["join", "--vers"], offers: [] },
];
