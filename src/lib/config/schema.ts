import {
  duration,
  filePath,
  integer,
  list,
  listenHost,
  oneOf,
  optionalText,
  schedule,
  type Setting,
} from "./setting.ts";
import { API_SETTINGS } from "./api-settings.ts";
import { BILLING_SETTINGS } from "./billing-settings.ts";
import { BUCKETS_SETTINGS } from "./bucket-settings.ts";
import { CHAINS_SETTING } from "./chain-settings.ts";
import { CONTROL_PLANE_SETTINGS } from "./control-plane-settings.ts";
import { GATEWAY_SETTINGS } from "./gateway-settings.ts";
import { IDENTITY_SETTINGS } from "./identity-settings.ts";
import { INGEST_SETTINGS } from "./ingest-settings.ts";
import { PINNING_SETTINGS } from "./pinning-settings.ts";
import { BACKUP_SETTINGS, FAILOVER_SETTINGS, STANDBY_SETTINGS } from "./recovery-settings.ts";
import {
  BLOCKS_SETTINGS,
  CLUSTER_SETTINGS,
  DOCKER_SETTINGS,
  KUBO_SETTINGS,
  NODE_SETTINGS,
  POSTGRES_SETTINGS,
} from "./service-settings.ts";

const RUNTIMES = ["auto", "embedded", "docker", "external"] as const;

/**
 * Every setting, once: the type of the configuration, the names in YAML and in the environment, the checks, the
 * defaults and docs/configuration.md all come from this table.
 */
const SETTINGS_TREE = {
  runtime: oneOf({ description: "How this master's services run.", default: "auto" }, RUNTIMES),
  node: NODE_SETTINGS,
  postgres: POSTGRES_SETTINGS,
  blocks: BLOCKS_SETTINGS,
  kubo: KUBO_SETTINGS,
  cluster: CLUSTER_SETTINGS,
  controlPlane: CONTROL_PLANE_SETTINGS,
  standby: STANDBY_SETTINGS,
  backup: BACKUP_SETTINGS,
  failover: FAILOVER_SETTINGS,
  docker: DOCKER_SETTINGS,
  server: {
    host: listenHost({ description: "Address that /healthz, /readyz and /metrics listen on.", default: "127.0.0.1" }),
    port: integer(
      { description: "Port of /healthz, /readyz and /metrics; 0 takes any free one.", default: 9010 },
      0,
      65_535,
    ),
    logLevel: oneOf({ description: "Least important log lines that are written.", default: "info" }, [
      "debug",
      "info",
      "warn",
      "error",
    ] as const),
    shutdownTimeout: duration({ description: "How long a stop waits for work in flight.", default: "30s" }),
  },
  gateway: GATEWAY_SETTINGS,
  buckets: BUCKETS_SETTINGS,
  api: API_SETTINGS,
  identity: IDENTITY_SETTINGS,
  ingest: INGEST_SETTINGS,
  pinning: PINNING_SETTINGS,
  snapshot: {
    schedule: schedule({
      description: "When the pinset is snapshotted, in the box's time zone.",
      default: "0 */6 * * *",
    }),
    maxShrinkPercent: integer(
      {
        description: "A snapshot with this share fewer pins than the last one is refused without --accept-shrink.",
        default: 10,
      },
      0,
      100,
    ),
    maxAge: duration({ description: "A last good snapshot older than this is reported as stale.", default: "26h" }),
    keep: {
      last: integer({ description: "Newest snapshots that are kept.", default: 28 }, 1, 100_000),
      daily: integer({ description: "Days of which one snapshot each is kept.", default: 14 }, 0, 100_000),
      weekly: integer({ description: "Weeks of which one snapshot each is kept.", default: 8 }, 0, 100_000),
      monthly: integer({ description: "Months of which one snapshot each is kept.", default: 12 }, 0, 100_000),
    },
    trustedKeys: list(
      {
        description:
          "Public keys whose snapshots `verify` and `restore` accept, beside this box's own; `key trust` adds one.",
        default: { resolve: () => [], text: "(none)", example: "[]" },
      },
      /^ed25519:[0-9a-f]{64}$/,
      "ed25519:<64 lower-case hex digits of the raw public key>",
    ),
  },
  sweep: {
    replMin: integer(
      {
        description: "Fewest peers that must hold a pin that names no minimum of its own.",
        default: 2,
        env: ["REPL_MIN"],
      },
      1,
      1_000,
    ),
    schedule: schedule({
      description: "When pins are checked and repaired, in the box's time zone.",
      default: "*/30 * * * *",
    }),
    alertLog: filePath({
      description: "File that gets one line an under-replicated pin; a relative path starts at the base directory.",
      default: {
        resolve: ({ baseDir }) => `${baseDir}/replication-alerts.log`,
        text: "<base-dir>/replication-alerts.log",
        example: "replication-alerts.log",
      },
      env: ["ALERT_LOG"],
    }),
    alertCommand: optionalText({
      description: "Program, with its arguments, that gets new and cleared alerts as JSON lines on its standard input.",
      default: null,
    }),
  },
  billing: BILLING_SETTINGS,
  chains: CHAINS_SETTING,
} as const;

type ValueOf<Node> = Node extends Setting<infer T> ? T : { readonly [Key in keyof Node]: ValueOf<Node[Key]> };
type KeysOf<Node, Prefix extends string = ""> = {
  [Key in keyof Node & string]: Node[Key] extends Setting<infer _>
    ? `${Prefix}${Key}`
    : KeysOf<Node[Key], `${Prefix}${Key}.`>;
}[keyof Node & string];

/** The effective configuration. Durations are milliseconds, sizes bytes; the table above says what each setting is. */
export type Config = ValueOf<typeof SETTINGS_TREE>;

/** The dotted name of a setting: `server.port`. */
export type SettingKey = KeysOf<typeof SETTINGS_TREE>;

/** A setting of the table with its names. */
export interface SettingEntry {
  readonly key: SettingKey;
  readonly path: readonly string[];
  readonly setting: Setting<unknown>;
  /** Names in the environment, strongest first: `FULA_MASTER_…`, then those of the existing fleet. */
  readonly envNames: readonly string[];
}

/** A secret, which lives in `.env` or in the environment and nowhere else. */
export interface SecretEntry {
  readonly key: keyof typeof SECRET_NAMES;
  readonly envName: string;
  readonly description: string;
  /** Shorter ones are reported by `config check`. */
  readonly minLength: number;
}

const SECRET_NAMES = {
  postgresPassword: ["POSTGRES_PASSWORD", "Password of the ledger's role.", 8],
  systemKey: ["SYSTEM_KEY", "Key that the services of one federation show one another.", 12],
  jwtSecret: ["JWT_SECRET", "Signs bearer tokens; all masters of a federation share it.", 32],
  sessionSecret: ["SESSION_SECRET", "Signs web sessions; all masters of a federation share it.", 32],
  clusterSecret: ["CLUSTER_SECRET", "Key of the IPFS Cluster's private network; all its peers share it.", 64],
  swarmKey: [
    "SWARM_KEY",
    "Key of the Kubo nodes' private network, where kubo.private is on; all of them share it.",
    64,
  ],
  encryptionKey: ["ENCRYPTION_KEY", "Encrypts wallet addresses at rest; losing it loses them.", 32],
  otherMasterSecrets: [
    "OTHER_MASTER_SECRETS",
    "While the masters' secrets are changed, those of other epochs: what they sealed or signed is still read. `membership sync` writes it.",
    1,
  ],
  pinServiceSecret: [
    "FULA_PIN_SERVICE_SECRET",
    "With it gateways of the existing fleet sign X-Fula-Service-Auth; without it that header is refused. Optional.",
    32,
  ],
} as const;

/** Every secret. `join` generates each once that is not optional: 32 random bytes in hex. */
export const SECRETS: readonly SecretEntry[] = Object.entries(SECRET_NAMES).map(
  ([key, [envName, description, minLength]]) => ({
    // oxlint-disable-next-line typescript/no-unsafe-type-assertion -- Object.entries forgets the keys' type
    key: key as keyof typeof SECRET_NAMES,
    envName,
    description,
    minLength,
  }),
);

/** The name of a secret in the program. */
export type SecretKey = keyof typeof SECRET_NAMES;

/** What begins every environment name of ours. */
export const ENV_PREFIX = "FULA_MASTER_";

/** Names with our prefix that are no settings: they say where the settings are, or belong to the launcher. */
export const OTHER_ENV_NAMES: readonly string[] = [
  "FULA_MASTER_BASE_DIR",
  "FULA_MASTER_CONFIG",
  "FULA_MASTER_NODE",
  "FULA_MASTER_LAUNCHER_PID",
];

/** The environment name of any setting: `snapshot.maxAge` → `FULA_MASTER_SNAPSHOT_MAX_AGE`. */
export function envNameOf(key: string): string {
  return `${ENV_PREFIX}${key
    .replaceAll(/([a-z0-9])([A-Z])/g, "$1_$2")
    .replaceAll(".", "_")
    .toUpperCase()}`;
}

function isSetting(node: object): node is Setting<unknown> {
  return "schema" in node && "expected" in node;
}

function entriesOf(node: object, path: readonly string[]): SettingEntry[] {
  if (!isSetting(node))
    return Object.entries(node).flatMap(([name, child]: [string, object]) => entriesOf(child, [...path, name]));
  // oxlint-disable-next-line typescript/no-unsafe-type-assertion -- joined from the tree whose paths SettingKey lists
  const key = path.join(".") as SettingKey;
  return [{ key, path, setting: node, envNames: [envNameOf(key), ...node.seeds.map(({ name }) => name)] }];
}

/** Every setting, in the order of the table. */
export const SETTINGS: readonly SettingEntry[] = entriesOf(SETTINGS_TREE, []);

/** The setting with this dotted name, or undefined. */
export function settingOf(key: string): SettingEntry | undefined {
  return SETTINGS.find((entry) => entry.key === key);
}

/** The effective value of a setting. */
export function valueOf(config: Config, entry: SettingEntry): unknown {
  // oxlint-disable-next-line typescript/no-unsafe-type-assertion -- the path comes from the table that Config is the type of
  return entry.path.reduce<unknown>((node, name) => (node as Record<string, unknown>)[name], config);
}
