import { Argument, Command, CommanderError, Option } from "commander";
import {
  argumentShape,
  type CommandSpec,
  describeCommand,
  GLOBAL_OPTIONS,
  type OptionSpec,
  ownOptionsOf,
} from "./command.ts";
import { explainUsage } from "./usage.ts";

/** Runs one command's action; `cli.ts` hands in the one that builds the context and maps errors to exit codes. */
export type CommandRunner = (
  spec: CommandSpec,
  options: Readonly<Record<string, unknown>>,
  args: readonly string[],
) => Promise<void>;

const GLOBAL_HEADING = "Options of every command:";

function toOption(spec: OptionSpec): Option {
  const option = new Option(spec.flags, spec.description);
  if (spec.default !== undefined) option.default(spec.default);
  if (spec.choices !== undefined) option.choices(spec.choices);
  if (spec.parse !== undefined) option.argParser<unknown>(spec.parse);
  return option;
}

/** Adds `--json`, `--base-dir` and the like, under their own heading of the help. */
export function addGlobalOptions(command: Command): void {
  for (const spec of GLOBAL_OPTIONS) command.addOption(toOption(spec).helpGroup(GLOBAL_HEADING));
}

/** Renders the examples that stand below a command's help. */
export function renderExamples(examples: CommandSpec["examples"], styleTitle: (text: string) => string): string {
  const lines = examples.map(({ command, explains }) => `  $ ${command}\n      ${explains}`);
  return `\n${styleTitle("Examples:")}\n${lines.join("\n")}`;
}

/** A command in a list of commands: its names and arguments. That it has options goes without saying. */
export function termOf(command: Command): string {
  const args = command.registeredArguments.map((argument) =>
    argumentShape({ name: argument.name(), description: "", required: argument.required, variadic: argument.variadic }),
  );
  return [[command.name()].concat(command.aliases()).join("|"), ...args].join(" ");
}

/** Makes every usage error of a command a `FulaError` that names the command; help and version end as they are. */
export function explainUsageErrors(command: Command): void {
  command.exitOverride((error) => {
    throw error.exitCode === 0 || error.code === "commander.help" ? error : explainUsage(error, command);
  });
}

const GLOBAL_NAMES: ReadonlySet<string> = new Set(GLOBAL_OPTIONS.map((spec) => toOption(spec).attributeName()));

/** A command's own options, and the global ones that stand before it; the nearer to the command wins. */
function optionsOf(command: Command): Readonly<Record<string, unknown>> {
  const given: Record<string, unknown> = {};
  for (let ancestor = command.parent; ancestor !== null; ancestor = ancestor.parent) {
    for (const [name, value] of Object.entries(ancestor.opts())) if (GLOBAL_NAMES.has(name)) given[name] ??= value;
  }
  return { ...given, ...command.opts() };
}

/** What `addCommand` needs beside the command itself. */
export interface ProgramParts {
  readonly run: CommandRunner;
  /** How headings of the help are printed. */
  readonly styleTitle: (text: string) => string;
}

/** Adds a command and its subcommands to a Commander program. */
export function addCommand(parent: Command, spec: CommandSpec, parts: ProgramParts): void {
  const command = new Command(spec.name)
    .summary(spec.summary)
    .description(describeCommand(spec))
    .copyInheritedSettings(parent);
  explainUsageErrors(command);
  for (const alias of spec.aliases ?? []) command.alias(alias);
  for (const each of spec.arguments ?? []) {
    const argument = new Argument(argumentShape(each), each.description);
    if (each.choices !== undefined) argument.choices(each.choices);
    command.addArgument(argument);
  }
  for (const option of ownOptionsOf(spec)) command.addOption(toOption(option));
  addGlobalOptions(command);
  command.addHelpText("after", renderExamples(spec.examples, parts.styleTitle));
  for (const sub of spec.subcommands ?? []) addCommand(command, sub, parts);
  if (spec.run !== undefined) {
    command.action(async () => {
      await parts.run(spec, optionsOf(command), command.args);
    });
  }
  parent.addCommand(command);
}

/** True for what Commander throws when it has printed help or the version. */
export function isHelpOrVersion(error: unknown): error is CommanderError {
  return error instanceof CommanderError;
}
