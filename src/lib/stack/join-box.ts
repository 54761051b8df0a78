import { type ConfigReading, type LoadedConfig, loadConfig, type Overrides, readConfig } from "../config/load.ts";
import { errorOf } from "../config/problems.ts";
import type { Paths } from "../config/paths.ts";
import { SECRETS } from "../config/schema.ts";
import type { Clock } from "../kernel/clock.ts";
import { FulaError } from "../kernel/errors.ts";
import { exists } from "../kernel/files.ts";
import type { Log } from "../kernel/log.ts";
import type { Random } from "../kernel/random.ts";
import type { Secret } from "../kernel/secret.ts";
import { type JoinBundle, SHARED_SECRETS } from "../membership/join-bundle.ts";
import { type DockerDetection, detectDockerEngine } from "../runtime/docker.ts";
import { hostFacts } from "../runtime/host.ts";
import { type DockerFacts, readDockerFacts } from "./detect-docker.ts";
import { findWriter, type Writer } from "./detect-writer.ts";
import { type Installation, readInstallation } from "./installation.ts";
import type { Entry } from "./join-entry.ts";
import { assertSameInstallation, assertStoresFit, decisions, isWriterGiven } from "./join-decisions.ts";
import { type JoinOptions, legacyClusterSecret, overridesOf, parsePostgresUrl } from "./join-options.ts";
import { chooseRuntime, type Runtime, type RuntimeChoice } from "./join-runtime.ts";
import { type RunProgram, runProgram } from "./scheduler.ts";

/** What `join` is given by its command. */
export interface JoinContext {
  readonly globals: { readonly baseDir?: string; readonly config?: string };
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly cwd: string;
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Log;
  readonly signal: AbortSignal;
  /** Reads standard input to its end, for a join token that is piped in. */
  readonly readInput: () => Promise<string>;
  /** Runs the programs that tell what runs on the box; tests hand in their own. */
  readonly run?: RunProgram;
}

/** The box as a run of `join` finds it, and as it shall be afterwards. */
export interface JoinBox {
  readonly context: JoinContext;
  readonly options: JoinOptions;
  readonly paths: Paths;
  readonly docker: DockerDetection;
  readonly choice: RuntimeChoice;
  /** A writer that was found on this box and is adopted; null where none was, and where its addresses were given. */
  readonly writer: Writer | null;
  /** The join token of this run; null without one, and once everything of it is on this box. */
  readonly entry: Entry | null;
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

/** What the files alone say, before or after this run. */
export async function loadSaved(context: JoinContext): Promise<LoadedConfig> {
  return await loadConfig({ ...context, env: placeOnly(context) });
}

/** The names under which the secrets of a join token would stand in the environment. */
function bundleSecrets(bundle: JoinBundle | null): Readonly<Record<string, Secret>> {
  if (bundle === null) return {};
  const named = SHARED_SECRETS.map((key) => {
    const name = SECRETS.find((entry) => entry.key === key)?.envName ?? key;
    return [name, bundle.secrets[key]] as const;
  });
  return Object.fromEntries(named.filter((entry): entry is readonly [string, Secret] => entry[1] !== null));
}

function given(
  context: JoinContext,
  options: JoinOptions,
  bundle: JoinBundle | null,
): { readonly context: JoinContext; readonly overrides: Overrides } {
  const ledger = options.postgresUrl === undefined ? null : parsePostgresUrl(options.postgresUrl);
  const overrides: Overrides = {
    ...overridesOf(options, ledger),
    runtime: { flag: "--runtime", value: options.runtime },
  };
  const { legacyClusterSecret: pool } = options;
  const password = ledger?.password ?? null;
  const secrets: Record<string, Secret> = {
    ...(password === null ? {} : { POSTGRES_PASSWORD: password }),
    ...(pool === undefined ? {} : { CLUSTER_SECRET: legacyClusterSecret(pool) }),
    ...bundleSecrets(bundle),
  };
  for (const [name, secret] of Object.entries(secrets)) {
    const other = context.env[name] ?? "";
    if (name === "POSTGRES_PASSWORD" || other === "" || other === secret.reveal()) continue;
    throw new FulaError("FULA_JOIN_CONFLICT", `${name} in the environment differs from the one of the federation.`, {
      hint: `unset ${name}; the join token brings the right one.`,
    });
  }
  const revealed = Object.entries(secrets).map(([name, secret]) => [name, secret.reveal()] as const);
  return { context: { ...context, env: { ...context.env, ...Object.fromEntries(revealed) } }, overrides };
}

/**
 * Reads the configuration with everything that is wrong with it.
 * @throws FulaError FULA_USAGE for a bad --postgres-url or --set, FULA_CONFIG_UNKNOWN_KEY
 */
export async function readBoxConfig(context: JoinContext, options: JoinOptions): Promise<ConfigReading> {
  const { context: withSecrets, overrides } = given(context, options, null);
  return await readConfig(withSecrets, overrides);
}

/** What an earlier run decided. Where the settings were lost, the embedded server's directory tells. */
async function joinedAs(installation: Installation | null, saved: LoadedConfig): Promise<Runtime | null> {
  if (installation === null) return null;
  const { runtime } = saved.config;
  if (runtime !== "auto") return runtime;
  return (await exists(saved.paths.postgresDataDir)) ? "embedded" : null;
}

/** The project whose containers have the fleet's names, and in whose place a writer of the fleet can stand. */
const FLEET_PROJECT = "fula-master";

/** Looks for a writer to adopt, where nothing is said about one and this box could have the fleet's. */
async function findOwnWriter(
  context: JoinContext,
  first: LoadedConfig,
  facts: DockerFacts | null,
): Promise<Writer | null> {
  const keys = ["blocks.mode", "blocks.kuboApi", "cluster.mode", "cluster.api"] as const;
  const { project } = first.config.docker;
  if (project !== FLEET_PROJECT || keys.some((key) => first.sources[key].kind !== "default")) return null;
  const look = await findWriter({
    run: context.run ?? runProgram,
    containers: facts?.containers ?? null,
    project,
  });
  if (look.state === "none") return null;
  if (look.state === "found") return look.writer;
  throw new FulaError("FULA_WRITER_UNFIT", `Half of a writer runs on this box: ${look.what}. Nothing was changed.`, {
    hint: "start the other half and run the command again, and it is adopted; or stop this one for good (systemctl disable --now), and join starts a writer of its own.",
  });
}

interface Choice {
  readonly choice: RuntimeChoice;
  readonly docker: DockerDetection;
  readonly facts: DockerFacts | null;
}

async function choose(context: JoinContext, first: LoadedConfig, joined: Runtime | null): Promise<Choice> {
  const { env, signal } = context;
  const docker = await detectDockerEngine({ env, signal });
  const choice = chooseRuntime({
    wanted: first.config.runtime,
    joinedAs: joined,
    postgresMode: first.config.postgres.mode,
    writerGiven: isWriterGiven(first),
    docker,
    isRoot: hostFacts().uid === 0,
  });
  const facts =
    choice.runtime === "docker" && docker.absent === undefined ? await readDockerFacts(env, first.config) : null;
  return { choice, docker, facts };
}

function assertSameFederation(bundle: JoinBundle | null, clusterId: string): void {
  if (bundle === null || bundle.clusterId === clusterId) return;
  throw new FulaError(
    "FULA_JOIN_CONFLICT",
    `This box is of cluster ${clusterId}, and the join token is of cluster ${bundle.clusterId}.`,
    {
      hint: "join that federation in a new --base-dir.",
      details: { box: clusterId, token: bundle.clusterId },
    },
  );
}

/**
 * Reads what is there and decides what is wanted. Writes nothing.
 * @param newClusterId the name that the pinset gets where it has none yet
 * @param entry the join token of this run, with what it holds
 * @throws FulaError FULA_JOIN_CONFLICT, FULA_USAGE, FULA_WRITER_UNFIT, FULA_CONFIG_*, FULA_STATE_NEWER, FULA_BASE_DIR_FOREIGN
 */
export async function readBox(
  context: JoinContext,
  options: JoinOptions,
  newClusterId: string,
  entry: Entry | null = null,
): Promise<JoinBox> {
  const bundle = entry?.bundle ?? null;
  const { context: withSecrets, overrides } = given(context, options, bundle);
  const first = await readConfig(withSecrets, overrides);
  const problem = errorOf(first.problems);
  if (problem !== null) throw problem;
  const reloadSaved = async (): Promise<LoadedConfig> => await loadSaved(context);
  const saved = await reloadSaved();
  const installation = await readInstallation(first.paths.stateDir);
  const { choice, docker, facts } = await choose(context, first, await joinedAs(installation, saved));
  const writer = choice.runtime === "docker" ? await findOwnWriter(context, first, facts) : null;
  const clusterId = first.config.node.clusterId ?? installation?.clusterId ?? bundle?.clusterId ?? newClusterId;
  const decided = decisions({
    first,
    choice,
    clusterId,
    writer,
    bundle,
    hasGatewayImage: facts?.hasGatewayImage ?? false,
  });
  const reload = async (): Promise<LoadedConfig> => await loadConfig(withSecrets, { ...overrides, ...decided });
  const wanted = await reload();
  assertSameInstallation(installation, first.config.node.clusterId, wanted, saved);
  assertSameFederation(bundle, clusterId);
  assertStoresFit(wanted);
  return {
    context,
    options,
    paths: first.paths,
    docker,
    choice,
    writer,
    entry,
    installation,
    clusterId,
    wanted,
    saved,
    reload,
    reloadSaved,
  };
}
