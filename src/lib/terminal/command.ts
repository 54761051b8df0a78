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
  /** All commands of this CLI, for those that speak about the others. */
  readonly commands: readonly CommandSpec[];
  /** The operator id that the control plane let do this; left out where nobody had to be asked. */
  readonly operator?: string;
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

/** One argument that stands by its position. Names `file` and `dir` are completed as paths. */
export interface ArgumentSpec {
  readonly name: string;
  readonly description: string;
  readonly required?: boolean;
  /** Takes all that follow; only the last argument may. */
  readonly variadic?: boolean;
  readonly choices?: readonly string[];
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
  readonly arguments?: readonly ArgumentSpec[];
  readonly options?: readonly OptionSpec[];
  /** True adds `--dry-run`: prints the plan and writes nothing. */
  readonly changes?: boolean;
  /** True adds `--yes`: the command asks otherwise. */
  readonly asks?: boolean;
  /**
   * The role in the control plane that whoever runs it must have; it is asked before the action, in a dry run too. Left
   * out for what this box alone, or nobody, is changed by: docs/operators.md lists each with the reason.
   */
  readonly requires?: "operator" | "admin";
  /** True for a run that changes nothing whatever comes of it, so that nobody is asked; left out where none is so. */
  readonly onlyLooks?: (options: never, args: readonly string[]) => boolean;
  /** True adds `--without-authorization <reason>`: it goes on where nobody can be asked, as nobody can on a bad day. */
  readonly emergency?: boolean;
  /** True waits up to a minute for whom to ask while the control plane elects, as it does when a master is lost. */
  readonly awaitsElection?: boolean;
  readonly subcommands?: readonly CommandSpec[];
  /** Returns the exit code; nothing means 0. */
  readonly run?: (context: CommandContext, options: never, args: readonly string[]) => Promise<number | void>;
}

/** Declares a command whose options have the type `Options`; `run` must import heavy modules itself, when it runs. */
export function defineCommand<Options = object>(
  spec: Omit<CommandSpec, "run" | "onlyLooks"> & {
    readonly onlyLooks?: (options: Options, args: readonly string[]) => boolean;
    readonly run?: (context: CommandContext, options: Options, args: readonly string[]) => Promise<number | void>;
  },
): CommandSpec {
  return spec;
}

/** Options of every command; they may also stand before the command's name. */
export const GLOBAL_OPTIONS: readonly OptionSpec[] = [
  { flags: "--json", description: "print the result as JSON on stdout; everything else stays on stderr" },
  { flags: "--config <file>", description: "settings file (default: <base-dir>/fula-master.yaml)" },
  {
    flags: "--base-dir <dir>",
    description:
      "where everything of this box lives (default: /opt/fula-master for root, else ~/.local/share/fula-master)",
  },
  { flags: "-q, --quiet", description: "no progress and no remarks" },
  { flags: "-v, --verbose", description: "more detail, and the stack trace of an error" },
];

/** The options of a command alone, in the order the help shows them: its own, then those that its nature adds. */
export function ownOptionsOf(spec: CommandSpec): readonly OptionSpec[] {
  return [
    ...(spec.options ?? []),
    ...(spec.changes === true ? [{ flags: "--dry-run", description: "print the plan and write nothing" }] : []),
    ...(spec.asks === true ? [{ flags: "-y, --yes", description: "do not ask" }] : []),
    ...(spec.emergency === true
      ? [
          {
            flags: "--without-authorization <reason>",
            description: "go on where the control plane does not answer; the reason goes into the audit log",
          },
        ]
      : []),
  ];
}

/** What a command does, and whom it takes. */
export function describeCommand({ description, requires }: CommandSpec): string {
  return requires === undefined ? description : `${description} Takes an ${requires} of the control plane.`;
}

/** How a command is typed, without its arguments: `token create`. Empty for one that is none of `commands`. */
export function typedName(commands: readonly CommandSpec[], spec: CommandSpec): string {
  for (const command of commands) {
    if (command === spec) return command.name;
    const inner = typedName(command.subcommands ?? [], spec);
    if (inner !== "") return `${command.name} ${inner}`;
  }
  return "";
}

/** One argument in the notation of the help: `<file>`, `[cid...]`. */
export function argumentShape({ name, required, variadic }: ArgumentSpec): string {
  const shape = `${name}${variadic === true ? "..." : ""}`;
  return required === true ? `<${shape}>` : `[${shape}]`;
}
