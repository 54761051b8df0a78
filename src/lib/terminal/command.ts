import { Argument, Command, Option } from "commander";
import type { Clock } from "../kernel/clock.ts";
import type { Random } from "../kernel/random.ts";
import type { Output } from "./output.ts";

/** Options that every command takes. */
export interface GlobalOptions {
  readonly json: boolean;
  readonly quiet: boolean;
  readonly verbose: boolean;
  /** Path of the settings file; default `<base dir>/fula-master.yaml`. */
  readonly config?: string;
  readonly baseDir?: string;
}

/** What a command's action is handed: the run's streams, environment, time, and the signal of Ctrl-C. */
export interface CommandContext {
  readonly globals: GlobalOptions;
  readonly out: Output;
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly cwd: string;
  readonly clock: Clock;
  readonly random: Random;
  /** Aborts on SIGINT and SIGTERM. */
  readonly signal: AbortSignal;
}

/** One option in Commander's notation: `--keep <count>`. */
export interface OptionSpec {
  readonly flags: string;
  readonly description: string;
  /** The default, where the command has one of its own; settings have theirs in the configuration. */
  readonly default?: string | boolean | number;
  readonly choices?: readonly string[];
  /** Reads the text; throw `InvalidArgumentError` of commander for a bad one. */
  readonly parse?: (value: string) => unknown;
}

/** A command or a group of commands, as data: help, completion and docs/commands.md are rendered from it. */
export interface CommandSpec {
  readonly name: string;
  readonly aliases?: readonly string[];
  /** One line for the list of commands. */
  readonly summary: string;
  /** Says what it does, and whether it writes. */
  readonly description: string;
  readonly examples: readonly { readonly command: string; readonly explains: string }[];
  readonly arguments?: readonly {
    readonly name: string;
    readonly description: string;
    readonly required?: boolean;
    readonly variadic?: boolean;
    readonly choices?: readonly string[];
  }[];
  readonly options?: readonly OptionSpec[];
  /** True adds `--dry-run`: prints the plan and writes nothing. */
  readonly changes?: boolean;
  /** True adds `--yes`: the command asks otherwise. */
  readonly asks?: boolean;
  readonly subcommands?: readonly CommandSpec[];
  /** Returns the exit code; nothing means 0. */
  readonly run?: (context: CommandContext, options: never, args: readonly string[]) => Promise<number | void>;
}

/** Declares a command whose options have the type `Options`; `run` must import heavy modules itself, when it runs. */
export function defineCommand<Options = object>(
  spec: Omit<CommandSpec, "run"> & {
    readonly run?: (context: CommandContext, options: Options, args: readonly string[]) => Promise<number | void>;
  },
): CommandSpec {
  return spec;
}

const GLOBAL_OPTIONS: readonly OptionSpec[] = [
  { flags: "--json", description: "print the result as JSON on stdout; progress stays on stderr" },
  { flags: "--config <file>", description: "settings file (default: <base-dir>/fula-master.yaml)" },
  { flags: "--base-dir <dir>", description: "where everything of this box lives" },
  { flags: "-q, --quiet", description: "no progress and no remarks" },
  { flags: "-v, --verbose", description: "more detail, and the stack trace of an error" },
];

/** Runs one command's action; `cli.ts` hands in the one that builds the context and maps errors to exit codes. */
export type CommandRunner = (
  spec: CommandSpec,
  options: Record<string, unknown>,
  args: readonly string[],
) => Promise<void>;

function toOption(spec: OptionSpec): Option {
  const option = new Option(spec.flags, spec.description);
  if (spec.default !== undefined) option.default(spec.default);
  if (spec.choices !== undefined) option.choices(spec.choices);
  if (spec.parse !== undefined) option.argParser<unknown>(spec.parse);
  return option;
}

function helpTail(spec: CommandSpec): string {
  const lines = spec.examples.map(({ command, explains }) => `  $ ${command}\n      ${explains}`);
  return `\nExamples:\n${lines.join("\n")}`;
}

/** All options of a command in the order the help shows them: its own, then those that its nature adds, then the global ones. */
export function optionsOf(spec: CommandSpec): readonly OptionSpec[] {
  return [
    ...(spec.options ?? []),
    ...(spec.changes === true ? [{ flags: "--dry-run", description: "print the plan and write nothing" }] : []),
    ...(spec.asks === true ? [{ flags: "-y, --yes", description: "do not ask" }] : []),
    ...GLOBAL_OPTIONS,
  ];
}

/** Adds a command and its subcommands to a Commander program. */
export function addCommand(parent: Command, spec: CommandSpec, runner: CommandRunner): void {
  const command = new Command(spec.name)
    .summary(spec.summary)
    .description(spec.description)
    .copyInheritedSettings(parent);
  for (const alias of spec.aliases ?? []) command.alias(alias);
  for (const { name, description, required, variadic, choices } of spec.arguments ?? []) {
    const shape = `${name}${variadic === true ? "..." : ""}`;
    const argument = new Argument(required === true ? `<${shape}>` : `[${shape}]`, description);
    if (choices !== undefined) argument.choices(choices);
    command.addArgument(argument);
  }
  command.addHelpText("after", helpTail(spec));
  for (const sub of spec.subcommands ?? []) addCommand(command, sub, runner);
  if (spec.run !== undefined) {
    for (const option of optionsOf(spec)) command.addOption(toOption(option));
    command.action(async () => {
      await runner(spec, command.opts(), command.args);
    });
  }
  parent.addCommand(command);
}
