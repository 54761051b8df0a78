import { FulaError } from "../kernel/errors.ts";
import { checkConfig } from "./check.ts";
import { readBoxFacts } from "./box-facts.ts";
import { readConfig } from "./load.ts";
import { type PathsContext, resolvePaths } from "./paths.ts";
import { type ConfigProblem, describeValue, errorOf, NOT_SHOWN, problem } from "./problems.ts";
import { type SettingEntry, settingOf } from "./schema.ts";
import { type SettingsUpdateReport, updateSettingsFile } from "./settings-file.ts";
import { describeSource, type ValueSource } from "./sources.ts";
import { unknownKey } from "./yaml-file.ts";

/** What `config set` and `config unset` did, or with `dryRun` would do. */
export interface SettingChangeReport extends SettingsUpdateReport {
  readonly key: string;
  readonly path: string;
  /** What stands above the settings file for this setting, so that the change has no effect in this environment. */
  readonly overriddenBy: ValueSource | null;
}

function entryFor(key: string): SettingEntry {
  const entry = settingOf(key);
  if (entry !== undefined) return entry;
  throw errorOf([unknownKey(key, "The command line")]) ?? new Error(key);
}

/** The value that stands in YAML for what was typed. @throws FulaError FULA_CONFIG_INVALID */
function yamlValue(entry: SettingEntry, typed: string): unknown {
  const { setting, key } = entry;
  const value = typed === "null" ? null : setting.fromText(typed);
  if (setting.schema.safeParse(value).success) return value;
  const reason = setting.explain(value);
  const message = `${key} cannot be ${setting.isPrivate ? NOT_SHOWN : describeValue(typed)}${reason === null ? "" : ` (${reason})`}; expected ${setting.expected}.`;
  throw (
    errorOf([problem("FULA_CONFIG_INVALID", key, message, `the default is ${setting.default.text}.`)]) ??
    new Error(message)
  );
}

function textOf({ subject, message }: ConfigProblem): string {
  return `${subject}\n${message}`;
}

/**
 * Changes one setting in the settings file after the whole configuration was checked with it; `typed` null takes the
 * setting out. What was wrong before does not stop a change, what the change makes wrong does.
 * @throws FulaError FULA_CONFIG_INVALID, FULA_CONFIG_UNKNOWN_KEY, FULA_CONFIG_SHADOWED, and those of `updateSettingsFile`
 */
export async function changeSetting(
  context: PathsContext,
  key: string,
  typed: string | null,
  options: { readonly dryRun: boolean; readonly signal?: AbortSignal },
): Promise<SettingChangeReport> {
  const entry = entryFor(key);
  const paths = resolvePaths(context);
  const changes = typed === null ? {} : { [entry.key]: yamlValue(entry, typed) };
  const update = { remove: typed === null ? [entry.key] : [] };
  const planned = await updateSettingsFile(paths.configFile, changes, { ...update, dryRun: true });
  const facts = await readBoxFacts(paths);
  const before = new Set(checkConfig(await readConfig(context, {}), facts).map(textOf));
  const after = await readConfig(context, {}, planned.text);
  const made = checkConfig(after, facts).filter((each) => !before.has(textOf(each)));
  const error = errorOf(made);
  if (error !== null) throw error;
  const source = after.sources[entry.key];
  if (source.kind === "env-file") {
    throw new FulaError(
      "FULA_CONFIG_SHADOWED",
      `Cannot change ${key} in ${paths.configFile}: ${describeSource(source)} stands above it.`,
      {
        hint: `change or remove line ${source.line} of ${source.path}.`,
        details: { key, source },
      },
    );
  }
  const { signal, dryRun } = options;
  const report = dryRun
    ? planned
    : await updateSettingsFile(paths.configFile, changes, { ...update, ...(signal === undefined ? {} : { signal }) });
  const overriddenBy = source.kind === "environment" ? source : null;
  return { ...report, key, path: paths.configFile, overriddenBy };
}
