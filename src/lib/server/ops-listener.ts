import { fastify, type FastifyInstance } from "fastify";
import type { Clock } from "../kernel/clock.ts";
import { messageOf } from "../kernel/errors.ts";
import type { Log } from "../kernel/log.ts";
import type { Metrics } from "./metrics.ts";
import type { ReadinessReport } from "./readiness.ts";

/** What the operators' listener answers with. */
export interface OpsParts {
  readonly metrics: Metrics;
  readonly version: string;
  readonly clock: Clock;
  readonly log: Log;
  readonly readiness: () => Promise<ReadinessReport>;
  readonly renderMetrics: () => Promise<string>;
}

/** Nobody sends anything to these routes. */
const BODY_BYTES_MAX = 1_024;
const REQUEST_TIMEOUT_MS = 10_000;

function observe(app: FastifyInstance, { metrics, clock, log }: OpsParts): void {
  const startedMs = new WeakMap<object, number>();
  app.addHook("onRequest", async (request) => {
    startedMs.set(request.raw, clock.monotonicMs());
    metrics.requestStarted("ops");
  });
  app.addHook("onResponse", async (request, reply) => {
    const durationMs = clock.monotonicMs() - (startedMs.get(request.raw) ?? clock.monotonicMs());
    const status = reply.statusCode;
    const sentBytes = Number(reply.getHeader("content-length") ?? 0);
    metrics.requestFinished({
      listener: "ops",
      method: request.method,
      status,
      durationMs,
      receivedBytes: 0,
      sentBytes,
    });
    log.debug("http.request", {
      listener: "ops",
      method: request.method,
      route: request.routeOptions.url ?? null,
      status,
      durationMs: Math.round(durationMs),
    });
  });
}

/**
 * Makes the listener for operators: `/healthz`, `/readyz`, `/metrics`. It listens on a port of its own, so that no
 * route of ours ever shadows a bucket and the gateway's port can be opened to the world without it.
 */
export function createOpsListener(parts: OpsParts): FastifyInstance {
  const app = fastify({
    logger: false,
    bodyLimit: BODY_BYTES_MAX,
    requestTimeout: REQUEST_TIMEOUT_MS,
    connectionTimeout: REQUEST_TIMEOUT_MS,
    forceCloseConnections: "idle",
    exposeHeadRoutes: true,
  });
  observe(app, parts);
  app.addHook("onSend", async (_request, reply) => {
    reply.header("cache-control", "no-store");
  });
  app.get("/healthz", async () => ({ status: "alive", version: parts.version }));
  app.get("/readyz", async (_request, reply) => {
    const report = await parts.readiness();
    reply.code(report.ready ? 200 : 503);
    return report;
  });
  app.get("/metrics", async (_request, reply) => {
    reply.type(parts.metrics.contentType);
    return await parts.renderMetrics();
  });
  app.setNotFoundHandler(async (_request, reply) => {
    reply.code(404);
    return {
      error: { code: "NOT_FOUND", message: "There are /healthz, /readyz and /metrics here; S3 has its own port." },
    };
  });
  app.setErrorHandler(async (error, _request, reply) => {
    const status =
      typeof error === "object" && error !== null && "statusCode" in error && typeof error.statusCode === "number"
        ? error.statusCode
        : 500;
    if (status >= 500) parts.log.error("http.failed", { listener: "ops", error });
    reply.code(status);
    return { error: { code: status >= 500 ? "INTERNAL" : "BAD_REQUEST", message: messageOf(error) } };
  });
  return app;
}
