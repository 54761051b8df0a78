import type { LoadedConfig } from "../config/load.ts";
import type { Clock } from "../kernel/clock.ts";
import { toolVersion } from "../kernel/project.ts";
import type { ContainerSupervisor } from "../runtime/container-supervisor.ts";
import { type Ledger, openLedger } from "../stack/ledger.ts";
import type { Billing } from "./billing.ts";
import { wellServices } from "./containers.ts";
import { createHealth, type Health, type HealthCheck } from "./health.ts";
import { waitForLedger } from "./ledger-wait.ts";
import type { Metrics } from "./metrics.ts";
import { createOpsListener } from "./ops-listener.ts";
import { listen } from "./ports.ts";
import { createReadiness, type Readiness } from "./readiness.ts";
import type { ServerDeps } from "./running-server.ts";
import { gatherScrapeFacts } from "./scrape.ts";

/** What every `serve` has, whatever it serves. */
export interface Ground {
  readonly metrics: Metrics;
  readonly supervisor: ContainerSupervisor | null;
}

/** Makes the readiness report of a box. */
export function readinessOf({ config }: LoadedConfig, health: Health, clock: Clock): Readiness {
  return createReadiness(health, { version: toolVersion(), node: config.node.name, clock });
}

/** Listens for operators: /healthz, /readyz and /metrics. */
export async function listenForOps(
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
  const { host, port } = loaded.config.server;
  await listen(app.server, { host, port, setting: "server" });
}

/** Opens the ledger; while it is waited for, /readyz says for what. */
export async function openOrWait(
  loaded: LoadedConfig,
  deps: ServerDeps,
  ground: Ground,
  opened: AsyncDisposableStack,
): Promise<Ledger> {
  const { clock, random, log, signal } = deps;
  const options = { clock, random, log, part: "serve", supervise: true, ...(signal && { signal }) };
  const open = async (): Promise<Ledger> => await openLedger(loaded, options);
  const tell = async (check: HealthCheck): Promise<AsyncDisposable> => {
    const listening = new AsyncDisposableStack();
    const health = createHealth([check], clock);
    const readiness = readinessOf(loaded, health, clock);
    await listenForOps(loaded, deps, { health, readiness, billing: null, ...ground }, listening);
    return listening;
  };
  return opened.use(await waitForLedger(loaded, { clock, log, signal, open, tell }));
}
