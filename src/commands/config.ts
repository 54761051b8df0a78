import { FulaError } from "../lib/kernel/errors.ts";
import { nearest } from "../lib/kernel/nearest.ts";
import { defineCommand } from "../lib/terminal/command.ts";
import { configCheckCommand } from "./config-check.ts";
import { configSetCommand, configUnsetCommand } from "./config-set.ts";
import { configShowCommand } from "./config-show.ts";

function unknownPath(what: string, names: readonly string[]): FulaError {
  const meant = nearest(what, names);
  return new FulaError("FULA_USAGE", `There is no path named "${what}".`, {
    hint: `${meant === null ? "" : `fula-master config path ${meant}; `}the names are ${names.join(", ")}.`,
  });
}

const configPathCommand = defineCommand({
  name: "path",
  summary: "print where everything of this box lies",
  description:
    "Prints the base directory, why it is that one, and the files in it; or one path alone, for a script. Reads no file.",
  arguments: [{ name: "what", description: "one of the names that it prints, such as snapshotsDir" }],
  examples: [
    { command: "fula-master config path", explains: "where the settings, secrets, keys and snapshots are" },
    { command: "ls $(fula-master config path snapshotsDir)", explains: "one path, for a script" },
  ],
  run: async (context, _options, [wanted]) => {
    const { locateBaseDir, locateConfigFile, resolvePaths } = await import("../lib/config/paths.ts");
    const paths = resolvePaths(context);
    if (wanted !== undefined) {
      const path = Object.entries(paths).find(([name]) => name === wanted)?.[1];
      if (path === undefined) throw unknownPath(wanted, Object.keys(paths));
      context.out.result({ [wanted]: path }, () => path);
      return;
    }
    const because = {
      baseDir: locateBaseDir(context).because,
      configFile: locateConfigFile(context, paths.baseDir).because,
    };
    context.out.result({ ...paths, because }, () =>
      context.out.table(
        [{ title: "WHAT" }, { title: "PATH" }, { title: "BECAUSE" }],
        Object.entries(paths).map(([name, path]) => [
          name,
          path,
          name === "baseDir" || name === "configFile" ? because[name] : "",
        ]),
      ),
    );
  },
});

/** `config show|check|path|set|unset`. */
export const configCommand = defineCommand({
  name: "config",
  summary: "show, check and change the settings",
  description: "Shows, checks and changes the settings of this box. docs/configuration.md explains each.",
  examples: [
    { command: "fula-master config show", explains: "every effective value and where it came from" },
    { command: "fula-master config check", explains: "all problems at once; exit code 2 where there is an error" },
  ],
  subcommands: [configShowCommand, configCheckCommand, configPathCommand, configSetCommand, configUnsetCommand],
});
