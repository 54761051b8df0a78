import { COMMANDS } from "../../src/commands/all.ts";
import {
  argumentShape,
  type CommandSpec,
  GLOBAL_OPTIONS,
  type OptionSpec,
  describeCommand,
  ownOptionsOf,
} from "../../src/lib/terminal/command.ts";
import { GENERATED_NOTE, table } from "./markdown.ts";

const EXIT_CODES = [
  ["0", "done"],
  ["1", "the check came out bad: a bad signature, an under-replicated pin with `--strict`, unhealthy"],
  ["2", "usage, configuration or installation is wrong"],
  ["3", "refused: a guard tripped, someone else holds the lock, nobody confirmed"],
  ["4", "a dependency did not answer; try again later"],
  ["70", "a bug in fula-master"],
  ["130", "interrupted before the work was done"],
];

const ENVIRONMENT = [
  ["`NO_COLOR`", "anything but nothing turns colours off; so do a pipe and `TERM=dumb`"],
  ["`FORCE_COLOR`", "`1` turns colours on where they would be off, `0` turns them off"],
  ["`FULA_MASTER_NODE`", "the `node` to run under, where the one that starts the program is older than 24"],
];

function optionTable(options: readonly OptionSpec[]): string {
  const rows = options.map(({ flags, description, choices, default: preset }) => {
    const notes = [
      ...(choices === undefined ? [] : [`one of ${choices.map((choice) => `\`${choice}\``).join(", ")}`]),
      ...(preset === undefined ? [] : [`default \`${String(preset)}\``]),
    ];
    return [`\`${flags}\``, notes.length === 0 ? description : `${description} (${notes.join("; ")})`];
  });
  return table(["option", "meaning"], rows);
}

function usageOf(spec: CommandSpec, path: string): string {
  const words = [
    path,
    ...(spec.run === undefined ? ["<command>"] : ["[options]"]),
    ...(spec.arguments ?? []).map(argumentShape),
  ];
  return words.join(" ");
}

function sectionsOf(spec: CommandSpec, parentPath: string, depth: number): readonly string[] {
  const path = `${parentPath} ${spec.name}`;
  const own = ownOptionsOf(spec);
  const args = spec.arguments ?? [];
  const examples = spec.examples.map(({ command, explains }) => `# ${explains}\n${command}`);
  const aliases = (spec.aliases ?? []).map((alias) => `\`${parentPath} ${alias}\``);
  const section = [
    `${"#".repeat(depth)} ${path.replace("fula-master ", "")}`,
    describeCommand(spec),
    ...(aliases.length === 0 ? [] : [`Also: ${aliases.join(", ")}.`]),
    `\`\`\`text\n${usageOf(spec, path)}\n\`\`\``,
    ...(args.length === 0
      ? []
      : [
          table(
            ["argument", "meaning"],
            args.map((each) => [`\`${argumentShape(each)}\``, each.description]),
          ),
        ]),
    ...(own.length === 0 ? [] : [optionTable(own)]),
    `\`\`\`sh\n${examples.join("\n")}\n\`\`\``,
  ].join("\n\n");
  return [section, ...(spec.subcommands ?? []).flatMap((sub) => sectionsOf(sub, path, depth + 1))];
}

/** Renders docs/commands.md. */
export function renderCommandsDoc(): string {
  const overview = COMMANDS.map(({ name, summary }) => [`[\`${name}\`](#${name})`, summary]);
  const sections = COMMANDS.flatMap((spec) => sectionsOf(spec, "fula-master", 2));
  return `${GENERATED_NOTE}
# Commands

${table(["command", "what it does"], overview)}

\`fula-master help <command>\` prints the same as stands here; \`fula-master completion\` teaches it to your shell.

Results go to stdout and nothing else does; progress, remarks and errors go to stderr. With \`--json\` the result is one JSON
document, or one JSON line a record where it streams, and an error is one JSON document on stderr. Error codes are listed in
[ERRORS.md](ERRORS.md).

## Exit codes

${table(["exit code", "meaning"], EXIT_CODES)}

## Environment

Settings may come from the environment, too: [configuration.md](configuration.md). Besides those:

${table(["variable", "meaning"], ENVIRONMENT)}

## Options of every command

They may stand before the command's name, too.

${optionTable(GLOBAL_OPTIONS)}

${sections.join("\n\n")}
`;
}
