import type { Secret } from "../kernel/secret.ts";
import type { Paths, PathsContext } from "./paths.ts";
import type { Config, SecretKey, SettingKey } from "./schema.ts";

/** Where an effective value came from. */
export type ValueSource =
  | { readonly kind: "flag"; readonly flag: string }
  | { readonly kind: "environment"; readonly name: string }
  | { readonly kind: "env-file"; readonly name: string; readonly path: string; readonly line: number }
  | { readonly kind: "file"; readonly path: string; readonly line: number }
  | { readonly kind: "default" };

/** A setting that the command line gives; undefined or missing means that the flag was not used. */
export interface Override {
  readonly flag: string;
  /** Text is read as in the environment; anything else must already have the setting's type. */
  readonly value: unknown;
}

/** Settings from flags by dotted key: `{ "sweep.replMin": { flag: "--repl-min", value: options.replMin } }`. */
export type Overrides = Readonly<Partial<Record<SettingKey, Override>>>;

/** Each secret that is set; null where it is not. */
export type Secrets = Readonly<Record<SecretKey, Secret | null>>;

/** Something about the configuration that an operator should know. */
export interface ConfigProblem {
  readonly severity: "error" | "warning";
  readonly code:
    | "FULA_CONFIG_INVALID"
    | "FULA_CONFIG_SYNTAX"
    | "FULA_CONFIG_UNKNOWN_KEY"
    | "FULA_CONFIG_NOT_FOUND"
    | "FULA_CONFIG_RISK";
  /** Dotted key, environment name or path that it is about. */
  readonly subject: string;
  readonly message: string;
  readonly hint: string | null;
}

/** The effective configuration of one run. */
export interface LoadedConfig {
  readonly config: Config;
  readonly paths: Paths;
  readonly secrets: Secrets;
  readonly sources: Readonly<Record<SettingKey | SecretKey, ValueSource>>;
  /** What is doubtful but no reason to stop; `config check` prints them. */
  readonly warnings: readonly ConfigProblem[];
}

/**
 * Reads the configuration: flag, else environment, else `.env`, else `fula-master.yaml`, else default.
 * @throws FulaError FULA_CONFIG_SYNTAX, FULA_CONFIG_UNKNOWN_KEY, FULA_CONFIG_INVALID, FULA_CONFIG_NOT_FOUND
 */
export async function loadConfig(context: PathsContext, overrides: Overrides = {}): Promise<LoadedConfig> {
  await Promise.resolve();
  throw new Error(`not yet: ${JSON.stringify([context.cwd, overrides])}`);
}
