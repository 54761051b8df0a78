import { envFileValues, needsQuotes } from "./env-syntax.ts";
import { isLoopback } from "./addresses.ts";
import type { BoxFacts } from "./box-facts.ts";
import type { ConfigReading } from "./load.ts";
import { type ConfigProblem, doubt, problem } from "./problems.ts";
import { type Config, type SecretKey, SECRETS, type SettingKey } from "./schema.ts";
import { describeSource } from "./sources.ts";

const ZERO_ADDRESS = /^0x0{40}$/i;

interface Listener {
  readonly host: string;
  readonly port: number;
}

function isWildcard({ host }: Listener): boolean {
  return host === "0.0.0.0" || host === "::";
}

/** True where two servers cannot both listen: the same port on the same address, or one of them on all addresses. */
function collides(a: Listener, b: Listener): boolean {
  if (a.port !== b.port || a.port === 0) return false;
  return a.host === b.host || isWildcard(a) || isWildcard(b) || (isLoopback(a.host) && isLoopback(b.host));
}

function checkPorts({ config, sources }: ConfigReading): ConfigProblem[] {
  const listeners: readonly (readonly [SettingKey, Listener])[] = [
    ["server.port", config.server],
    ["gateway.port", config.gateway],
    ["api.port", config.api],
    ...(config.postgres.mode === "embedded"
      ? ([["postgres.port", { host: "127.0.0.1", port: config.postgres.port }]] as const)
      : []),
  ];
  return listeners.flatMap(([key, listener], index) =>
    listeners
      .slice(index + 1)
      .filter(([, other]) => collides(listener, other))
      .map(([otherKey, other]) =>
        problem(
          "FULA_CONFIG_INVALID",
          otherKey,
          `${key} (${describeSource(sources[key])}) and ${otherKey} (${describeSource(sources[otherKey])}) are both ${other.port}.`,
          `give one of them another port: fula-master config set ${otherKey} <port>`,
        ),
      ),
  );
}

function checkExposure({ config }: ConfigReading): ConfigProblem[] {
  const open = (
    [
      ["gateway.host", config.gateway.host, "objects and access keys travel unencrypted"],
      ["api.host", config.api.host, "bearer tokens travel unencrypted"],
      ["server.host", config.server.host, "metrics and health are open to whoever reaches this box"],
    ] as const
  ).filter(([, host]) => !isLoopback(host));
  return open.map(([key, host, effect]) =>
    doubt(
      key,
      `${key} is ${host}, which others can reach: ${effect}.`,
      "listen on 127.0.0.1 and put a TLS proxy before it.",
    ),
  );
}

function checkBilling({ config: { billing } }: ConfigReading): ConfigProblem[] {
  const { vaultAddress, idempotency, cronLeaderLease } = billing;
  const isZero = vaultAddress !== null && ZERO_ADDRESS.test(vaultAddress);
  return [
    ...(vaultAddress === null || isZero
      ? [
          doubt(
            "billing.vaultAddress",
            `Billing is off: VAULT_ADDRESS is ${isZero ? "the zero address" : "not set"}. Storage is given away and deposits are not credited.`,
            "fula-master config set billing.vaultAddress 0x...",
          ),
        ]
      : []),
    ...(idempotency
      ? []
      : [
          doubt(
            "billing.idempotency",
            "billing.idempotency is off: beside a master that has it on, hours are billed twice.",
            "turn it on, on every master of the federation.",
          ),
        ]),
    ...(cronLeaderLease
      ? []
      : [
          doubt(
            "billing.cronLeaderLease",
            "billing.cronLeaderLease is off: every master bills and scans.",
            "turn it on, on every master of the federation.",
          ),
        ]),
  ];
}

/** Settings that are given but have no effect, because their service runs on this box itself. */
function checkUnused({ config, sources }: ConfigReading): ConfigProblem[] {
  const idle: readonly (readonly [SettingKey, string, boolean])[] = [
    ["postgres.host", "postgres.mode is embedded", config.postgres.mode === "embedded"],
    ["blocks.kuboApi", "blocks.mode is local", config.blocks.mode === "local"],
    ["cluster.api", "cluster.mode is local", config.cluster.mode === "local"],
  ];
  return idle
    .filter(([key, , isIdle]) => isIdle && sources[key].kind !== "default")
    .map(([key, because]) =>
      doubt(
        key,
        `${key} from ${describeSource(sources[key])} has no effect: ${because}.`,
        "remove it, or change the mode.",
      ),
    );
}

// The embedded server is made with max_connections = 60, of which 3 are its superuser's and some are for commands.
const EMBEDDED_POOL_MAX = 50;

function checkPool({ config }: ConfigReading): ConfigProblem[] {
  const { mode, poolMax } = config.postgres;
  if (mode !== "embedded" || poolMax <= EMBEDDED_POOL_MAX) return [];
  return [
    doubt(
      "postgres.poolMax",
      `postgres.poolMax is ${poolMax}, but the embedded server takes 60 connections from all processes together.`,
      `fula-master config set postgres.poolMax ${EMBEDDED_POOL_MAX}, or raise max_connections in state/postgres/data/postgresql.conf too.`,
    ),
  ];
}

function checkBuckets({ config: { buckets } }: ConfigReading): ConfigProblem[] {
  return [
    ...(buckets.historyAge < buckets.graceTime
      ? [
          problem(
            "FULA_CONFIG_INVALID",
            "buckets.historyAge",
            "buckets.historyAge is shorter than buckets.graceTime: what earlier roots refer to could not be spared for as long as that says.",
            "give it at least the same: fula-master config set buckets.historyAge 7d",
          ),
        ]
      : []),
    ...(buckets.cas
      ? []
      : [
          doubt(
            "buckets.cas",
            "buckets.cas (FULA_BUCKET_ROOT_CAS) is off: nobody arbitrates, and what another gateway saves meanwhile is lost.",
            "turn it on, on every master of the federation.",
          ),
        ]),
  ];
}

/** One look that fails, and the time that it may take, are no reason to turn everybody away. */
const LOOKS_MIN = 2;

function checkIdentity({ config: { identity } }: ConfigReading): ConfigProblem[] {
  if (identity.denyListMaxAge > LOOKS_MIN * identity.denyListRefresh) return [];
  return [
    problem(
      "FULA_CONFIG_INVALID",
      "identity.denyListMaxAge",
      "identity.denyListMaxAge is not longer than two pauses of identity.denyListRefresh: nobody would be let in between two looks.",
      "give it more: fula-master config set identity.denyListMaxAge 30s",
    ),
  ];
}

function checkReplication({ config }: ConfigReading): ConfigProblem[] {
  if (config.cluster.mode !== "local" || config.sweep.replMin <= 1) return [];
  const message = `sweep.replMin is ${config.sweep.replMin}, but cluster.mode is local: this box alone can hold one copy, and every sweep will report every pin.`;
  return [doubt("sweep.replMin", message, "fula-master config set sweep.replMin 1")];
}

function isNeededSecret(key: SecretKey, { cluster, blocks, kubo }: Config): boolean {
  if (key === "clusterSecret") return cluster.mode === "docker";
  if (key === "swarmKey") return blocks.mode === "docker" && kubo.private;
  return key !== "pinServiceSecret" && key !== "otherMasterSecrets";
}

function checkSecrets(reading: ConfigReading, isJoined: boolean): ConfigProblem[] {
  return SECRETS.flatMap(({ key, envName, minLength }) => {
    const value = reading.secrets[key]?.reveal();
    if (value === undefined) {
      const isNeeded = isNeededSecret(key, reading.config);
      return isJoined && isNeeded
        ? [
            doubt(
              envName,
              `${envName} is not set.`,
              "fula-master join generates what is missing, and keeps what is there.",
            ),
          ]
        : [];
    }
    return value.length >= minLength
      ? []
      : [
          doubt(
            envName,
            `${envName} has ${value.length} characters; at least ${minLength} are expected.`,
            "choose a longer one, on all masters of the federation.",
          ),
        ];
  });
}

function checkEnvLines({ envFile, paths }: ConfigReading): ConfigProblem[] {
  if (envFile === null) return [];
  const inForce = envFileValues(envFile);
  return envFile.assignments.flatMap(({ name, value, line, quoted }) => {
    const last = inForce.get(name);
    const repeated =
      last !== undefined && last.line !== line
        ? [
            doubt(
              name,
              `${paths.envFile}:${line} sets ${name}, but line ${last.line} sets it again and is in force.`,
              "remove one of the two.",
            ),
          ]
        : [];
    const bare =
      !quoted && needsQuotes(value)
        ? [
            doubt(
              name,
              `${paths.envFile}:${line} gives ${name} without quotes, and it has characters that a shell or Compose reads differently.`,
              `put the value into single quotes: ${name}='...'`,
            ),
          ]
        : [];
    return [...repeated, ...bare];
  });
}

function octal(mode: number): string {
  return `0${(mode & 0o777).toString(8)}`;
}

function checkFiles({ files, settingsText }: BoxFacts, configFile: string): ConfigProblem[] {
  const modes = files.flatMap(({ path, mode, isSecret }) => {
    if (isSecret && (mode & 0o077) !== 0) {
      return [
        problem(
          "FULA_CONFIG_RISK",
          path,
          `${path} holds secrets, but its mode ${octal(mode)} lets others at it; expected 0600.`,
          `chmod 600 ${path}`,
        ),
      ];
    }
    return (mode & 0o022) !== 0
      ? [
          problem(
            "FULA_CONFIG_RISK",
            path,
            `${path} has the mode ${octal(mode)}: others can change what this master does.`,
            `chmod go-w ${path}`,
          ),
        ]
      : [];
  });
  const isCut = settingsText !== null && settingsText !== "" && !settingsText.endsWith("\n");
  return isCut
    ? [
        ...modes,
        doubt(configFile, `${configFile} does not end with a line break; was it cut off?`, "look at its last line."),
      ]
    : modes;
}

/**
 * Everything that is wrong or doubtful about a configuration, all at once: what reading it found, what its values mean
 * together, and how its files lie on the box. Pure.
 */
export function checkConfig(reading: ConfigReading, facts: BoxFacts): readonly ConfigProblem[] {
  const all = [
    ...reading.problems,
    ...checkPorts(reading),
    ...checkFiles(facts, reading.paths.configFile),
    ...checkExposure(reading),
    ...checkBilling(reading),
    ...checkPool(reading),
    ...checkBuckets(reading),
    ...checkIdentity(reading),
    ...checkReplication(reading),
    ...checkUnused(reading),
    ...checkSecrets(reading, facts.isJoined),
    ...checkEnvLines(reading),
  ];
  return all.toSorted((a, b) => Number(a.severity === "warning") - Number(b.severity === "warning"));
}
