import { SECRETS, SETTINGS, type SettingEntry } from "./schema.ts";

const INTRODUCTION = `# Configuration

<!-- Rendered from src/lib/config/schema.ts by \`npm run docs:generate\`. Do not edit. -->

Every setting has a default that is safe on a single box; \`fula-master join\` writes what it finds out. To see what is in
force and where each value came from:

\`\`\`console
$ fula-master config show
$ fula-master config check
$ fula-master config set snapshot.maxAge 30h
\`\`\`

## Where values come from

The first of these that gives a value decides:

1. a flag of the command;
2. the environment: the name \`FULA_MASTER_...\` of the setting, then the names of the existing fleet, in the order of the
   tables below. An empty variable counts as not set;
3. \`.env\` in the base directory, with the same names. It is meant for secrets, but a setting in it counts, as it does on
   the existing fleet; \`config check\` tells where it hides a different value of the settings file;
4. \`fula-master.yaml\` in the base directory, or the file that \`--config\` or \`FULA_MASTER_CONFIG\` names;
5. the default.

A key or a \`FULA_MASTER_...\` name that does not exist is refused with the nearest one that does, a wrong type or an
impossible value with what was expected, and a settings file that is cut off, empty or damaged with line and column.
All of these end with exit code 2 and change nothing.

The base directory is \`--base-dir\`, else \`FULA_MASTER_BASE_DIR\`, else \`/opt/fula-master\` for root and
\`$XDG_DATA_HOME/fula-master\` (\`~/.local/share/fula-master\`) for others. \`fula-master config path\` prints it.

**Durations** are text with a unit: \`500ms\`, \`30s\`, \`15m\`, \`26h\`, \`7d\`. **Sizes** are bytes, or text with a binary unit:
\`5GiB\`. **Lists** are YAML lists, and in the environment values with commas between them. **Schedules** are five crontab
fields (numbers, names, ranges, lists, \`*/n\` and \`a-b/n\`) or \`@hourly\`, \`@daily\`, \`@weekly\`, \`@monthly\`, in the box's time
zone. **Addresses** are multiaddrs such as \`/ip4/127.0.0.1/tcp/5001\`, or \`http://host:port\`.

Names marked with * are flags of the existing fleet and follow its rule: only the text \`true\` turns them on, any other
text turns them off.
`;

const SECRETS_TEXT = `## Secrets

Secrets live in \`.env\` in the base directory (mode 0600) or in the environment, never in the settings file and never on
a command line. \`join\` generates each that is missing, once: 32 random bytes in hex. A re-run keeps every secret and
every line of the file that it did not write.

| name | what it is for |
|---|---|
`;

const ENV_FILE_TEXT = `
### How \`.env\` is written and read

What fula-master writes is read back to the last character by fula-master itself, by \`bash -c 'set -a; . ./.env'\` and by
\`docker compose\`, and nothing in it is expanded or executed: a value of letters, digits and \`_ . / : , @ % + = -\` stands
as it is; any other in single quotes; one that has a single quote in it, or a backslash at its end, in double quotes with
\`$\`, \`"\` and \`\\\` escaped. Newlines stand in the quotes as they are.

Limits: a NUL and text that is not Unicode are refused, for no environment variable can hold them. A value that needs
double quotes *and* has a backtick in it is written for \`bash\` (\`'it'\\''s'\`); \`docker compose\` has no way to write such a
value and stops with an error. All this was compared with Compose's own parser, compose-go 1.20 to 2.16, on 20,000 random
values; compose-go 1.10 and older also stop at a value that ends with a backslash.

What you write yourself is read like this: a value in quotes is a shell word, in which nothing is expanded; a value
without quotes is taken literally, up to a \`#\` after a blank. Comments, blank lines, names that fula-master does not know,
\`export NAME=...\`, the order of the lines and CRLF line ends all stay as they are. Where a name stands twice, the last
line counts. \`config check\` points at values without quotes that other readers would read differently.
`;

function cell(text: string): string {
  return text.replaceAll("|", "\\|");
}

function code(text: string): string {
  return `\`${text}\``;
}

function row({ key, setting, envNames }: SettingEntry): string {
  const seeds = new Map(setting.seeds.map(({ name, rule }) => [name, rule]));
  const names = envNames.map((name) => `${code(name)}${seeds.get(name) === "exactly-true" ? "*" : ""}`).join(", ");
  return `| ${code(key)} | ${cell(setting.description)} | ${cell(setting.expected)} | ${cell(setting.default.text)} | ${names} |`;
}

function section(name: string, entries: readonly SettingEntry[]): string {
  const head = "| setting | what it is | takes | default | environment |\n|---|---|---|---|---|";
  return `### ${name}\n\n${head}\n${entries.map(row).join("\n")}\n`;
}

/** The text of docs/configuration.md; a test compares the two. */
export function renderConfigurationReference(): string {
  const names = [...new Set(SETTINGS.map(({ path }) => path[0] ?? ""))];
  const sections = names.map((name) =>
    section(
      name,
      SETTINGS.filter(({ path }) => path[0] === name),
    ),
  );
  const secrets = SECRETS.map(({ envName, description }) => `| ${code(envName)} | ${description} |`).join("\n");
  return `${INTRODUCTION}\n## Settings\n\n${sections.join("\n")}\n${SECRETS_TEXT}${secrets}\n${ENV_FILE_TEXT}`;
}
