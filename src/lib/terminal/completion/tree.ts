import { type ArgumentSpec, type CommandSpec, GLOBAL_OPTIONS, type OptionSpec, ownOptionsOf } from "../command.ts";

/** What kind of path a shell should offer. */
export type PathKind = "file" | "dir";

/** One option as a shell completes it. */
export interface CompletedOption {
  /** Every spelling: `-q`, `--quiet`. */
  readonly names: readonly string[];
  readonly description: string;
  readonly takesValue: boolean;
  readonly choices: readonly string[];
  readonly paths: PathKind | null;
}

interface CompletedWord {
  readonly word: string;
  readonly description: string;
}

/** One command with all that can follow it. */
export interface CompletionNode {
  /** Empty for the program itself, else `:key:create`. A colon, because bash never leaves one within a word. */
  readonly path: string;
  readonly words: readonly CompletedWord[];
  readonly options: readonly CompletedOption[];
  /** What the arguments are, where they are paths. */
  readonly paths: PathKind | null;
}

/** A word on the line that leads from one command to the next; aliases lead to the command's own name. */
export interface CompletionStep {
  /** `<path>:<word>`. */
  readonly from: string;
  readonly to: string;
}

/** An option that swallows the word behind it. */
export interface ValueOption {
  /** `<path>:<spelling>`. */
  readonly key: string;
  readonly option: CompletedOption;
}

/** The command tree as the three shells need it. */
export interface CompletionTree {
  readonly nodes: readonly CompletionNode[];
  readonly steps: readonly CompletionStep[];
  readonly valueOptions: readonly ValueOption[];
}

const HELP_OPTION: OptionSpec = { flags: "-h, --help", description: "show help" };
const VERSION_OPTION: OptionSpec = { flags: "-V, --version", description: "print the version" };

function pathKindOf(name: string): PathKind | null {
  return name === "file" || name === "dir" ? name : null;
}

function completedOption({ flags, description, choices }: OptionSpec): CompletedOption {
  const value = /[<[]([^>\]]+)[>\]]/.exec(flags)?.[1] ?? null;
  return {
    names: flags.match(/(?<=^|[\s,|])--?[a-zA-Z][\w-]*/g) ?? [],
    description,
    takesValue: value !== null,
    choices: choices ?? [],
    paths: value === null ? null : pathKindOf(value),
  };
}

function namesOf(spec: CommandSpec): readonly string[] {
  return [spec.name].concat(spec.aliases ?? []);
}

function subcommandWords(specs: readonly CommandSpec[]): readonly CompletedWord[] {
  if (specs.length === 0) return [];
  const words = specs.flatMap((spec) => namesOf(spec).map((word) => ({ word, description: spec.summary })));
  return [...words, { word: "help", description: "show help" }];
}

function argumentWords(args: readonly ArgumentSpec[]): readonly CompletedWord[] {
  return args.flatMap(({ choices, description }) => (choices ?? []).map((word) => ({ word, description })));
}

const SHARED_OPTIONS: readonly CompletedOption[] = [...GLOBAL_OPTIONS, HELP_OPTION].map(completedOption);

function nodesBelow(spec: CommandSpec, parentPath: string): readonly CompletionNode[] {
  const path = `${parentPath}:${spec.name}`;
  const args = spec.arguments ?? [];
  const node: CompletionNode = {
    path,
    words: [...subcommandWords(spec.subcommands ?? []), ...argumentWords(args)],
    options: [...ownOptionsOf(spec).map(completedOption), ...SHARED_OPTIONS],
    paths: args.map(({ name }) => pathKindOf(name)).find((kind) => kind !== null) ?? null,
  };
  return [node].concat(...(spec.subcommands ?? []).map((sub) => nodesBelow(sub, path)));
}

function stepsBelow(commands: readonly CommandSpec[], parentPath: string): readonly CompletionStep[] {
  return commands.flatMap((spec) => {
    const to = `${parentPath}:${spec.name}`;
    const here = namesOf(spec).map((word) => ({ from: `${parentPath}:${word}`, to }));
    return here.concat(stepsBelow(spec.subcommands ?? [], to));
  });
}

/** Lays the command tree out for completion, parents before children. */
export function completionTree(commands: readonly CommandSpec[]): CompletionTree {
  const root: CompletionNode = {
    path: "",
    words: subcommandWords(commands),
    options: [completedOption(VERSION_OPTION), ...SHARED_OPTIONS],
    paths: null,
  };
  const help: CompletionNode = { ...root, path: ":help", options: SHARED_OPTIONS };
  const nodes = [root, help].concat(...commands.map((spec) => nodesBelow(spec, "")));
  const valueOptions = nodes.flatMap(({ path, options }) =>
    options
      .filter(({ takesValue }) => takesValue)
      .flatMap((option) => option.names.map((name) => ({ key: `${path}:${name}`, option }))),
  );
  return { nodes, steps: [{ from: ":help", to: ":help" }, ...stepsBelow(commands, "")], valueOptions };
}

/** A word in single quotes for bash and zsh. */
export function quoteSh(text: string): string {
  return `'${text.replaceAll("'", String.raw`'\''`)}'`;
}
