import type { EnvAssignment } from "./env-syntax.ts";
import { envValue, type Paths } from "./paths.ts";
import type { SettingEntry, SettingKey } from "./schema.ts";
import type { FileEntry } from "./yaml-file.ts";

/** Where an effective value came from. */
export type ValueSource =
  | { readonly kind: "flag"; readonly flag: string }
  | { readonly kind: "environment"; readonly name: string }
  | { readonly kind: "env-file"; readonly name: string; readonly path: string; readonly line: number }
  | { readonly kind: "file"; readonly path: string; readonly line: number }
  | { readonly kind: "default" };

/** A setting that the command line gives; an undefined value means that the flag was not used. */
export interface Override {
  /** As it is typed: `--port`. */
  readonly flag: string;
  /** Text is read as in the environment; anything else must already have the setting's type. */
  readonly value: unknown;
}

/** Settings from flags by dotted key: `{ "sweep.replMin": { flag: "--repl-min", value: options.replMin } }`. */
export type Overrides = Readonly<Partial<Record<SettingKey, Override>>>;

/** One value that is offered for a setting. */
export interface Candidate {
  readonly source: ValueSource;
  readonly raw: unknown;
  /** True where `raw` is text of the environment or a flag. */
  readonly isText: boolean;
}

/** Everything that settings are read from. */
export interface Inputs {
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly overrides: Overrides;
  readonly paths: Paths;
  readonly envFile: ReadonlyMap<string, EnvAssignment>;
  readonly file: ReadonlyMap<string, FileEntry>;
}

/** Says where a value came from: `environment POSTGRES_HOST`, `/opt/fula-master/fula-master.yaml:12`, `default`. */
export function describeSource(source: ValueSource): string {
  if (source.kind === "flag") return source.flag;
  if (source.kind === "environment") return `environment ${source.name}`;
  if (source.kind === "env-file") return `${source.path}:${source.line} ${source.name}`;
  return source.kind === "file" ? `${source.path}:${source.line}` : "default";
}

/** What is offered for a setting, strongest first. */
export function candidatesOf(entry: SettingEntry, inputs: Inputs): Candidate[] {
  const { env, overrides, paths, envFile, file } = inputs;
  const found: Candidate[] = [];
  const override = overrides[entry.key];
  if (override?.value !== undefined) {
    const { flag, value } = override;
    found.push({ source: { kind: "flag", flag }, raw: value, isText: typeof value === "string" });
  }
  for (const name of entry.envNames) {
    const raw = envValue(env, name);
    if (raw !== undefined) found.push({ source: { kind: "environment", name }, raw, isText: true });
  }
  for (const name of entry.envNames) {
    const line = envFile.get(name);
    if (line === undefined || line.value === "") continue;
    found.push({
      source: { kind: "env-file", name, path: paths.envFile, line: line.line },
      raw: line.value,
      isText: true,
    });
  }
  const entryInFile = file.get(entry.key);
  if (entryInFile !== undefined) {
    const { value, source, line } = entryInFile;
    const raw = entry.setting.readsSource && typeof value === "number" ? source : value;
    found.push({ source: { kind: "file", path: paths.configFile, line }, raw, isText: false });
  }
  return found;
}
