import rateLimit from "@fastify/rate-limit";
import swagger from "@fastify/swagger";
import { fastify, type FastifyInstance } from "fastify";
import {
  jsonSchemaTransform,
  jsonSchemaTransformObject,
  serializerCompiler,
  validatorCompiler,
  type ZodTypeProvider,
} from "fastify-type-provider-zod";
import type { ServerResponse } from "node:http";
import type { Clock } from "../kernel/clock.ts";
import type { Log } from "../kernel/log.ts";
import { type AccessRules, createAccessHook, operatorIdOf } from "./api-access.ts";
import { addAdminRoutes } from "./api-admin-routes.ts";
import { addCreditRoutes } from "./api-credit-routes.ts";
import { answerOf, ApiError } from "./api-errors.ts";
import { addDenialRoutes } from "./api-denial-routes.ts";
import { addIngestRoutes } from "./api-ingest-routes.ts";
import { addPinRoutes } from "./api-pin-routes.ts";
import { addKeyRoutes } from "./api-key-routes.ts";
import type { ApiServices } from "./api-services.ts";
import { addSessionRoutes } from "./api-session-routes.ts";
import { addWalletRoutes } from "./api-wallet-routes.ts";
import { createDrain, type Drain } from "./http-drain.ts";
import type { Metrics } from "./metrics.ts";

/** What the API's listener needs. */
export interface ApiParts {
  readonly services: ApiServices;
  readonly access: AccessRules;
  /** Proxies whose X-Forwarded-For is believed. */
  readonly trustedProxies: readonly string[];
  readonly metrics: Pick<Metrics, "requestStarted" | "requestFinished">;
  readonly clock: Clock;
  readonly log: Log;
  /** Told when the application closes, after its requests have ended or were cut off. */
  readonly onClose: () => void;
}

/** An application that is ready and not listening yet, and the way to end its requests. */
export interface ApiListener {
  readonly app: FastifyInstance;
  readonly drain: Drain;
}

/** The largest body is a signed text of a few hundred bytes. */
const BODY_BYTES_MAX = 16 * 1_024;
const REQUEST_TIMEOUT_MS = 30_000;
/** A connection on which nothing moves; a claim waits for its chain in the meantime. */
const CONNECTION_TIMEOUT_MS = 120_000;
/** Users and addresses whose requests are counted at the same time; beyond it the longest idle ones start anew. */
const COUNTED_MAX = 50_000;

function observe(app: FastifyInstance, drain: Drain, { metrics, clock, log }: ApiParts): void {
  const startedMs = new WeakMap<object, number>();
  app.addHook("onRequest", async (request, reply) => {
    startedMs.set(request.raw, clock.monotonicMs());
    metrics.requestStarted("api");
    drain.track(reply.raw);
    reply.header("cache-control", "no-store");
  });
  app.addHook("onResponse", async (request, reply) => {
    const durationMs = clock.monotonicMs() - (startedMs.get(request.raw) ?? clock.monotonicMs());
    const { method } = request;
    const status = reply.statusCode;
    const receivedBytes = Number(request.headers["content-length"] ?? 0);
    const sentBytes = Number(reply.getHeader("content-length") ?? 0);
    metrics.requestFinished({ listener: "api", method, status, durationMs, receivedBytes, sentBytes });
    const route = request.routeOptions.url ?? null;
    const by = request.operator ?? request.caller?.by ?? null;
    log.info("http.request", { listener: "api", method, route, status, durationMs: Math.round(durationMs), by });
  });
}

function answerErrors(app: FastifyInstance, log: Log): void {
  app.setErrorHandler(async (error, request, reply) => {
    const { status, reason, details, headers } = answerOf(error);
    const route = request.routeOptions.url ?? null;
    if (status === 503) log.warn("http.failed", { listener: "api", route, error });
    else if (status >= 500) log.error("http.failed", { listener: "api", route, error });
    return await reply.code(status).headers(headers).send({ error: { reason, details } });
  });
  app.setNotFoundHandler(async () => {
    await Promise.resolve();
    throw new ApiError(404, "NOT_FOUND", "There is no such route; GET /openapi.json lists them all.");
  });
}

/** Answers a path that no router reads: there is no route then, and no hook is run. */
function refusePath(response: ServerResponse): void {
  const details = "The path of the request cannot be read.";
  response.writeHead(400, { "content-type": "application/json; charset=utf-8", "cache-control": "no-store" });
  response.end(JSON.stringify({ error: { reason: "INVALID_REQUEST", details } }));
}

async function describeApi(app: FastifyInstance): Promise<void> {
  await app.register(swagger, {
    openapi: {
      openapi: "3.1.0",
      info: {
        title: "fula-master: accounts and pins",
        description:
          "Credits, wallets, keys and administration of the accounts of a federation (docs/api.md), and what they want pinned (docs/pinning.md).",
        version: "1",
      },
      components: {
        securitySchemes: {
          bearer: { type: "http", scheme: "bearer", description: "A session token, or a JWT of the federation." },
          service: {
            type: "apiKey",
            in: "header",
            name: "X-Fula-Service-Auth",
            description: "A gateway for its user.",
          },
          systemKey: { type: "apiKey", in: "header", name: "X-System-Key", description: "SYSTEM_KEY." },
        },
      },
    },
    transform: jsonSchemaTransform,
    transformObject: jsonSchemaTransformObject,
  });
}

/**
 * Makes the API's listener: accounts, wallets, administration, and `GET /openapi.json`. Every answer that is no success
 * has the body `{"error":{"reason","details"}}`.
 */
export async function createApiListener(parts: ApiParts): Promise<ApiListener> {
  const { services, access, trustedProxies, clock, log } = parts;
  const app = fastify({
    logger: false,
    bodyLimit: BODY_BYTES_MAX,
    requestTimeout: REQUEST_TIMEOUT_MS,
    connectionTimeout: CONNECTION_TIMEOUT_MS,
    forceCloseConnections: "idle",
    trustProxy: trustedProxies.length === 0 ? false : [...trustedProxies],
    frameworkErrors: (_error, _request, reply) => {
      refusePath(reply.raw);
    },
  }).withTypeProvider<ZodTypeProvider>();
  const drain = createDrain(app.server, clock);
  app.setValidatorCompiler(validatorCompiler);
  app.setSerializerCompiler(serializerCompiler);
  app.decorateRequest("caller", null);
  app.decorateRequest("operator", null);
  observe(app, drain, parts);
  answerErrors(app, log);
  await app.register(rateLimit, { global: false, cache: COUNTED_MAX });
  app.addHook("onRequest", createAccessHook(app, access));
  await describeApi(app);
  addCreditRoutes(app, services, async (caller) => (await access.authorize(operatorIdOf(caller))).allowed);
  addWalletRoutes(app, services);
  addKeyRoutes(app, services);
  addSessionRoutes(app, services);
  addAdminRoutes(app, services);
  addDenialRoutes(app, services.denials);
  addIngestRoutes(app, services);
  addPinRoutes(app, services.pins);
  app.get("/openapi.json", { schema: { hide: true } }, async () => app.swagger());
  app.addHook("onClose", async () => {
    parts.onClose();
  });
  await app.ready();
  return { app, drain };
}
