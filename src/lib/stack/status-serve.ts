import { z } from "zod";
import type { LoadedConfig } from "../config/load.ts";
import { probeHttp } from "../runtime/http-probe.ts";
import { daemonState } from "./daemon.ts";
import type { LookLimits } from "./look.ts";
import { attention, bad, lookAtPart, OK } from "./status-part.ts";
import type { ReadinessCheck, ServePart } from "./status-report.ts";

const readinessSchema = z.object({
  status: z.string(),
  checks: z.array(
    z.object({ name: z.string(), state: z.enum(["ok", "degraded", "failed"]), error: z.string().nullable() }),
  ),
});

function parseReadiness(body: string): readonly ReadinessCheck[] | null {
  try {
    const parsed = readinessSchema.safeParse(JSON.parse(body));
    return parsed.success ? parsed.data.checks.map(({ name, state, error }) => ({ name, state, error })) : null;
  } catch {
    return null;
  }
}

function urlOf({ host, port }: { readonly host: string; readonly port: number }, secure = false): string {
  return `${secure ? "https" : "http"}://${host.includes(":") ? `[${host}]` : host}:${port}`;
}

/** A margin below the limit of the look, so that what is known about the process is told even where /readyz hangs. */
const READYZ_MARGIN_MS = 500;

/** Looks at the process that serves and at what its /readyz says. */
export async function readServe(loaded: LoadedConfig, limits: LookLimits): Promise<ServePart> {
  const { node, server, gateway, api, ingest } = loaded.config;
  const isStorage = node.role === "storage";
  const endpoints = {
    gateway: isStorage ? null : urlOf(gateway),
    api: isStorage ? null : urlOf(api),
    ingest: isStorage && ingest.mode === "on" ? urlOf(ingest, ingest.tlsCert !== null) : null,
    operations: urlOf(server),
  };
  const nobody = { pid: null, since: null, endpoints, checks: [] };
  return await lookAtPart<ServePart>(limits, nobody, async (signal) => {
    const [state, answer] = await Promise.all([
      daemonState(loaded, signal),
      probeHttp(
        { host: server.host, port: server.port, path: "/readyz" },
        Math.max(1, limits.limitMs - READYZ_MARGIN_MS),
        signal,
      ),
    ]);
    if (state.status === "stopped") {
      const { stale } = state;
      const crashed = stale === null ? "" : ` (process ${stale.pid}, started ${stale.since}, ended without a stop)`;
      return { ...nobody, ...bad(`serve does not run${crashed}. Try: fula-master start`) };
    }
    const { pid, since } = state;
    const checks = answer === null ? null : parseReadiness(answer.body);
    const known = { pid, since, endpoints, checks: checks ?? [] };
    if (answer === null) return { ...known, ...bad("serve runs, but /readyz does not answer") };
    if (checks === null)
      return { ...known, ...bad(`/readyz answers ${answer.status} with something that cannot be read`) };
    const failed = checks.filter((check) => check.state === "failed").map(({ name }) => name);
    if (answer.status !== 200 || failed.length > 0) {
      return { ...known, ...bad(`not ready: ${failed.join(", ") || `/readyz answers ${answer.status}`}`) };
    }
    const degraded = checks.filter((check) => check.state === "degraded").map(({ name }) => name);
    return degraded.length === 0 ? { ...known, ...OK } : { ...known, ...attention(`degraded: ${degraded.join(", ")}`) };
  });
}
