import { readFile } from "node:fs/promises";
import { isFulaError, messageOf, systemErrorCode } from "../kernel/errors.ts";
import { nearest } from "../kernel/nearest.ts";
import { Secret } from "../kernel/secret.ts";
import { envFileValues, parseEnvFile, type EnvFile } from "./env-syntax.ts";
import { envValue, locateConfigFile, type Paths, type PathsContext, resolvePaths } from "./paths.ts";
import { type ConfigProblem, doubt, errorOf, problem } from "./problems.ts";
import {
  type Config,
  ENV_PREFIX,
  OTHER_ENV_NAMES,
  SECRETS,
  type SecretKey,
  SETTINGS,
  type SettingKey,
} from "./schema.ts";
import { resolveSettings } from "./resolve.ts";
import type { Inputs, Overrides, ValueSource } from "./sources.ts";
import { type FileEntry, parseSettingsFile } from "./yaml-file.ts";

export { describeSource, type Override, type Overrides } from "./sources.ts";

/** Each secret that is set; null where it is not. */
type Secrets = Readonly<Record<SecretKey, Secret | null>>;

/** Where each value came from, secrets included. */
type Sources = Readonly<Record<SettingKey | SecretKey, ValueSource>>;

/** The effective configuration of one run. */
export interface LoadedConfig {
  readonly config: Config;
  readonly paths: Paths;
  readonly secrets: Secrets;
  readonly sources: Sources;
  /** What is doubtful but no reason to stop; `config check` prints it. */
  readonly warnings: readonly ConfigProblem[];
}

/** The configuration and all that is wrong with it; a setting whose value was refused has its default. */
export interface ConfigReading extends LoadedConfig {
  readonly problems: readonly ConfigProblem[];
  /** What `.env` says; null where there is no such file or it cannot be read. */
  readonly envFile: EnvFile | null;
}

function nest(values: ReadonlyMap<string, unknown>): Config {
  const root: Record<string, unknown> = {};
  for (const { key, path } of SETTINGS) {
    let node = root;
    for (const name of path.slice(0, -1)) {
      node[name] ??= {};
      // oxlint-disable-next-line typescript/no-unsafe-type-assertion -- every inner node was made one line above
      node = node[name] as Record<string, unknown>;
    }
    node[path.at(-1) ?? key] = values.get(key);
  }
  // oxlint-disable-next-line typescript/no-unsafe-type-assertion -- built from the table that Config is the type of
  return root as Config;
}

function readSecrets(inputs: Inputs): { secrets: Secrets; sources: Map<string, ValueSource> } {
  const sources = new Map<string, ValueSource>();
  const found = SECRETS.map(({ key, envName }) => {
    const fromEnv = envValue(inputs.env, envName);
    const line = inputs.envFile.get(envName);
    const inFile = line === undefined || line.value === "" ? undefined : line;
    sources.set(
      key,
      fromEnv !== undefined
        ? { kind: "environment", name: envName }
        : inFile !== undefined
          ? { kind: "env-file", name: envName, path: inputs.paths.envFile, line: inFile.line }
          : { kind: "default" },
    );
    const value = fromEnv ?? inFile?.value;
    return [key, value === undefined ? null : new Secret(value)] as const;
  });
  // oxlint-disable-next-line typescript/no-unsafe-type-assertion -- one entry for each secret of the table
  return { secrets: Object.fromEntries(found) as Secrets, sources };
}

function unknownEnvNames(names: readonly string[], where: (name: string) => string): ConfigProblem[] {
  const known = [...SETTINGS.flatMap(({ envNames }) => envNames), ...OTHER_ENV_NAMES];
  return names
    .filter((name) => name.startsWith(ENV_PREFIX) && !known.includes(name))
    .map((name) => {
      const secret = SECRETS.find(({ envName }) => name === `${ENV_PREFIX}${envName}`);
      const meant =
        secret?.envName ??
        nearest(
          name,
          known.filter((candidate) => candidate.startsWith(ENV_PREFIX)),
        );
      return problem(
        "FULA_CONFIG_UNKNOWN_KEY",
        name,
        `${where(name)} is no setting.`,
        meant === null ? "remove it." : `did you mean ${meant}?`,
      );
    });
}

async function readText(path: string): Promise<string | ConfigProblem | null> {
  try {
    return await readFile(path, "utf8");
  } catch (error) {
    const errno = systemErrorCode(error);
    if (errno === "ENOENT") return null;
    return problem(
      "FULA_CONFIG_READ",
      path,
      `Cannot read ${path}: ${errno ?? messageOf(error)}.`,
      "run as the user that owns the base directory, or mend the rights.",
    );
  }
}

async function readEnvFile(path: string, problems: ConfigProblem[]): Promise<EnvFile | null> {
  const text = await readText(path);
  if (text === null) return null;
  if (typeof text !== "string") {
    problems.push(text);
    return null;
  }
  try {
    return parseEnvFile(text);
  } catch (error) {
    if (!isFulaError(error, "FULA_ENV_FILE_SYNTAX")) throw error;
    problems.push(problem("FULA_ENV_FILE_SYNTAX", path, `${path}: ${error.message}`, error.hint ?? null));
    return null;
  }
}

async function readSettings(
  context: PathsContext,
  path: string,
  problems: ConfigProblem[],
  instead: string | undefined,
): Promise<ReadonlyMap<string, FileEntry>> {
  const text = instead ?? (await readText(path));
  if (typeof text === "string") {
    const file = parseSettingsFile(text, path);
    problems.push(...file.problems);
    return file.entries;
  }
  if (text !== null) problems.push(text);
  const { because } = locateConfigFile(context, "");
  if (text === null && because !== "default") {
    problems.push(
      problem(
        "FULA_CONFIG_NOT_FOUND",
        path,
        `There is no settings file ${path}, which ${because} names.`,
        "correct the path, or leave it out to use <base-dir>/fula-master.yaml.",
      ),
    );
  }
  return new Map();
}

/** A line such as `JWT_SECRET: abc` that a person meant as a value, but that no reader takes as one. */
function strayLines(envFile: EnvFile, path: string): ConfigProblem[] {
  const known = new Set([...SECRETS.map(({ envName }) => envName), ...SETTINGS.flatMap(({ envNames }) => envNames)]);
  return envFile.stray.map(({ line, text }) => {
    const name = /[A-Za-z_][A-Za-z0-9_]*/.exec(text.replace(/^\s*export\s+/, ""))?.[0] ?? "";
    const message = `${path}:${line} is not of the form NAME=value`;
    return known.has(name)
      ? problem(
          "FULA_ENV_FILE_SYNTAX",
          name,
          `${message}, though it names ${name}.`,
          `write it as ${name}='value', or remove it.`,
        )
      : doubt(path, `${message} and is not read.`, "make it a comment with # if you want to keep it.");
  });
}

/**
 * Reads the configuration and everything that is wrong with it, without stopping at the first problem. With
 * `settingsText` as if the settings file held that text, so that a change can be judged before it is written.
 */
export async function readConfig(
  context: PathsContext,
  overrides: Overrides = {},
  settingsText?: string,
): Promise<ConfigReading> {
  const paths = resolvePaths(context);
  const problems: ConfigProblem[] = [];
  const file = await readSettings(context, paths.configFile, problems, settingsText);
  const envFile = await readEnvFile(paths.envFile, problems);
  const inputs: Inputs = {
    env: context.env,
    overrides,
    paths,
    envFile: envFileValues(envFile ?? { assignments: [], stray: [] }),
    file,
  };
  problems.push(...unknownEnvNames(Object.keys(context.env), (name) => `Environment variable ${name}`));
  if (envFile !== null) {
    problems.push(...strayLines(envFile, paths.envFile));
    problems.push(
      ...unknownEnvNames(
        [...inputs.envFile.keys()],
        (name) => `${paths.envFile}:${inputs.envFile.get(name)?.line} ${name}`,
      ),
    );
  }
  const settings = resolveSettings(inputs);
  const { secrets, sources: secretSources } = readSecrets(inputs);
  problems.push(...settings.problems);
  return {
    config: nest(settings.values),
    paths,
    secrets,
    // oxlint-disable-next-line typescript/no-unsafe-type-assertion -- both maps have one entry a row of their table
    sources: Object.fromEntries([...settings.sources, ...secretSources]) as Sources,
    warnings: problems.filter(({ severity }) => severity === "warning"),
    problems,
    envFile,
  };
}

/**
 * Reads the configuration: flag, else environment, else `.env`, else `fula-master.yaml`, else default. Writes nothing.
 * @throws FulaError FULA_CONFIG_SYNTAX, FULA_CONFIG_UNKNOWN_KEY, FULA_CONFIG_INVALID, FULA_CONFIG_NOT_FOUND,
 *   FULA_CONFIG_READ, FULA_ENV_FILE_SYNTAX; with several problems the first, and all in its `details`.
 */
export async function loadConfig(context: PathsContext, overrides: Overrides = {}): Promise<LoadedConfig> {
  const { config, paths, secrets, sources, warnings, problems } = await readConfig(context, overrides);
  const error = errorOf(problems);
  if (error !== null) throw error;
  return { config, paths, secrets, sources, warnings };
}
