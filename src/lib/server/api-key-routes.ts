import type { KeyRecord } from "../identity/key-table.ts";
import { type ApiApp, callerOf, describeRoute } from "./api-app.ts";
import {
  keyParamsSchema,
  type keySchema,
  keysSchema,
  madeKeySchema,
  newKeySchema,
  revokedKeySchema,
} from "./api-credential-schemas.ts";
import type { ApiServices } from "./api-services.ts";

function keyOf(record: KeyRecord): (typeof keySchema)["_output"] {
  const { keyId, wallet, label, bearerOnly, state, createdAt, expiresAt, lastUsedAt, revokedAt } = record;
  const scopes = [...record.scopes];
  return { keyId, wallet, scopes, label, bearerOnly, state, createdAt, expiresAt, lastUsedAt, revokedAt };
}

function addListRoute(app: ApiApp, { credentials }: ApiServices): void {
  app.route({
    method: "GET",
    url: "/api/v1/keys",
    config: { access: "read" },
    schema: describeRoute("read", "keys", "The caller's access keys, newest first, without their secrets.", {
      200: keysSchema,
    }),
    handler: async (request) => ({ keys: (await credentials.listKeys(callerOf(request))).map(keyOf) }),
  });
}

function addChangeRoutes(app: ApiApp, { credentials }: ApiServices): void {
  app.route({
    method: "POST",
    url: "/api/v1/keys",
    config: { access: "write" },
    schema: {
      ...describeRoute(
        "write",
        "keys",
        "Makes an access key; its secret is shown this once.",
        { 201: madeKeySchema },
        [409],
      ),
      body: newKeySchema,
    },
    handler: async (request, reply) => {
      const { scopes = null, label, lifetimeSeconds, bearerOnly } = request.body;
      const lifetimeMs = lifetimeSeconds === undefined ? null : lifetimeSeconds * 1_000;
      const wish = { scopes, label, lifetimeMs, bearerOnly };
      const { pair, record } = await credentials.createKey(callerOf(request), wish);
      return await reply.code(201).send({ key: keyOf(record), secret: pair.secret.reveal() });
    },
  });
  app.route({
    method: "DELETE",
    url: "/api/v1/keys/:id",
    config: { access: "write" },
    schema: {
      ...describeRoute("write", "keys", "Revokes an access key of the caller.", { 200: revokedKeySchema }, [404]),
      params: keyParamsSchema,
    },
    handler: async (request) => {
      const { id: keyId } = request.params;
      const changed = await credentials.revokeKey(callerOf(request), keyId);
      return { keyId, revoked: true as const, already: !changed };
    },
  });
}

/** Routes about a caller's own access keys. */
export function addKeyRoutes(app: ApiApp, services: ApiServices): void {
  addListRoute(app, services);
  addChangeRoutes(app, services);
}
