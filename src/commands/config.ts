import { defineCommand } from "../lib/terminal/command.ts";
import { configCheckCommand } from "./config-check.ts";
import { configSetCommand, configUnsetCommand } from "./config-set.ts";
import { configShowCommand } from "./config-show.ts";

const configPathCommand = defineCommand({
  name: "path",
  summary: "print where everything of this box lies",
  description: "Prints the base directory, why it is that one, and the files in it. Reads no file.",
  examples: [
    { command: "fula-master config path", explains: "where the settings, secrets, keys and snapshots are" },
    { command: "fula-master config path --json | jq -r .configFile", explains: "one path, for a script" },
  ],
  run: async (context) => {
    const { locateBaseDir, locateConfigFile, resolvePaths } = await import("../lib/config/paths.ts");
    const paths = resolvePaths(context);
    const because = {
      baseDir: locateBaseDir(context).because,
      configFile: locateConfigFile(context, paths.baseDir).because,
    };
    context.out.result({ ...paths, because }, () =>
      context.out.table(
        [{ title: "WHAT" }, { title: "PATH" }, { title: "BECAUSE" }],
        Object.entries(paths).map(([what, path]) => [
          what,
          path,
          what === "baseDir" || what === "configFile" ? because[what] : "",
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
