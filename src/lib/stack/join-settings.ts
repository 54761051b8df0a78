import { describeSource, type LoadedConfig } from "../config/load.ts";
import { type Config, type SecretKey, SECRETS, type SettingKey, SETTINGS, valueOf } from "../config/schema.ts";
import { FulaError } from "../kernel/errors.ts";
import type { Random } from "../kernel/random.ts";
import { Secret } from "../kernel/secret.ts";

/** One line of the settings file that `join` writes. */
export interface WantedSetting {
  readonly key: SettingKey;
  /** What the file says now, rendered; null where it says nothing. */
  readonly from: string | null;
  readonly to: string;
  /** In the form that the settings file holds. */
  readonly value: unknown;
  readonly because: string;
}

/** What a master must find again at its next start, whatever the host is called then and whatever the defaults are then. */
const ALWAYS_SAVED: ReadonlySet<SettingKey> = new Set<SettingKey>([
  "runtime",
  "node.name",
  "node.clusterId",
  "server.port",
  "gateway.port",
  "api.port",
  "sweep.replMin",
]);

/** The same for a storage node, which has neither gateway nor sweeps. */
const ALWAYS_SAVED_ON_STORAGE: ReadonlySet<SettingKey> = new Set<SettingKey>([
  "runtime",
  "node.name",
  "node.clusterId",
]);

/**
 * What containers are made from: a later version with other defaults must not make others of them at its next join.
 * Images are changed by `fula-master upgrade`, one after another.
 */
const SAVED_WITH_CONTAINERS: ReadonlySet<SettingKey> = new Set<SettingKey>([
  "docker.project",
  "docker.images.postgres",
  "docker.images.kubo",
  "docker.images.cluster",
  "docker.images.nats",
]);

function reasonOf(loaded: LoadedConfig, key: SettingKey): string | null {
  const source = loaded.sources[key];
  if (source.kind === "flag") return source.flag;
  if (source.kind === "environment") return describeSource(source);
  const saved = loaded.config.node.role === "storage" ? ALWAYS_SAVED_ON_STORAGE : ALWAYS_SAVED;
  const isSaved = saved.has(key) || (loaded.config.runtime === "docker" && SAVED_WITH_CONTAINERS.has(key));
  return isSaved ? "what join decided" : null;
}

/**
 * Compares the settings of this run with the files: what flags, the environment and `join` itself set is to be
 * written, so that timers and later commands find the same.
 * @param saved the configuration as the files alone give it
 * @throws FulaError FULA_JOIN_CONFLICT where `.env` would go on to win over what is to be written
 */
export function settingChanges(loaded: LoadedConfig, saved: LoadedConfig): readonly WantedSetting[] {
  return SETTINGS.flatMap((entry): readonly WantedSetting[] => {
    const { key, setting } = entry;
    const because = reasonOf(loaded, key);
    if (because === null) return [];
    const value = valueOf(loaded.config, entry);
    const to = setting.render(value);
    const source = saved.sources[key];
    const from = source.kind === "default" ? null : setting.render(valueOf(saved.config, entry));
    // Private values can look the same and differ.
    if (from !== null && setting.toText(valueOf(saved.config, entry)) === setting.toText(value)) return [];
    if (source.kind === "env-file") {
      throw new FulaError(
        "FULA_JOIN_CONFLICT",
        `${because} sets ${key} to ${to}, but ${describeSource(source)} says ${from}.`,
        {
          hint: `remove line ${source.line} of ${source.path}, or leave the option out.`,
        },
      );
    }
    return [{ key, from, to, value: setting.toFile(value), because }];
  });
}

/** What `join` does to the secrets file. */
export interface SecretChanges {
  /** Names and values that the file lacks. */
  readonly added: Readonly<Record<string, Secret>>;
  /** Names whose value the operator replaced on purpose. */
  readonly replaced: Readonly<Record<string, Secret>>;
  /** Names among `added` whose value was generated. */
  readonly generated: readonly string[];
}

/** True where nobody else can give the secret: it opens what this box itself makes. */
function isOursToMake(key: SecretKey, { node, postgres, blocks, cluster }: Config): boolean {
  // A storage node is given the one secret that it has.
  if (node.role === "storage") return false;
  if (key === "postgresPassword") return postgres.mode !== "external";
  // It is the existing fleet's, and a door that nobody asked for where there is none.
  if (key === "pinServiceSecret") return false;
  if (key === "otherMasterSecrets") return false;
  if (key === "swarmKey") return blocks.mode === "docker";
  return key !== "clusterSecret" || cluster.mode === "docker";
}

/** Bytes of a generated secret; 256 bits, as the fleet's installers make them. */
const SECRET_BYTES = 32;

/**
 * Decides which secrets are to be written: what is there is kept for ever, what the environment gives is saved, what
 * is nowhere is generated. The password of an external server is the operator's to give.
 * @throws FulaError FULA_JOIN_CONFLICT where the environment contradicts a secret that others depend on
 */
export function secretChanges(loaded: LoadedConfig, saved: LoadedConfig, random: Random): SecretChanges {
  const added: Record<string, Secret> = {};
  const replaced: Record<string, Secret> = {};
  const generated: string[] = [];
  for (const { key, envName } of SECRETS) {
    const given = loaded.sources[key].kind === "environment" ? loaded.secrets[key] : null;
    const there = saved.secrets[key];
    if (there !== null && given !== null && given.reveal() !== there.reveal()) {
      if (key !== "postgresPassword") throw secretConflict(envName, loaded.paths.envFile);
      replaced[envName] = given;
    } else if (there === null && given !== null) {
      added[envName] = given;
    } else if (there === null && isOursToMake(key, loaded.config)) {
      added[envName] = new Secret(Buffer.from(random.bytes(SECRET_BYTES)).toString("hex"));
      generated.push(envName);
    }
  }
  return { added, replaced, generated };
}

function secretConflict(name: string, envFile: string): FulaError {
  return new FulaError("FULA_JOIN_CONFLICT", `${name} in the environment differs from the one in ${envFile}.`, {
    hint: `unset ${name}; or, if the new one is meant or came with a join token, take the old one out of ${envFile}: sessions, tokens or encrypted data of the old one are lost.`,
  });
}
