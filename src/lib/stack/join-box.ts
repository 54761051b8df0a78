import {
  type ConfigReading,
  type LoadedConfig,
  loadConfig,
  type Override,
  type Overrides,
  readConfig,
} from "../config/load.ts";
import { errorOf } from "../config/problems.ts";
import type { Paths } from "../config/paths.ts";
import type { Clock } from "../kernel/clock.ts";
import { FulaError } from "../kernel/errors.ts";
import type { Log } from "../kernel/log.ts";
import type { Random } from "../kernel/random.ts";
import { detectDockerEngine } from "../runtime/docker.ts";
import { type Installation, readInstallation } from "./installation.ts";
import { type JoinOptions, overridesOf, parsePostgresUrl } from "./join-options.ts";
import { chooseRuntime, type RuntimeChoice } from "./join-runtime.ts";

/** What `join` is given by its command. */
export interface JoinContext {
  readonly globals: { readonly baseDir?: string; readonly config?: string };
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly cwd: string;
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Log;
  readonly signal: AbortSignal;
}

/** The box as a run of `join` finds it, and as it shall be afterwards. */
export interface JoinBox {
  readonly context: JoinContext;
  readonly options: JoinOptions;
  readonly paths: Paths;
  readonly choice: RuntimeChoice;
  /** Null before the first join. */
  readonly installation: Installation | null;
  readonly clusterId: string;
  /** The configuration that this run aims at. */
  readonly wanted: LoadedConfig;
  /** The configuration as the files alone give it. */
  readonly saved: LoadedConfig;
  /** Reads the wanted configuration again, with the secrets that were written meanwhile. */
  reload(): Promise<LoadedConfig>;
  /** Reads again what the files alone give: what a timer or a service manager will find. */
  reloadSaved(): Promise<LoadedConfig>;
}

/** The part of the environment that says where things are, without what it says about settings. */
function placeOnly(context: JoinContext): JoinContext["env"] {
  const { env } = context;
  return Object.fromEntries(
    ["HOME", "XDG_DATA_HOME", "FULA_MASTER_BASE_DIR", "FULA_MASTER_CONFIG"].map((name) => [name, env[name]]),
  );
}

function contextWithPassword(
  context: JoinContext,
  options: JoinOptions,
): { context: JoinContext; overrides: Overrides } {
  const ledger = options.postgresUrl === undefined ? null : parsePostgresUrl(options.postgresUrl);
  const overrides: Overrides = {
    ...overridesOf(options, ledger),
    runtime: { flag: "--runtime", value: options.runtime },
  };
  const password = ledger?.password ?? null;
  if (password === null) return { context, overrides };
  return { context: { ...context, env: { ...context.env, POSTGRES_PASSWORD: password.reveal() } }, overrides };
}

/** Reads the configuration with everything that is wrong with it. @throws FulaError FULA_USAGE for a bad --postgres-url */
export async function readBoxConfig(context: JoinContext, options: JoinOptions): Promise<ConfigReading> {
  const given = contextWithPassword(context, options);
  return await readConfig(given.context, given.overrides);
}

function assertSameInstallation(
  installation: Installation | null,
  clusterId: string | null,
  wanted: LoadedConfig,
  saved: LoadedConfig,
): void {
  if (installation !== null && clusterId !== null && clusterId !== installation.clusterId) {
    throw new FulaError(
      "FULA_JOIN_CONFLICT",
      `The settings name cluster ${clusterId}, but this base directory was made for cluster ${installation.clusterId}.`,
      {
        hint: `set node.clusterId to ${installation.clusterId}, or join the other cluster in another --base-dir.`,
        details: { settings: clusterId, installation: installation.clusterId },
      },
    );
  }
  const [from, to] = [saved.config.postgres.mode, wanted.config.postgres.mode];
  if (installation?.made.includes("ledger") === true && from !== to) {
    throw new FulaError("FULA_JOIN_CONFLICT", `This master's ledger is ${from}; join cannot make it ${to} in place.`, {
      hint: "join in another --base-dir and move the ledger there with pg_dump; nothing was changed.",
      details: { from, to },
    });
  }
}

function assertLocalStores(wanted: LoadedConfig): void {
  const { blocks, cluster } = wanted.config;
  if (blocks.mode === "local" && cluster.mode === "local") return;
  const what = blocks.mode === "local" ? "cluster.mode is rest" : "blocks.mode is kubo";
  throw new FulaError(
    "FULA_RUNTIME_UNSUPPORTED",
    `${what}, but this version keeps blocks and pinset on the box itself.`,
    {
      hint: "fula-master join --runtime embedded, or set blocks.mode and cluster.mode to local.",
    },
  );
}

/**
 * Reads what is there and decides what is wanted. Writes nothing.
 * @param newClusterId the name that the pinset gets where it has none yet
 * @throws FulaError FULA_RUNTIME_UNSUPPORTED, FULA_JOIN_CONFLICT, FULA_USAGE, FULA_CONFIG_*, FULA_STATE_NEWER, FULA_BASE_DIR_FOREIGN
 */
export async function readBox(context: JoinContext, options: JoinOptions, newClusterId: string): Promise<JoinBox> {
  const given = contextWithPassword(context, options);
  const first = await readConfig(given.context, given.overrides);
  const problem = errorOf(first.problems);
  if (problem !== null) throw problem;
  const reloadSaved = async (): Promise<LoadedConfig> => await loadConfig({ ...context, env: placeOnly(context) });
  const saved = await reloadSaved();
  const installation = await readInstallation(first.paths.stateDir);
  const choice = chooseRuntime({
    wanted: first.config.runtime,
    postgresMode: first.config.postgres.mode,
    docker: await detectDockerEngine({ env: context.env, signal: context.signal }),
  });
  const clusterId = first.config.node.clusterId ?? installation?.clusterId ?? newClusterId;
  const overrides = { ...given.overrides, ...decisions(first, choice, clusterId) };
  const reload = async (): Promise<LoadedConfig> => await loadConfig(given.context, overrides);
  const wanted = await reload();
  assertSameInstallation(installation, first.config.node.clusterId, wanted, saved);
  assertLocalStores(wanted);
  return { context, options, paths: first.paths, choice, installation, clusterId, wanted, saved, reload, reloadSaved };
}

function decided(value: unknown): Override {
  return { flag: "join", value };
}

/** What `join` itself sets where nobody else did. */
function decisions(first: LoadedConfig, choice: RuntimeChoice, clusterId: string): Overrides {
  const isGiven = (key: keyof typeof first.sources): boolean => first.sources[key].kind !== "default";
  return {
    runtime: decided(choice.runtime),
    "node.clusterId": decided(clusterId),
    "postgres.mode": decided(choice.runtime),
    // With `external` these two would be looked for elsewhere as well, and this version keeps them on the box.
    ...(isGiven("blocks.mode") || choice.runtime === "embedded" ? {} : { "blocks.mode": decided("local") }),
    ...(isGiven("cluster.mode") || choice.runtime === "embedded" ? {} : { "cluster.mode": decided("local") }),
    // A box alone cannot hold a pin twice; with the fleet's 2 every pin would be reported for ever.
    ...(isGiven("sweep.replMin") ? {} : { "sweep.replMin": decided(1) }),
  };
}
