import { Command, CommanderError } from "commander";
import { COMMANDS } from "./commands/all.ts";
import { systemClock } from "./lib/kernel/clock.ts";
import { FulaError } from "./lib/kernel/errors.ts";
import { toolVersion } from "./lib/kernel/project.ts";
import { systemRandom } from "./lib/kernel/random.ts";
import { addCommand, type CommandRunner, type GlobalOptions } from "./lib/terminal/command.ts";
import { EXIT, reportError } from "./lib/terminal/errors.ts";
import { Output, type TerminalStreams } from "./lib/terminal/output.ts";

/** What one run of the CLI is given; the launcher hands in the process's own, tests theirs. */
export interface CliEnvironment extends TerminalStreams {
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly cwd: string;
  readonly signal: AbortSignal;
}

function globalsOf(options: Record<string, unknown>): GlobalOptions {
  const { config, baseDir } = options;
  return {
    json: options["json"] === true,
    quiet: options["quiet"] === true,
    verbose: options["verbose"] === true,
    ...(typeof config === "string" ? { config } : {}),
    ...(typeof baseDir === "string" ? { baseDir } : {}),
  };
}

function buildProgram(environment: CliEnvironment, runner: CommandRunner): Command {
  const program = new Command("fula-master")
    .description("Turns a plain Linux box into a federated IPFS storage master or storage node.")
    .version(toolVersion(), "-V, --version", "print the version")
    .helpOption("-h, --help", "show help; also: fula-master help <command>")
    .showSuggestionAfterError(true)
    .configureOutput({
      writeOut: (text) => environment.stdout.write(text),
      writeErr: (text) => environment.stderr.write(text),
    })
    .exitOverride();
  for (const spec of COMMANDS) addCommand(program, spec, runner);
  return program;
}

/** Runs the CLI once. @returns the exit code; never throws for what an operator can cause. */
export async function runCli(argv: readonly string[], environment: CliEnvironment): Promise<number> {
  let exitCode: number = EXIT.done;
  const output = (globals: GlobalOptions): Output => new Output(environment, { ...globals, env: environment.env });
  const runner: CommandRunner = async (spec, options, args) => {
    const globals = globalsOf(options);
    const out = output(globals);
    try {
      const context = {
        globals,
        out,
        env: environment.env,
        cwd: environment.cwd,
        clock: systemClock,
        random: systemRandom,
        signal: environment.signal,
      };
      // oxlint-disable-next-line typescript/no-unsafe-type-assertion -- each command declares the options that Commander parses for it
      exitCode = (await spec.run?.(context, options as never, args)) ?? EXIT.done;
    } catch (error) {
      exitCode = reportError(environment.signal.aborted ? interrupted(error) : error, out);
    }
  };
  try {
    await buildProgram(environment, runner).parseAsync([...argv], { from: "user" });
  } catch (error) {
    if (error instanceof CommanderError) return error.exitCode === 0 ? EXIT.done : EXIT.usage;
    return reportError(error, output({ json: argv.includes("--json"), quiet: false, verbose: false }));
  }
  return exitCode;
}

function interrupted(error: unknown): unknown {
  if (error instanceof FulaError) return error;
  return new FulaError("FULA_INTERRUPTED", "Stopped before the work was done.", {
    cause: error,
    hint: "run the same command again; it goes on where it stopped.",
  });
}
