import { z } from "zod";
import { isLoopback } from "../config/addresses.ts";
import type { LoadedConfig } from "../config/load.ts";
import type { FenceEvidence } from "../failover/judge-fence.ts";
import type { Clock } from "../kernel/clock.ts";
import type { LedgerEpochRecord } from "../membership/ledger-records.ts";
import { probeHttp } from "../runtime/http-probe.ts";
import { askPort } from "../runtime/own-addresses.ts";
import { readDaemonFile } from "./daemon-file.ts";

/** A service in the same federation answers within milliseconds; who waits for it is an operator with an outage. */
const LOOK_MS = 2_000;
const HEALTH_PATH = "/healthz";

interface Service {
  readonly name: "gateway" | "API";
  readonly port: number;
}

/** What of another master's services can be asked over the network, by the settings that masters of a federation share. */
function reachableServices({ config }: Pick<LoadedConfig, "config">, host: string): readonly Service[] {
  const { gateway, api } = config;
  const services = [
    { name: "gateway", host: gateway.host, port: gateway.port },
    { name: "API", host: api.host, port: api.port },
  ] as const;
  // What listens on loopback refuses everybody else, whether it runs or not.
  return services.filter((service) => service.port !== 0 && (isLoopback(host) || !isLoopback(service.host)));
}

/** Asks one service whether it takes requests. */
async function askService(
  host: string,
  { name, port }: Service,
  signal: AbortSignal,
): Promise<{ readonly refuses: boolean; readonly seen: string }> {
  const where = `the ${name} on ${host}:${port}`;
  const answer = await askPort(host, port, LOOK_MS);
  if (answer !== "takes") return { refuses: answer === "refuses", seen: `${where} ${SAID[answer]}` };
  const health = await probeHttp({ host, port, path: HEALTH_PATH }, LOOK_MS, signal);
  // A process that is frozen takes connections, and may go on at any moment.
  if (health === null) return { refuses: false, seen: `${where} takes connections and does not answer` };
  return { refuses: health.status >= 500, seen: `${where} answers ${HEALTH_PATH} with ${health.status}` };
}

const SAID = { refuses: "refuses connections", silent: "says nothing" } as const;

/**
 * Asks the old master's gateway and API whether they take requests. One that does refutes nothing: it may follow the new
 * primary, as every master's does.
 */
export async function servicesEvidence(
  loaded: Pick<LoadedConfig, "config">,
  old: { readonly node: string; readonly host: string },
  signal: AbortSignal,
): Promise<FenceEvidence> {
  const what = "services-refuse";
  const services = reachableServices(loaded, old.host);
  if (!services.some(({ name }) => name === "gateway")) {
    const seen = `the gateway of ${old.node} listens on loopback alone, so that nothing is told by its port`;
    return { what, state: "unknown", seen };
  }
  const asked = await Promise.all(services.map(async (service) => await askService(old.host, service, signal)));
  const seen = `of ${old.node}, ${asked.map((each) => each.seen).join(" and ")}`;
  return { what, state: asked.every(({ refuses }) => refuses) ? "proven" : "unknown", seen };
}

const readiness = z.object({
  ready: z.boolean(),
  checks: z.array(
    z.object({
      name: z.string(),
      state: z.string(),
      error: z.string().nullable(),
      details: z.object({ epoch: z.number().optional() }).optional(),
    }),
  ),
});

/** What is wrong with this box's `serve`; null where it is ready under the epoch and its gateway answers. */
async function troubleOfServe(
  { config }: Pick<LoadedConfig, "config">,
  epoch: Pick<LedgerEpochRecord, "number">,
  signal: AbortSignal,
): Promise<string | null> {
  const { server, gateway } = config;
  const answer = await probeHttp({ host: server.host, port: server.port, path: "/readyz" }, LOOK_MS, signal);
  if (answer === null) return "its /readyz does not answer";
  const report = readiness.safeParse(parseJson(answer.body));
  if (!report.success) return `its /readyz answers ${answer.status} with something that cannot be read`;
  const { ready, checks } = report.data;
  const failed = checks.filter(({ state }) => state === "failed").map(({ name, error }) => `${name}: ${error ?? ""}`);
  if (!ready) return `it is not ready: ${failed.join("; ")}`;
  const means = checks.find(({ name }) => name === "ledger-epoch")?.details?.epoch ?? null;
  if (means !== epoch.number) return `it is at epoch ${means ?? "none"} of the ledger, not at ${epoch.number}`;
  const health = await probeHttp({ host: gateway.host, port: gateway.port, path: HEALTH_PATH }, LOOK_MS, signal);
  if (health === null) return `its gateway on port ${gateway.port} does not answer`;
  return health.status < 500 ? null : `its gateway answers ${HEALTH_PATH} with ${health.status}`;
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return null;
  }
}

const SERVE_PATIENCE_MS = 60_000;
const SERVE_POLL_MS = 250;

/** What came of trying this box's services. */
interface ServeTrial {
  readonly state: "ok" | "attention" | "bad";
  readonly seen: string;
}

/**
 * Waits until clients are served from this box under the new epoch: `serve` is ready, which it is when ledger, blocks and
 * pinset took what it tried there, and its gateway answers.
 */
export async function tryServe(
  loaded: LoadedConfig,
  epoch: Pick<LedgerEpochRecord, "number" | "primary">,
  { clock, signal, report }: { clock: Clock; signal: AbortSignal; report: (text: string) => void },
): Promise<ServeTrial> {
  const { config, paths } = loaded;
  const { name } = config.node;
  if ((await readDaemonFile(paths.servePidFile)).status !== "running") {
    const seen = `serve does not run on ${name}, so that nobody is served from there until fula-master start`;
    return { state: config.failover.flipCommand === null ? "attention" : "bad", seen };
  }
  if (config.server.port === 0 || config.gateway.port === 0) {
    return { state: "attention", seen: `serve of ${name} chose its ports itself, so that it was not asked` };
  }
  const deadlineMs = clock.monotonicMs() + SERVE_PATIENCE_MS;
  for (;;) {
    const trouble = await troubleOfServe(loaded, epoch, signal);
    const elsewhere =
      epoch.primary === name ? "" : `; that of ${epoch.primary}, the new primary, was not asked from here`;
    if (trouble === null) {
      const seen = `serve of ${name} is ready under epoch ${epoch.number}, and its gateway answers${elsewhere}`;
      return { state: elsewhere === "" ? "ok" : "attention", seen };
    }
    if (clock.monotonicMs() > deadlineMs) return { state: "bad", seen: `serve of ${name}: ${trouble}` };
    report(`waiting for serve: ${trouble}`);
    await clock.sleep(SERVE_POLL_MS, signal);
  }
}
