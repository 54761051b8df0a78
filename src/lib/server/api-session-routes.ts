import type { CallerScope } from "../identity/bearer.ts";
import { scopeText } from "../identity/session-token.ts";
import { subjectText } from "../identity/subject.ts";
import { type ApiApp, callerOf, describeRoute } from "./api-app.ts";
import { meSchema, newSessionSchema, sessionSchema } from "./api-credential-schemas.ts";
import type { ApiServices } from "./api-services.ts";

const RIGHTS = { "storage:read": "read", "storage:write": "write", admin: "admin" } as const satisfies Record<
  string,
  CallerScope
>;

function timeOf(ms: number | null): string | null {
  return ms === null ? null : new Date(ms).toISOString();
}

/** Routes about who calls, and the session tokens that he makes. */
export function addSessionRoutes(app: ApiApp, { credentials }: ApiServices): void {
  app.route({
    method: "POST",
    url: "/api/v1/sessions",
    config: { access: "read" },
    schema: {
      ...describeRoute(
        "read",
        "sessions",
        "Makes a session token that may no more than the credential that asks, and lives no longer.",
        { 201: sessionSchema },
      ),
      body: newSessionSchema,
    },
    handler: async (request, reply) => {
      const { scopes, lifetimeSeconds } = request.body;
      const wish = { scopes: scopes?.map((scope) => RIGHTS[scope]) ?? null, lifetimeMs: lifetimeSeconds * 1_000 };
      const { token, scope, expiresMs } = await credentials.issueSession(callerOf(request), wish);
      const expiresAt = new Date(expiresMs).toISOString();
      return await reply.code(201).send({ token, tokenType: "Bearer" as const, scope, expiresAt });
    },
  });
  app.route({
    method: "GET",
    url: "/api/v1/me",
    config: { access: "read" },
    schema: describeRoute("read", "sessions", "Who the credential of the request stands for, and what it may.", {
      200: meSchema,
    }),
    handler: async (request) => {
      await Promise.resolve();
      const { subject, userId, ownerId, scopes, by, credential } = callerOf(request);
      return {
        subject: { kind: subject.kind, id: subjectText(subject) },
        userId,
        ownerId,
        scope: scopeText(scopes),
        by,
        issuedAt: timeOf(credential.issuedMs),
        expiresAt: timeOf(credential.expiresMs),
      };
    },
  });
}
