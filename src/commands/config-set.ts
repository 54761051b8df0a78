import { type CommandContext, defineCommand } from "../lib/terminal/command.ts";

interface ChangeOptions {
  readonly dryRun?: boolean;
}

function shownValue(value: unknown): string {
  return value === null ? "(default)" : JSON.stringify(value);
}

async function change(context: CommandContext, key: string, typed: string | null, dryRun: boolean): Promise<void> {
  const { changeSetting } = await import("../lib/config/change.ts");
  const { describeSource } = await import("../lib/config/load.ts");
  const { out, signal } = context;
  const report = await changeSetting(context, key, typed, { dryRun, signal });
  const { path, changes, created, overriddenBy } = report;
  out.result({ dryRun, path, created, changes, overriddenBy }, () => {
    if (changes.length === 0) return `Already so: ${path} was not changed.`;
    return changes
      .map(
        ({ from, to }) =>
          `${dryRun ? "Would change" : "Changed"} ${key} in ${path}: ${shownValue(from)} -> ${shownValue(to)}`,
      )
      .join("\n");
  });
  if (overriddenBy !== null)
    out.warn(`${describeSource(overriddenBy)} stands above it: here the change has no effect.`);
  if (changes.length > 0 && !dryRun) out.note("A running serve takes it up when it is started again.");
}

/** `config set`: one setting, checked before it is written. */
export const configSetCommand = defineCommand<ChangeOptions>({
  name: "set",
  summary: "change one setting in fula-master.yaml",
  description:
    "Writes one setting into fula-master.yaml and leaves every other line, comment and blank of it as it is. The whole " +
    "configuration is checked with the new value first; where that finds an error, nothing is written.",
  examples: [
    { command: "fula-master config set snapshot.maxAge 30h", explains: "durations have a unit" },
    {
      command: "fula-master config set snapshot.schedule '0 */4 * * *'",
      explains: "quote what the shell would expand",
    },
    { command: "fula-master config set server.port 9011 --dry-run", explains: "check it, and write nothing" },
  ],
  arguments: [
    { name: "key", description: "the setting, such as server.port", required: true },
    { name: "value", description: "its new value; lists with commas between the items", required: true },
  ],
  changes: true,
  run: async (context, { dryRun = false }, [key = "", value = ""]) => change(context, key, value, dryRun),
});

/** `config unset`: back to the default. */
export const configUnsetCommand = defineCommand<ChangeOptions>({
  name: "unset",
  summary: "take one setting out of fula-master.yaml",
  description: "Takes one setting out of fula-master.yaml, so that its default holds again. Comments stay.",
  examples: [{ command: "fula-master config unset server.port", explains: "back to port 9010" }],
  arguments: [{ name: "key", description: "the setting, such as server.port", required: true }],
  changes: true,
  run: async (context, { dryRun = false }, [key = ""]) => change(context, key, null, dryRun),
});
