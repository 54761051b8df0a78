import { join } from "node:path";
import type { LoadedConfig } from "../config/load.ts";
import type { Gateway } from "../gateway/gateway.ts";
import type { Identities } from "../identity/bearer.ts";
import type { Keyring } from "../identity/keyring.ts";
import type { SecretSealer } from "../identity/sealed-secret.ts";
import type { PinCluster } from "../cluster/pins.ts";
import { FulaError, messageOf } from "../kernel/errors.ts";
import { acquireLock } from "../kernel/lock.ts";
import { toolVersion } from "../kernel/project.ts";
import type { ContainerSupervisor } from "../runtime/container-supervisor.ts";
import type { Pool } from "../postgres/pool.ts";
import { keepLogBounded } from "../runtime/log-files.ts";
import { removeDaemonFile, writeDaemonFile } from "../stack/daemon-file.ts";
import { assertIngestSettings } from "../stack/ingest-check.ts";
import { sealerOf } from "../stack/other-epochs.ts";
import { openBlocks, openPinCluster } from "../stack/pinset.ts";
import { ownName } from "../stack/registration.ts";
import { openAccessKeys } from "./access-keys.ts";
import { openDelegates } from "./delegates.ts";
import { containersCheck, startContainerSupervisor } from "./containers.ts";
import { openApi } from "./api.ts";
import { backupsChecks } from "./backups-check.ts";
import { type Billing, startBilling } from "./billing.ts";
import { type ControlPlaneHandle, startControlPlane } from "./control-plane.ts";
import { keepServersCared } from "./control-plane-care.ts";
import { watchControlPlane } from "./control-plane-watch.ts";
import { startBuckets } from "./buckets.ts";
import { openGateway } from "./gateway.ts";
import { createGatewayListener } from "./gateway-listener.ts";
import { diskCheck, healthChecks } from "./health-checks.ts";
import { createHealth, type Health } from "./health.ts";
import { type OpenIdentities, openIdentities } from "./identities.ts";
import type { Drain } from "./http-drain.ts";
import { type Ingest, openIngest } from "./ingest.ts";
import { keepLeasesPruned } from "./ingest-leases.ts";
import type { LedgerAgent } from "./ledger-agent.ts";
import { startLedgerAgent } from "./ledger-agent-start.ts";
import { type Ground, listenForOps, openOrWait, readinessOf } from "./listen-ops.ts";
import { createMetrics, type Metrics } from "./metrics.ts";
import { startPinning } from "./pinning.ts";
import { assertPortsFree, listen, type ListenAddress, listenerUrl } from "./ports.ts";
import { keepNodeSeen } from "./presence.ts";
import type { RunningServer, ServerDeps } from "./running-server.ts";
import { assertSchemaCurrent } from "./schema-check.ts";
import { createStandbyBoard, type StandbyBoard } from "./standby-board.ts";
import { keepUploadsFresh } from "./upload-expiry.ts";
import { startWalArchiving } from "./wal-archiving.ts";

interface Addresses {
  readonly ops: ListenAddress;
  readonly gateway: ListenAddress;
  readonly api: ListenAddress;
  readonly ingest: ListenAddress;
}

function addressesOf({ config }: LoadedConfig): Addresses {
  return {
    ops: { ...pick(config.server), setting: "server" },
    gateway: { ...pick(config.gateway), setting: "gateway" },
    api: { ...pick(config.api), setting: "api" },
    ingest: { ...pick(config.ingest), setting: "ingest" },
  };
}

function pick({ host, port }: { readonly host: string; readonly port: number }): { host: string; port: number } {
  return { host, port };
}

function requireClusterId({ config }: LoadedConfig): string {
  const { clusterId } = config.node;
  if (clusterId !== null) return clusterId;
  throw new FulaError("FULA_NOT_JOINED", "There is no master to serve: the settings name no node.clusterId.", {
    hint: "fula-master join --runtime embedded sets this box up; or give --base-dir if the master lives elsewhere.",
  });
}

/** What is open while the server runs; the stack of the caller closes it. */
interface OpenParts {
  readonly pool: Pool;
  readonly identities: Identities;
  readonly denials: OpenIdentities["denials"];
  /** Signs session tokens. */
  readonly keyring: Pick<Keyring, "signing">;
  readonly pins: PinCluster;
  readonly gateway: Gateway;
  readonly health: Health;
  /** Null where billing is off. */
  readonly billing: Billing | null;
  readonly controlPlane: ControlPlaneHandle;
}

async function openParts(
  loaded: LoadedConfig,
  deps: ServerDeps,
  given: {
    readonly clusterId: string;
    readonly sealer: SecretSealer;
    readonly supervisor: ContainerSupervisor | null;
    readonly metrics: Metrics;
    /** Null where the ledger can have no second server. */
    readonly agent: LedgerAgent | null;
    readonly standbys: StandbyBoard;
  },
  opened: AsyncDisposableStack,
): Promise<OpenParts> {
  const { config, paths } = loaded;
  const { clock, random, log } = deps;
  const { clusterId, sealer, supervisor, metrics, agent, standbys } = given;
  const ledger = await openOrWait(loaded, deps, given, opened);
  agent?.follow(ledger);
  const schema = await assertSchemaCurrent(ledger.pool);
  const archiving = opened.use(startWalArchiving(loaded, ledger, { clock, random, log }));
  if (archiving !== null) metrics.backups.watch(archiving.archiver);
  const onVerdict = metrics.controlPlane.judged;
  const controlPlane = opened.use(await startControlPlane(loaded, { clock, random, log, onVerdict }));
  opened.use(watchControlPlane(loaded, controlPlane, { clock, metrics: metrics.controlPlane }));
  const care = opened.use(keepServersCared(loaded, { pool: ledger.pool, clock, log }));
  const keys = opened.use(await openAccessKeys(config, { pool: ledger.pool, sealer, clock, log }));
  opened.use(keepNodeSeen({ pool: ledger.pool, own: async () => await ownName(loaded), clock, log }));
  const blocks = await openBlocks(loaded);
  const pins = opened.use(await openPinCluster(loaded, { clock, blocks }));
  const { pool, serverState } = ledger;
  const { maxAge: maxAgeMs, trustedKeys } = config.snapshot;
  const snapshots = { dir: paths.snapshotsDir, keysDir: paths.keysDir, trustedKeys, clusterId, maxAgeMs };
  const checks = healthChecks({ pool, serverState, blocks, pins, snapshots, diskPath: paths.stateDir, clock, random });
  const stores = { pool, connection: ledger.connection, blocks, pins };
  const { buckets } = opened.use(await startBuckets(loaded, stores, { ...deps, metrics: metrics.buckets }));
  opened.use(startPinning(loaded, { pool, pins, blocks }, { clock, random, log, metrics: metrics.pinning }));
  const { connection } = ledger;
  const { identities, denials, keyring, ...who } = opened.use(
    await openIdentities(loaded, { pool, connection, keys, clock, log, metrics: metrics.identity }),
  );
  opened.use(keepLeasesPruned({ pool, clock, log }));
  opened.use(keepUploadsFresh({ pool, idleMs: config.gateway.multipartExpiry, clock, log }));
  const gateway = openGateway(config, { pool, ...keys, buckets, blocks, identities, clock, random, log });
  const billing = opened.use(await startBilling(config, ledger, { clock, random, log, metrics: metrics.billing }));
  log.info("serve.opened", { ledger: `${ledger.host}:${ledger.port}`, schema, clusterId });
  const ownContainers = supervisor === null ? [] : [containersCheck(supervisor, () => care?.current() ?? loaded)];
  const ownBilling = billing === null ? [] : [billing.check];
  const ownAgent = agent === null ? [] : [agent.check, standbys.check];
  const ownArchive = [...backupsChecks(loaded, clock), ...(archiving === null ? [] : [archiving.check])];
  return {
    pool,
    identities,
    denials,
    keyring,
    pins,
    gateway,
    billing,
    controlPlane,
    health: createHealth(
      [...checks, ...who.checks, ...ownBilling, ...ownArchive, ...ownAgent, controlPlane.check, ...ownContainers],
      clock,
    ),
  };
}

/** What clients are answered by. Their listeners end together, so that a stop takes no longer than its timeout. */
interface ClientParts {
  readonly pool: Pool;
  readonly identities: Identities;
  readonly denials: OpenIdentities["denials"];
  /** Signs session tokens. */
  readonly keyring: Pick<Keyring, "signing">;
  readonly pins: PinCluster;
  readonly controlPlane: ControlPlaneHandle;
  /** Null where another gateway has the port. */
  readonly gateway: Gateway | null;
  readonly metrics: Metrics;
}

async function listenForClients(
  loaded: LoadedConfig,
  deps: ServerDeps,
  { gateway, ...parts }: ClientParts,
  opened: AsyncDisposableStack,
): Promise<void> {
  const { clock, log } = deps;
  const timeoutMs = loaded.config.server.shutdownTimeout;
  const drains: Drain[] = [];
  const delegates = openDelegates(loaded, { pins: parts.pins, clock, log });
  const api = await openApi(loaded, { ...deps, ...parts, delegates, fetch });
  opened.defer(async () => {
    await api.app.close();
  });
  opened.defer(async () => {
    const counts = await Promise.all(drains.map(async (drain) => await drain.end(timeoutMs)));
    const cut = counts.reduce((sum, count) => sum + count, 0);
    if (cut > 0) log.warn("serve.requests_cut", { requests: cut, timeoutMs });
  });
  const addresses = addressesOf(loaded);
  drains.push(api.drain);
  await listen(api.app.server, addresses.api);
  if (gateway === null) return;
  const { server, drain } = createGatewayListener({ gateway, metrics: parts.metrics, clock, log });
  drains.push(drain);
  await listen(server, addresses.gateway);
}

/** Takes the lock, notes the process, and watches containers of this box: nothing of it needs a ledger. */
async function layGround(
  loaded: LoadedConfig,
  deps: ServerDeps,
  listens: readonly ListenAddress[],
  opened: AsyncDisposableStack,
): Promise<Ground> {
  const { paths } = loaded;
  const { clock, log } = deps;
  opened.use(await acquireLock(join(paths.locksDir, "serve.lock"), "serve", clock));
  await assertPortsFree(listens);
  await writeDaemonFile(paths.servePidFile, clock);
  opened.defer(async () => {
    await removeDaemonFile(paths.servePidFile);
  });
  opened.use(
    keepLogBounded(paths.serveLogFile, (error) => {
      log.warn("serve.log_rotation_failed", { message: messageOf(error) });
    }),
  );
  const metrics = createMetrics({ version: toolVersion(), nodeVersion: process.version });
  // Before anything is opened that lives in a container: after a boot they come up at the same time as this process.
  const supervisor = opened.use(
    await startContainerSupervisor(loaded, {
      ...deps,
      env: process.env,
      onRestart: (service) => {
        metrics.containerRestarted(service);
      },
    }),
  );
  return { metrics, supervisor };
}

async function startMaster(loaded: LoadedConfig, deps: ServerDeps, opened: AsyncDisposableStack): Promise<void> {
  const { clock } = deps;
  const addresses = addressesOf(loaded);
  // Settings first: a base directory that nobody has set up is not even to get a lock file.
  const given = { clusterId: requireClusterId(loaded), sealer: sealerOf(loaded.secrets, "access key secrets") };
  // In a container the gateway of the existing fleet has the port.
  const servesClients = loaded.config.gateway.mode === "own";
  const { ops, gateway: s3, api } = addresses;
  const listens = servesClients ? [ops, s3, api] : [ops, api];
  const ground = await layGround(loaded, deps, listens, opened);
  const { metrics } = ground;
  const standbys = createStandbyBoard(metrics.standbys, clock);
  const agent = startLedgerAgent(loaded, deps, standbys.looked);
  if (agent !== null) {
    opened.use(agent);
    metrics.standbys.watch(() => agent.fence());
  }
  const parts = await openParts(loaded, deps, { ...given, ...ground, agent, standbys }, opened);
  const { gateway, health, billing } = parts;
  const readiness = readinessOf(loaded, health, clock);
  // Closed in the opposite order: clients first, so that /readyz and /metrics answer until the last request is out.
  await listenForOps(loaded, deps, { health, readiness, billing, ...ground }, opened);
  await listenForClients(loaded, deps, { ...parts, metrics, gateway: servesClients ? gateway : null }, opened);
  // The lease first of all: a standby is not to wait until the last client is out.
  opened.defer(async () => {
    await billing?.[Symbol.asyncDispose]();
  });
  opened.defer(() => {
    readiness.stop();
  });
}

/** Takes blocks of clients in, where the settings want it. */
async function listenForBlocks(
  loaded: LoadedConfig,
  deps: ServerDeps,
  ingest: Ingest | null,
  opened: AsyncDisposableStack,
): Promise<void> {
  if (ingest === null) return;
  const timeoutMs = loaded.config.server.shutdownTimeout;
  const { server, drain } = ingest.listener;
  opened.defer(async () => {
    const requests = await drain.end(timeoutMs);
    if (requests > 0) deps.log.warn("serve.requests_cut", { requests, timeoutMs });
  });
  await listen(server, addressesOf(loaded).ingest);
}

/** A storage node has no ledger: its containers are watched, that is told to operators, and blocks are taken in. */
async function startStorageNode(loaded: LoadedConfig, deps: ServerDeps, opened: AsyncDisposableStack): Promise<void> {
  const clusterId = requireClusterId(loaded);
  const { ops, ingest: entrance } = addressesOf(loaded);
  const takesBlocks = loaded.config.ingest.mode === "on";
  // Settings first: what must not be served is told before anything is written.
  if (takesBlocks) assertIngestSettings(loaded);
  const ground = await layGround(loaded, deps, takesBlocks ? [ops, entrance] : [ops], opened);
  const { metrics, supervisor } = ground;
  const ownContainers = supervisor === null ? [] : [containersCheck(supervisor, () => loaded)];
  const ingest = await openIngest(loaded, { ...deps, metrics, fetch }, opened);
  const disk = diskCheck({ diskPath: loaded.paths.stateDir });
  const health = createHealth([...ownContainers, ...(ingest?.checks ?? []), disk], deps.clock);
  const readiness = readinessOf(loaded, health, deps.clock);
  await listenForOps(loaded, deps, { health, readiness, billing: null, ...ground }, opened);
  await listenForBlocks(loaded, deps, ingest, opened);
  opened.defer(() => {
    readiness.stop();
  });
  deps.log.info("serve.opened", { role: "storage", clusterId, takesBlocks });
}

/**
 * Starts everything that `serve` is: takes the lock of the base directory, checks the ports, watches containers of its
 * own, opens the ledger (an embedded PostgreSQL is started and kept alive), checks its schema, opens blocks and pinset,
 * and listens; of a storage node, its containers, its entrance for blocks and the operators' listener alone. What was
 * opened is closed again where a later step fails.
 * @throws FulaError FULA_LOCKED, FULA_PORT_IN_USE, FULA_LISTEN_FAILED, FULA_NOT_JOINED, FULA_SCHEMA_BEHIND,
 *   FULA_SCHEMA_NEWER, FULA_ENCRYPTION_KEY_INVALID, FULA_ENCRYPTION_KEY_WRONG, FULA_INGEST_EXPOSED,
 *   FULA_INGEST_UNREADY, and what opening the ledger, the block store and the pinset throws
 */
export async function startServer(loaded: LoadedConfig, deps: ServerDeps): Promise<RunningServer> {
  const opened = new AsyncDisposableStack();
  const isMaster = loaded.config.node.role === "master";
  try {
    await (isMaster ? startMaster : startStorageNode)(loaded, deps, opened);
  } catch (error) {
    await opened.disposeAsync();
    throw error;
  }
  const { ops, gateway, api, ingest } = addressesOf(loaded);
  const { mode, tlsCert } = loaded.config.ingest;
  const takesBlocks = !isMaster && mode === "on";
  const endpoints = {
    ops: listenerUrl(ops),
    gateway: isMaster ? listenerUrl(gateway) : null,
    api: isMaster ? listenerUrl(api) : null,
    ingest: takesBlocks ? listenerUrl(ingest, tlsCert !== null) : null,
  };
  deps.log.info("serve.started", { ...endpoints, version: toolVersion(), pid: process.pid });
  let closing: Promise<void> | null = null;
  const closeOnce = async (): Promise<void> => {
    deps.log.info("serve.stopping");
    await opened.disposeAsync();
    deps.log.info("serve.stopped");
  };
  const close = async (): Promise<void> => {
    closing ??= closeOnce();
    await closing;
  };
  return { endpoints, close, [Symbol.asyncDispose]: close };
}
