import type { FastifyReply } from "fastify";
import { z } from "zod";
import { type ApiApp, callerOf, describeRoute } from "./api-app.ts";
import { pinQuerySchema, pinResultsSchema, pinSchema, pinStatusSchema, requestIdSchema } from "./api-pin-schemas.ts";
import type { PinService } from "./pin-service.ts";

/** For how long a browser may remember what pages may send, in seconds: it takes no longer time than a day. */
const PREFLIGHT_SECONDS = 86_400;

// Any page may speak to the service: it has no cookies, so a page without the user's token learns and does nothing.
async function allowPages(_request: unknown, reply: FastifyReply): Promise<void> {
  reply.header("access-control-allow-origin", "*");
  reply.header("access-control-expose-headers", "retry-after");
}

function addPreflights(app: ApiApp): void {
  for (const url of ["/pins", "/pins/:requestid"]) {
    app.options(url, { schema: { hide: true }, onSend: allowPages }, async (_request, reply) => {
      reply.headers({
        "access-control-allow-methods": "GET, POST, DELETE",
        "access-control-allow-headers": "authorization, content-type",
        "access-control-max-age": String(PREFLIGHT_SECONDS),
      });
      return await reply.code(204).send();
    });
  }
}

/** The longest name, origins and metadata with every character escaped. */
const BODY_BYTES_MAX = 128 * 1_024;

function addListRoutes(app: ApiApp, pins: PinService): void {
  app.route({
    method: "GET",
    url: "/pins",
    config: { access: "read" },
    onSend: allowPages,
    schema: {
      ...describeRoute("read", "pins", "The caller's requests, newest first.", { 200: pinResultsSchema }),
      querystring: pinQuerySchema,
    },
    handler: async (request) => {
      const { count, results } = await pins.list(callerOf(request).userId, request.query);
      return { count, results };
    },
  });
  app.route({
    method: "GET",
    url: "/pins/:requestid",
    config: { access: "read" },
    onSend: allowPages,
    schema: {
      ...describeRoute("read", "pins", "One request of the caller.", { 200: pinStatusSchema }, [404]),
      params: requestIdSchema,
    },
    handler: async (request) => await pins.read(callerOf(request).userId, request.params.requestid),
  });
}

function addChangeRoutes(app: ApiApp, pins: PinService): void {
  app.route({
    method: "POST",
    url: "/pins",
    // Gateways pin each object for its user: their secret is what bounds them.
    config: { access: "write", isUnlimited: "service" },
    onSend: allowPages,
    bodyLimit: BODY_BYTES_MAX,
    schema: {
      ...describeRoute(
        "write",
        "pins",
        "Asks for a content to be kept; 200 where the caller has asked already.",
        { 200: pinStatusSchema, 202: pinStatusSchema },
        [402, 451],
      ),
      body: pinSchema,
    },
    handler: async (request, reply) => {
      const { isNew, view } = await pins.request(callerOf(request).userId, request.body);
      return await reply.code(isNew ? 202 : 200).send(view);
    },
  });
  app.route({
    method: "POST",
    url: "/pins/:requestid",
    config: { access: "write" },
    onSend: allowPages,
    bodyLimit: BODY_BYTES_MAX,
    schema: {
      ...describeRoute(
        "write",
        "pins",
        "Puts a new request in the place of this one, in one step.",
        { 202: pinStatusSchema },
        [402, 404, 451],
      ),
      params: requestIdSchema,
      body: pinSchema,
    },
    handler: async (request, reply) => {
      const { params, body } = request;
      return await reply.code(202).send(await pins.replace(callerOf(request).userId, params.requestid, body));
    },
  });
  app.route({
    method: "DELETE",
    url: "/pins/:requestid",
    config: { access: "write", isUnlimited: "service" },
    onSend: allowPages,
    schema: {
      ...describeRoute(
        "write",
        "pins",
        "Ends a request.",
        { 202: z.undefined().meta({ description: "Ended." }) },
        [404],
      ),
      params: requestIdSchema,
    },
    handler: async (request, reply) => {
      await pins.remove(callerOf(request).userId, request.params.requestid);
      return await reply.code(202).send();
    },
  });
}

/** The IPFS Pinning Service API 1.0 (https://ipfs.github.io/pinning-services-api-spec/). */
export function addPinRoutes(app: ApiApp, pins: PinService): void {
  addPreflights(app);
  addListRoutes(app, pins);
  addChangeRoutes(app, pins);
}
