import type { LoadedConfig } from "./load.ts";
import { errorOf } from "./problems.ts";
import { SECRETS, SETTINGS, valueOf } from "./schema.ts";
import { describeSource, type ValueSource } from "./sources.ts";
import { unknownKey } from "./yaml-file.ts";

/** One effective value; the field names are those of `config show --json`. */
export interface ShownSetting {
  readonly key: string;
  /** As the program uses it: durations in milliseconds, sizes in bytes. Of a secret only `****`, or null where it is not set. */
  readonly value: unknown;
  /** For people: `26h`, `(none)`. */
  readonly text: string;
  readonly source: ValueSource;
  /** The source in words. */
  readonly from: string;
  readonly secret: boolean;
}

/** Every effective value with where it came from, in the order of the reference; secrets redacted. */
function showSettings({ config, secrets, sources }: LoadedConfig): readonly ShownSetting[] {
  const settings = SETTINGS.map((entry) => {
    const value = valueOf(config, entry);
    const source = sources[entry.key];
    return {
      key: entry.key,
      value,
      text: entry.setting.render(value),
      source,
      from: describeSource(source),
      secret: false,
    };
  });
  const hidden = SECRETS.map(({ key, envName }) => {
    const secret = secrets[key];
    const source = sources[key];
    const value = secret === null ? null : String(secret);
    return {
      key: envName,
      value,
      text: value ?? "(not set)",
      source,
      from: secret === null ? "" : describeSource(source),
      secret: true,
    };
  });
  return [...settings, ...hidden];
}

/**
 * The settings of one section, one setting, or with no key all.
 * @throws FulaError FULA_CONFIG_UNKNOWN_KEY
 */
export function selectSettings(loaded: LoadedConfig, key: string | undefined): readonly ShownSetting[] {
  const all = showSettings(loaded);
  if (key === undefined) return all;
  const chosen = all.filter((shown) => shown.key === key || shown.key.startsWith(`${key}.`));
  if (chosen.length > 0) return chosen;
  throw errorOf([unknownKey(key, "The command line")]) ?? new Error(key);
}
