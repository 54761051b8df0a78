import { defineCommand } from "../lib/terminal/command.ts";

/** `config show`: every effective value with its source. */
export const configShowCommand = defineCommand<{ readonly changed?: boolean }>({
  name: "show",
  summary: "print every effective value and where it came from",
  description:
    "Prints every setting that is in force with its source: a flag, a name of the environment, a line of .env or of " +
    "fula-master.yaml, or the default. Secrets are shown as ****. Reads only.",
  examples: [
    { command: "fula-master config show", explains: "all settings" },
    { command: "fula-master config show sweep", explains: "one section, or one setting: sweep.replMin" },
    { command: "fula-master config show --changed", explains: "only what differs from the defaults" },
    { command: "fula-master config show --json", explains: "key, value, text, source and secret of each" },
  ],
  arguments: [{ name: "key", description: "a setting or a section; default all" }],
  options: [{ flags: "--changed", description: "leave out what has its default" }],
  run: async (context, { changed = false }, args) => {
    const { loadConfig } = await import("../lib/config/load.ts");
    const { selectSettings } = await import("../lib/config/show.ts");
    const { out } = context;
    const loaded = await loadConfig(context);
    const shown = selectSettings(loaded, args[0]).filter(({ source }) => !changed || source.kind !== "default");
    const { baseDir, configFile, envFile } = loaded.paths;
    out.result({ baseDir, configFile, envFile, settings: shown }, () =>
      out.table(
        // The value stands last: a list of keys would push everything behind it out of sight.
        [{ title: "SETTING" }, { title: "FROM", cut: "middle" }, { title: "VALUE", cut: "end" }],
        shown.map(({ key, text, from, source }) => [
          key,
          source.kind === "default" ? { text: from, style: (part) => out.style.dim(part) } : from,
          text,
        ]),
      ),
    );
    if (loaded.warnings.length > 0)
      out.note(`${loaded.warnings.length} doubtful; fula-master config check tells more.`);
  },
});
