import type { Command, CommanderError } from "commander";
import { FulaError } from "../kernel/errors.ts";
import { nearest } from "../kernel/nearest.ts";

/** The command as it is typed: `fula-master key create`. */
function pathOf(command: Command): string {
  return command.parent === null ? command.name() : `${pathOf(command.parent)} ${command.name()}`;
}

function unknownCommand(word: string, command: Command): FulaError {
  const path = pathOf(command);
  const names = command.createHelp().visibleCommands(command);
  const suggestion = nearest(
    word,
    names.flatMap((each) => [each.name()].concat(each.aliases())),
  );
  return new FulaError("FULA_USAGE", `"${word}" is no command of ${path}.`, {
    hint: suggestion === null ? `${path} --help` : `${path} ${suggestion}, or ${path} --help for the list.`,
    details: { command: path, unknown: word, nearest: suggestion },
  });
}

function unknownOption(flag: string, command: Command): FulaError {
  const path = pathOf(command);
  const flags = command.options.flatMap(({ long, short }) => [long, short]).filter((each) => each !== undefined);
  const typed = flag.split("=", 1)[0] ?? flag;
  const suggestion = typed.startsWith("--") ? nearest(typed, flags) : null;
  return new FulaError("FULA_USAGE", `${path} has no option ${typed}.`, {
    hint: suggestion === null ? `${path} --help` : `${suggestion}, or ${path} --help for the list.`,
    details: { command: path, unknown: typed, nearest: suggestion },
  });
}

function quotedIn(message: string): string {
  return /'([^']*)'/.exec(message)?.[1] ?? "";
}

/**
 * Says what is wrong with a command line in our words. Commander gives its kind as a code, and the word in question
 * only in quotes within its message.
 */
export function explainUsage(error: CommanderError, command: Command): FulaError {
  const path = pathOf(command);
  const firstWord = command.args[0] ?? "";
  if (error.code === "commander.unknownCommand") return unknownCommand(firstWord, command);
  if (error.code === "commander.unknownOption") {
    // Where the command itself is unknown, so are its options; the command is what was mistyped.
    const isCommandUnknown = command.commands.length > 0 && firstWord !== "" && !firstWord.startsWith("-");
    return isCommandUnknown ? unknownCommand(firstWord, command) : unknownOption(quotedIn(error.message), command);
  }
  if (error.code === "commander.excessArguments" && command.commands.length > 0) {
    return unknownCommand(firstWord, command);
  }
  if (error.code === "commander.missingArgument") {
    return new FulaError("FULA_USAGE", `${path} needs <${quotedIn(error.message)}>.`, { hint: `${path} --help` });
  }
  const text = error.message.replace(/^error: /, "").replaceAll("'", '"');
  return new FulaError("FULA_USAGE", `${path}: ${text}${text.endsWith(".") ? "" : "."}`, { hint: `${path} --help` });
}
