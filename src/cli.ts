import { Command } from "commander";
import { systemClock } from "./lib/kernel/clock.ts";
import { FulaError } from "./lib/kernel/errors.ts";
import { toolVersion } from "./lib/kernel/project.ts";
import { systemRandom } from "./lib/kernel/random.ts";
import { type CommandContext, type CommandSpec, type GlobalOptions, typedName } from "./lib/terminal/command.ts";
import { EXIT, reportError } from "./lib/terminal/errors.ts";
import { Output, StdoutClosedError, type TerminalStreams } from "./lib/terminal/output.ts";
import {
  addCommand,
  addGlobalOptions,
  type CommandRunner,
  explainUsageErrors,
  isHelpOrVersion,
  renderExamples,
  termOf,
} from "./lib/terminal/program.ts";

/** What one run of the CLI is given; the launcher hands in the process's own, tests theirs. */
export interface CliEnvironment extends TerminalStreams {
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly cwd: string;
  readonly signal: AbortSignal;
}

/** How wide help is where no terminal tells its size. */
const HELP_COLUMNS = 100;

const FIRST_STEPS = [
  { command: "fula-master join --dry-run", explains: "what would be set up on this box" },
  { command: "fula-master status", explains: "how this master is" },
  { command: "fula-master help snapshot", explains: "one command explained, with examples" },
];

const EXIT_CODES = `
Exit codes: 0 done, 1 a check came out bad, 2 usage or configuration, 3 refused by a guard, 4 a dependency did not
answer (retry later), 70 a bug, 130 interrupted.`;

function globalsOf(options: Readonly<Record<string, unknown>>): GlobalOptions {
  const { config, baseDir } = options;
  return {
    json: options["json"] === true,
    quiet: options["quiet"] === true,
    verbose: options["verbose"] === true,
    ...(typeof config === "string" ? { config } : {}),
    ...(typeof baseDir === "string" ? { baseDir } : {}),
  };
}

/** The global switches of a command line that cannot be parsed, so that its error still comes out as it was asked for. */
function switchesIn(argv: readonly string[]): GlobalOptions {
  const end = argv.indexOf("--");
  const words = end === -1 ? argv : argv.slice(0, end);
  return {
    json: words.includes("--json"),
    quiet: words.includes("--quiet") || words.includes("-q"),
    verbose: words.includes("--verbose") || words.includes("-v"),
  };
}

function buildProgram(
  commands: readonly CommandSpec[],
  environment: CliEnvironment,
  run: CommandRunner,
  out: Output,
): Command {
  const parts = { run, styleTitle: (text: string) => out.style.bold(text) };
  const program = new Command("fula-master")
    .description("Turns a plain Linux box into a federated IPFS storage master or storage node.")
    .version(
      out.json ? JSON.stringify({ version: toolVersion() }) : toolVersion(),
      "-V, --version",
      "print the version",
    )
    .helpOption("-h, --help", "show help; also: fula-master help <command>")
    .helpCommand("help [command]", "show help")
    .enablePositionalOptions()
    .configureHelp({ styleTitle: parts.styleTitle, subcommandTerm: termOf })
    .configureOutput({
      writeOut: (text) => environment.stdout.write(text),
      // With --json stderr carries one document, which reportError prints.
      writeErr: (text) => out.json || environment.stderr.write(text),
      outputError: () => {},
      getOutHelpWidth: () => environment.stdout.columns || HELP_COLUMNS,
      getErrHelpWidth: () => environment.stderr.columns || HELP_COLUMNS,
      getOutHasColors: () => out.style.level > 0,
      getErrHasColors: () => out.errorStyle.level > 0,
    });
  explainUsageErrors(program);
  addGlobalOptions(program);
  for (const spec of commands) addCommand(program, spec, parts);
  program.addHelpText("after", renderExamples(FIRST_STEPS, parts.styleTitle));
  return program.addHelpText("after", EXIT_CODES);
}

/**
 * Asks the control plane where a command needs that. @returns the context, with who was let do it
 * @throws FulaError what `authorizeCommand` throws
 */
async function authorized(
  context: CommandContext,
  spec: CommandSpec,
  options: Readonly<Record<string, unknown>>,
  args: readonly string[],
): Promise<CommandContext> {
  if (spec.requires === undefined) return context;
  // oxlint-disable-next-line typescript/no-unsafe-type-assertion -- each command declares the options that Commander parses for it
  if (spec.onlyLooks?.(options as never, args) === true) return context;
  // Only here: neither the help nor the completion needs a control plane, and both must be quick.
  const { authorizeCommand } = await import("./lib/stack/authorize.ts");
  const { dryRun, withoutAuthorization } = options;
  const onWait = (sentence: string): void => context.out.note(sentence);
  const asking = { ...context, onWait };
  const { operator, warnings } = await authorizeCommand(asking, {
    command: typedName(context.commands, spec),
    role: spec.requires,
    dryRun: dryRun === true,
    emergency: typeof withoutAuthorization === "string" ? withoutAuthorization : null,
    takesReason: spec.emergency === true,
    awaitsElection: spec.awaitsElection === true,
  });
  for (const warning of warnings) context.out.warn(warning);
  return operator === null ? context : { ...context, operator };
}

/** Runs the CLI once. @returns the exit code; never throws for what an operator can cause. */
export async function runCli(
  argv: readonly string[],
  environment: CliEnvironment,
  commands: readonly CommandSpec[],
): Promise<number> {
  const { signal, env, cwd } = environment;
  let exitCode: number = EXIT.done;
  const run: CommandRunner = async (spec, options, args) => {
    const globals = globalsOf(options);
    const out = new Output(environment, { ...globals, env, signal });
    try {
      const given = { globals, out, env, cwd, clock: systemClock, random: systemRandom, signal, commands };
      const context = await authorized(given, spec, options, args);
      // oxlint-disable-next-line typescript/no-unsafe-type-assertion -- each command declares the options that Commander parses for it
      exitCode = (await spec.run?.(context, options as never, args)) ?? EXIT.done;
    } catch (error) {
      // A reader such as `head` that has seen enough is no failure of ours.
      if (error instanceof StdoutClosedError) return;
      exitCode = reportError(signal.aborted ? interrupted(error) : error, out);
    }
  };
  const out = new Output(environment, { ...switchesIn(argv), env });
  try {
    await buildProgram(commands, environment, run, out).parseAsync([...argv], { from: "user" });
  } catch (error) {
    if (!isHelpOrVersion(error)) return reportError(error, out);
    if (error.exitCode === 0) return EXIT.done;
    return out.json ? reportError(noCommand(), out) : EXIT.usage;
  }
  return exitCode;
}

function noCommand(): FulaError {
  return new FulaError("FULA_USAGE", "No command was given.", { hint: "fula-master --help" });
}

function interrupted(error: unknown): unknown {
  if (error instanceof FulaError) return error;
  return new FulaError("FULA_INTERRUPTED", "Stopped before the work was done.", {
    cause: error,
    hint: "run the same command again; it goes on where it stopped.",
  });
}
