import type { LoadedConfig, Override, Overrides } from "../config/load.ts";
import type { Config, SettingKey } from "../config/schema.ts";
import { FulaError } from "../kernel/errors.ts";
import type { JoinBundle } from "../membership/join-bundle.ts";
import type { Writer } from "./detect-writer.ts";
import type { Installation } from "./installation.ts";
import type { RuntimeChoice } from "./join-runtime.ts";

/** What `join` decides from. */
export interface DecisionFacts {
  /** The configuration without what `join` decides. */
  readonly first: LoadedConfig;
  readonly choice: RuntimeChoice;
  readonly clusterId: string;
  /** A writer that was found on this box and is to be adopted. */
  readonly writer: Writer | null;
  /** What a join token brought. */
  readonly bundle: JoinBundle | null;
  /** True where the image of the existing gateway is on this box. */
  readonly hasGatewayImage: boolean;
}

function decided(value: unknown): Override {
  return { flag: "join", value };
}

function isGiven({ sources }: LoadedConfig, key: SettingKey): boolean {
  return sources[key].kind !== "default";
}

/** True where this very run names a service that runs already; an address that merely stands somewhere is a port. */
function isAdoptedNow({ sources }: LoadedConfig, key: SettingKey, flag: string): boolean {
  const source = sources[key];
  return source.kind === "flag" && source.flag === flag;
}

/** True where the settings of this run name a Kubo node and an IPFS Cluster peer that run already. */
export function isWriterGiven(first: LoadedConfig): boolean {
  const kubo = isGiven(first, "blocks.mode") ? first.config.blocks.mode === "kubo" : isGiven(first, "blocks.kuboApi");
  const peer = isGiven(first, "cluster.mode") ? first.config.cluster.mode === "rest" : isGiven(first, "cluster.api");
  return kubo && peer;
}

interface StoreModes {
  readonly blocks: Config["blocks"]["mode"];
  readonly cluster: Config["cluster"]["mode"];
}

function storeModes({ first, choice, writer }: DecisionFacts): StoreModes {
  const { config } = first;
  const own = choice.runtime === "docker" ? "docker" : "local";
  const counts = (key: SettingKey, flag: string): boolean =>
    isAdoptedNow(first, key, flag) || (choice.runtime !== "embedded" && isGiven(first, key));
  const blocks = (): StoreModes["blocks"] => {
    if (isAdoptedNow(first, "blocks.kuboApi", "--kubo-api")) return "kubo";
    if (isGiven(first, "blocks.mode")) return config.blocks.mode;
    return writer !== null || counts("blocks.kuboApi", "--kubo-api") ? "kubo" : own;
  };
  const cluster = (): StoreModes["cluster"] => {
    if (isAdoptedNow(first, "cluster.api", "--cluster-api")) return "rest";
    if (isGiven(first, "cluster.mode")) return config.cluster.mode;
    return writer !== null || counts("cluster.api", "--cluster-api") ? "rest" : own;
  };
  return { blocks: blocks(), cluster: cluster() };
}

function ledgerMode({ first, choice }: DecisionFacts): Config["postgres"]["mode"] {
  if (isGiven(first, "postgres.mode")) return first.config.postgres.mode;
  if (choice.runtime !== "docker") return choice.runtime;
  return isGiven(first, "postgres.host") ? "external" : "docker";
}

/** How often a pin is to be held, where nobody says so. */
function replication({ bundle }: DecisionFacts, stores: StoreModes): Overrides {
  if (bundle !== null) {
    const { min, max } = bundle.replication;
    return {
      "cluster.replicationMin": decided(min),
      "cluster.replicationMax": decided(max),
      "sweep.replMin": decided(Math.max(min, 1)),
    };
  }
  // An adopted cluster has peers and factors of its own: the fleet's.
  if (stores.cluster === "rest") return {};
  // A box alone cannot hold a pin twice; with the fleet's 2 a cluster of one refuses every pin.
  const alone = { "sweep.replMin": decided(1) };
  return stores.cluster === "docker" ? { ...alone, "cluster.replicationMin": decided(1) } : alone;
}

/** The masters that a token names, as peers of our own containers. */
function peersOf({ bundle }: DecisionFacts, stores: StoreModes): Overrides {
  if (bundle === null) return {};
  const { masters, trustedKeys } = bundle;
  const keys = [...new Set([...trustedKeys, ...masters.flatMap(({ signingKey }) => signingKey ?? [])])];
  return {
    "snapshot.trustedKeys": decided(keys),
    ...(stores.cluster === "docker"
      ? {
          "cluster.trustedPeers": decided(masters.map(({ clusterPeerId }) => clusterPeerId)),
          "cluster.bootstrap": decided(masters.flatMap(({ clusterAddresses }) => clusterAddresses)),
          "kubo.peers": decided(masters.flatMap(({ kuboAddresses }) => kuboAddresses)),
        }
      : {}),
  };
}

/**
 * Where the control plane is. The first master begins with two servers of its own, because one alone cannot elect; a
 * further one has one, which joins those of the others.
 */
function controlPlane({ first, choice, bundle }: DecisionFacts): Overrides {
  const given = isGiven(first, "controlPlane.mode") || isGiven(first, "controlPlane.servers");
  const others = bundle?.controlPlane ?? null;
  if (others?.mode === "nats") return { "controlPlane.servers": decided(others.servers) };
  if (others?.mode === "docker" && choice.runtime !== "docker" && !given) throw noServerHere();
  if (choice.runtime !== "docker" || (given && first.config.controlPlane.mode !== "docker")) return {};
  if (others?.mode === "sqlite") return { "controlPlane.mode": decided("sqlite") };
  const routes = others?.mode === "docker" ? others.routes : [];
  return {
    "controlPlane.mode": decided("docker"),
    "controlPlane.witness": decided(others === null),
    ...(routes.length === 0 ? {} : { "controlPlane.routes": decided(routes) }),
  };
}

function noServerHere(): FulaError {
  return new FulaError(
    "FULA_USAGE",
    "The masters of this federation keep the control plane on NATS servers in their containers, and this box runs none.",
    {
      hint: "join with --runtime docker; or name servers that belong to theirs: --set controlPlane.servers=…; or keep a control plane of this box's own, which learns nothing of theirs: --set controlPlane.mode=sqlite.",
    },
  );
}

/** A server that a token brings has nothing yet, whatever an earlier run wrote: the box may have left, and come back. */
function joining({ first, choice, bundle }: DecisionFacts): Overrides {
  const hasServer =
    choice.runtime === "docker" &&
    (!isGiven(first, "controlPlane.mode") || first.config.controlPlane.mode === "docker");
  return hasServer && bundle?.controlPlane?.mode === "docker" ? { "controlPlane.joining": decided(true) } : {};
}

/** What `join` itself sets where nobody else did. What an earlier run wrote into the settings counts as given. */
export function decisions(facts: DecisionFacts): Overrides {
  const { first, choice, clusterId, writer, hasGatewayImage } = facts;
  const stores = storeModes(facts);
  const unlessGiven: Overrides = {
    ...replication(facts, stores),
    ...peersOf(facts, stores),
    ...controlPlane(facts),
    ...(writer === null
      ? {}
      : { "blocks.kuboApi": decided(writer.kuboApi), "cluster.api": decided(writer.clusterApi) }),
    ...(choice.runtime === "docker" ? { "gateway.mode": decided(hasGatewayImage ? "container" : "own") } : {}),
  };
  const open = Object.entries(unlessGiven).filter(
    ([key]) =>
      // oxlint-disable-next-line typescript/no-unsafe-type-assertion -- Object.entries forgets the type of the keys
      !isGiven(first, key as SettingKey),
  );
  return {
    ...Object.fromEntries(open),
    ...joining(facts),
    runtime: decided(choice.runtime),
    "node.clusterId": decided(clusterId),
    "postgres.mode": decided(ledgerMode(facts)),
    // Embedded stores are what the default of an embedded master is.
    ...(choice.runtime === "embedded" && stores.blocks === "local" ? {} : { "blocks.mode": decided(stores.blocks) }),
    ...(choice.runtime === "embedded" && stores.cluster === "local" ? {} : { "cluster.mode": decided(stores.cluster) }),
  };
}

function moved(what: string, key: SettingKey, from: string, to: string): FulaError {
  const way =
    what === "ledger" ? "move the ledger there with pg_dump" : "bring the pins there with fula-master restore";
  return new FulaError("FULA_JOIN_CONFLICT", `This master's ${what} is ${from}; join cannot make it ${to} in place.`, {
    hint: `join in another --base-dir and ${way}; nothing was changed.`,
    details: { setting: key, from, to },
  });
}

/**
 * Refuses to make another master out of a joined one.
 * @throws FulaError FULA_JOIN_CONFLICT
 */
export function assertSameInstallation(
  installation: Installation | null,
  clusterId: string | null,
  wanted: LoadedConfig,
  saved: LoadedConfig,
): void {
  if (installation === null) return;
  if (saved.config.node.role === "storage") {
    throw new FulaError(
      "FULA_JOIN_CONFLICT",
      `${saved.paths.baseDir} is a storage node's: it cannot become a master in place.`,
      {
        hint: "choose another --base-dir for the master; or run fula-master join-as-storage-node.",
      },
    );
  }
  if (clusterId !== null && clusterId !== installation.clusterId) {
    throw new FulaError(
      "FULA_JOIN_CONFLICT",
      `The settings name cluster ${clusterId}, but this base directory was made for cluster ${installation.clusterId}.`,
      {
        hint: `set node.clusterId to ${installation.clusterId}, or join the other cluster in another --base-dir.`,
        details: { settings: clusterId, installation: installation.clusterId },
      },
    );
  }
  const { made } = installation;
  const [had, wants] = [saved.config, wanted.config];
  // Where the settings were lost, nothing says what it was.
  const said = (key: SettingKey): boolean => isGiven(saved, key);
  if (made.includes("ledger") && said("postgres.mode") && had.postgres.mode !== wants.postgres.mode) {
    throw moved("ledger", "postgres.mode", had.postgres.mode, wants.postgres.mode);
  }
  if (made.includes("pinset") && said("cluster.mode") && had.cluster.mode !== wants.cluster.mode) {
    throw moved("pinset", "cluster.mode", had.cluster.mode, wants.cluster.mode);
  }
  if (made.includes("pinset") && said("docker.project") && had.docker.project !== wants.docker.project) {
    throw moved("Compose project", "docker.project", had.docker.project, wants.docker.project);
  }
}

const PARTNERS = { local: "local", docker: "docker", kubo: "rest" } as const;

/**
 * Refuses a block store and a pinset that do not belong together: a cluster peer pins on a Kubo node next to it.
 * @throws FulaError FULA_USAGE
 */
export function assertStoresFit({ config }: LoadedConfig): void {
  const { blocks, cluster } = config;
  if (PARTNERS[blocks.mode] === cluster.mode) return;
  throw new FulaError(
    "FULA_USAGE",
    `blocks.mode is ${blocks.mode} and cluster.mode is ${cluster.mode}, which do not belong together.`,
    {
      hint: "to adopt a writer give both addresses, --kubo-api and --cluster-api; else leave both out.",
      details: { "blocks.mode": blocks.mode, "cluster.mode": cluster.mode },
    },
  );
}
