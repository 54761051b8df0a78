import { join } from "node:path";
import type { LoadedConfig } from "../config/load.ts";
import { createGateway, type Gateway } from "../gateway/gateway.ts";
import { assertSealerFits, createKeyUsage, findAccessKey } from "../identity/key-table.ts";
import { createSecretSealer, type SecretSealer } from "../identity/sealed-secret.ts";
import type { Clock } from "../kernel/clock.ts";
import { FulaError, messageOf } from "../kernel/errors.ts";
import { acquireLock } from "../kernel/lock.ts";
import type { Log } from "../kernel/log.ts";
import { toolVersion } from "../kernel/project.ts";
import type { ContainerSupervisor } from "../runtime/container-supervisor.ts";
import type { Pool } from "../postgres/pool.ts";
import { keepLogBounded } from "../runtime/log-files.ts";
import { removeDaemonFile, writeDaemonFile } from "../stack/daemon-file.ts";
import { openLedger } from "../stack/ledger.ts";
import { openBlocks, openPinCluster } from "../stack/pinset.ts";
import { ownName } from "../stack/registration.ts";
import { containersCheck, startContainerSupervisor, wellServices } from "./containers.ts";
import { openApi } from "./api.ts";
import { type Billing, startBilling } from "./billing.ts";
import { createGatewayListener } from "./gateway-listener.ts";
import { diskCheck, healthChecks } from "./health-checks.ts";
import { createHealth, type Health } from "./health.ts";
import type { Drain } from "./http-drain.ts";
import { createMetrics, type Metrics } from "./metrics.ts";
import { createOpsListener } from "./ops-listener.ts";
import { assertPortsFree, listen, type ListenAddress, listenerUrl } from "./ports.ts";
import { keepNodeSeen } from "./presence.ts";
import { createReadiness, type Readiness } from "./readiness.ts";
import type { RunningServer, ServerDeps } from "./running-server.ts";
import { assertSchemaCurrent } from "./schema-check.ts";
import { gatherScrapeFacts } from "./scrape.ts";
import { repeat } from "./repeat.ts";

/** How often unpins that could not be settled at once are tried again. */
const UNPIN_INTERVAL_MS = 60_000;

interface Addresses {
  readonly ops: ListenAddress;
  readonly gateway: ListenAddress;
  readonly api: ListenAddress;
}

function addressesOf({ config }: LoadedConfig): Addresses {
  return {
    ops: { ...pick(config.server), setting: "server" },
    gateway: { ...pick(config.gateway), setting: "gateway" },
    api: { ...pick(config.api), setting: "api" },
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
  readonly gateway: Gateway;
  readonly health: Health;
  /** Null where billing is off. */
  readonly billing: Billing | null;
}

async function openParts(
  loaded: LoadedConfig,
  deps: ServerDeps,
  given: {
    readonly clusterId: string;
    readonly sealer: SecretSealer;
    readonly supervisor: ContainerSupervisor | null;
    readonly metrics: Metrics;
  },
  opened: AsyncDisposableStack,
): Promise<OpenParts> {
  const { config, paths } = loaded;
  const { clock, random, log, signal } = deps;
  const { clusterId, sealer, supervisor, metrics } = given;
  const ledger = opened.use(
    await openLedger(loaded, { clock, random, log, part: "serve", supervise: true, ...(signal && { signal }) }),
  );
  const schema = await assertSchemaCurrent(ledger.pool);
  await assertSealerFits(ledger.pool, sealer);
  opened.use(keepNodeSeen({ pool: ledger.pool, own: async () => await ownName(loaded), clock, log }));
  const blocks = await openBlocks(loaded);
  const pins = opened.use(await openPinCluster(loaded, { clock, blocks }));
  const usage = createKeyUsage(ledger.pool, clock, (error) => {
    log.warn("key.usage.not_noted", { message: messageOf(error) });
  });
  opened.defer(async () => await usage.settle());
  const { pool, serverState } = ledger;
  const { maxAge: maxAgeMs, trustedKeys } = config.snapshot;
  const snapshots = { dir: paths.snapshotsDir, keysDir: paths.keysDir, trustedKeys, clusterId, maxAgeMs };
  const checks = healthChecks({ pool, serverState, blocks, pins, snapshots, diskPath: paths.stateDir, clock, random });
  const gateway = createGateway({
    pool,
    blocks,
    pins,
    findKey: async (keyId) => await findAccessKey(pool, sealer, keyId),
    onKeyUsed: (keyId) => {
      usage.used(keyId);
    },
    region: config.gateway.region,
    maxObjectBytes: config.gateway.maxObjectBytes,
    clock,
    random,
    log,
  });
  const billing = opened.use(await startBilling(config, ledger, { clock, random, log, metrics: metrics.billing }));
  log.info("serve.opened", { ledger: `${ledger.host}:${ledger.port}`, schema, clusterId });
  const ownContainers = supervisor === null ? [] : [containersCheck(supervisor, loaded)];
  const ownBilling = billing === null ? [] : [billing.check];
  return { pool, gateway, billing, health: createHealth([...checks, ...ownBilling, ...ownContainers], clock) };
}

async function listenForOps(
  loaded: LoadedConfig,
  deps: ServerDeps,
  parts: {
    readonly health: Health;
    readonly readiness: Readiness;
    readonly metrics: Metrics;
    readonly supervisor: ContainerSupervisor | null;
    readonly billing: Billing | null;
  },
  opened: AsyncDisposableStack,
): Promise<void> {
  const { clock, log } = deps;
  const { sweepReportFile } = loaded.paths;
  const { health, readiness, metrics, supervisor, billing } = parts;
  const app = createOpsListener({
    metrics,
    version: toolVersion(),
    clock,
    log,
    readiness: async () => await readiness.report(),
    renderMetrics: async () => {
      const facts = await gatherScrapeFacts(health, { sweepReportFile, clock });
      const seen = { wellServices: wellServices(supervisor), billing: billing?.lastLook() ?? null };
      return await metrics.render({ ...facts, ...seen });
    },
  });
  opened.defer(async () => {
    await app.close();
  });
  await app.ready();
  await listen(app.server, addressesOf(loaded).ops);
}

/** What clients are answered by. Their listeners end together, so that a stop takes no longer than its timeout. */
interface ClientParts {
  readonly pool: Pool;
  /** Null where another gateway has the port. */
  readonly gateway: Gateway | null;
  readonly metrics: Metrics;
}

async function listenForClients(
  loaded: LoadedConfig,
  deps: ServerDeps,
  { pool, gateway, metrics }: ClientParts,
  opened: AsyncDisposableStack,
): Promise<void> {
  const { clock, log } = deps;
  const timeoutMs = loaded.config.server.shutdownTimeout;
  const drains: Drain[] = [];
  const api = await openApi(loaded, { ...deps, pool, metrics, fetch });
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
  const { server, drain } = createGatewayListener({ gateway, metrics, clock, log });
  drains.push(drain);
  await listen(server, addresses.gateway);
}

function settleUnpinsNowAndThen(gateway: Gateway, clock: Clock, log: Log): AsyncDisposable {
  return repeat({ intervalMs: UNPIN_INTERVAL_MS, clock }, async () => {
    try {
      const settled = await gateway.settleUnpins();
      if (settled > 0) log.info("gateway.unpins.settled", { settled });
    } catch (error) {
      log.warn("gateway.unpins.failed", { message: messageOf(error) });
    }
  });
}

/** What every `serve` has, whatever it serves. */
interface Ground {
  readonly metrics: Metrics;
  readonly supervisor: ContainerSupervisor | null;
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

function readinessOf({ config }: LoadedConfig, health: Health, clock: Clock): Readiness {
  return createReadiness(health, { version: toolVersion(), node: config.node.name, clock });
}

async function startMaster(loaded: LoadedConfig, deps: ServerDeps, opened: AsyncDisposableStack): Promise<void> {
  const { clock, log } = deps;
  const addresses = addressesOf(loaded);
  // Settings first: a base directory that nobody has set up is not even to get a lock file.
  const given = { clusterId: requireClusterId(loaded), sealer: createSecretSealer(loaded.secrets.encryptionKey) };
  // In a container the gateway of the existing fleet has the port.
  const servesClients = loaded.config.gateway.mode === "own";
  const { ops, gateway: s3, api } = addresses;
  const listens = servesClients ? [ops, s3, api] : [ops, api];
  const ground = await layGround(loaded, deps, listens, opened);
  const { metrics } = ground;
  const { pool, gateway, health, billing } = await openParts(loaded, deps, { ...given, ...ground }, opened);
  const readiness = readinessOf(loaded, health, clock);
  // Closed in the opposite order: clients first, so that /readyz and /metrics answer until the last request is out.
  await listenForOps(loaded, deps, { health, readiness, billing, ...ground }, opened);
  opened.use(settleUnpinsNowAndThen(gateway, clock, log));
  await listenForClients(loaded, deps, { pool, gateway: servesClients ? gateway : null, metrics }, opened);
  // The lease first of all: a standby is not to wait until the last client is out.
  opened.defer(async () => {
    await billing?.[Symbol.asyncDispose]();
  });
  opened.defer(() => {
    readiness.stop();
  });
}

/** A storage node has no ledger and no clients of its own: its containers are watched, and that is told to operators. */
async function startStorageNode(loaded: LoadedConfig, deps: ServerDeps, opened: AsyncDisposableStack): Promise<void> {
  const clusterId = requireClusterId(loaded);
  const ground = await layGround(loaded, deps, [addressesOf(loaded).ops], opened);
  const { supervisor } = ground;
  const ownContainers = supervisor === null ? [] : [containersCheck(supervisor, loaded)];
  const health = createHealth([...ownContainers, diskCheck({ diskPath: loaded.paths.stateDir })], deps.clock);
  const readiness = readinessOf(loaded, health, deps.clock);
  await listenForOps(loaded, deps, { health, readiness, billing: null, ...ground }, opened);
  opened.defer(() => {
    readiness.stop();
  });
  deps.log.info("serve.opened", { role: "storage", clusterId });
}

/**
 * Starts everything that `serve` is: takes the lock of the base directory, checks the ports, watches containers of its
 * own, opens the ledger (an embedded PostgreSQL is started and kept alive), checks its schema, opens blocks and pinset,
 * and listens; of a storage node, its containers and the operators' listener alone. What was opened is closed again where
 * a later step fails.
 * @throws FulaError FULA_LOCKED, FULA_PORT_IN_USE, FULA_LISTEN_FAILED, FULA_NOT_JOINED, FULA_SCHEMA_BEHIND,
 *   FULA_SCHEMA_NEWER, FULA_ENCRYPTION_KEY_INVALID, FULA_ENCRYPTION_KEY_WRONG, and what opening the ledger, the block
 *   store and the pinset throws
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
  const { ops, gateway, api } = addressesOf(loaded);
  const endpoints = {
    ops: listenerUrl(ops),
    gateway: isMaster ? listenerUrl(gateway) : null,
    api: isMaster ? listenerUrl(api) : null,
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
