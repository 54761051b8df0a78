import { z } from "zod";
import { DENIAL_KINDS, type Denial } from "../identity/denial-table.ts";
import { type ApiApp, callerOf, describeRoute, operatorOf } from "./api-app.ts";
import { note, time } from "./api-schemas.ts";
import type { DenialServices } from "./denial-services.ts";

const denialSchema = z
  .object({
    kind: z.enum(DENIAL_KINDS),
    subject: z.string().meta({ description: "A digest or a user id in hex, or a wallet's address." }),
    issuedBefore: time.nullable().meta({ description: "What was issued before it is denied; null of one credential." }),
    expiresAt: time.nullable(),
    reason: z.string(),
    deniedBy: z.string(),
    deniedAt: time,
    liftedAt: time.nullable(),
    liftedBy: z.string().nullable(),
  })
  .meta({ id: "Denial", description: "A credential that is refused although it is good, or all of a wallet or user." });
const denialsSchema = z.object({ denials: z.array(denialSchema) });
const changedSchema = z.object({
  success: z.literal(true),
  changed: z.boolean().meta({ description: "False where it was so before." }),
  denial: denialSchema,
});
const signedOutSchema = z.object({
  success: z.literal(true),
  issuedBefore: time.meta({
    description: "Tokens and keys of before are refused: five minutes from now, for clocks that are ahead.",
  }),
});
const denyBodySchema = z.strictObject({
  token: z.string().max(8_192).optional().meta({ description: "A bearer token as it was sent." }),
  digest: z.string().max(66).optional(),
  keyId: z.string().max(64).optional(),
  wallet: z.string().max(64).optional(),
  user: z.string().max(320).optional().meta({ description: "An e-mail address or a user id." }),
  before: time
    .optional()
    .meta({ description: "Of a wallet or user: what was issued before it. Default: in five minutes." }),
  reason: note,
});
const listQuerySchema = z.object({
  all: z.enum(["true", "false"]).default("false"),
  limit: z.coerce.number().int().min(1).max(1_000).default(100),
});
const liftParamsSchema = z.object({ kind: z.enum(DENIAL_KINDS), subject: z.string().max(66) });
const liftQuerySchema = z.object({ reason: note });

function answerOf(denial: Denial): (typeof denialSchema)["_output"] {
  const { kind, subject, issuedBefore, expiresAt, reason, deniedBy, deniedAt, liftedAt, liftedBy } = denial;
  return { kind, subject, issuedBefore, expiresAt, reason, deniedBy, deniedAt, liftedAt, liftedBy };
}

function addDenyRoute(app: ApiApp, services: DenialServices): void {
  app.route({
    method: "POST",
    url: "/api/v1/admin/denials",
    config: { access: "admin" },
    schema: {
      ...describeRoute("admin", "admin", "Revokes a credential, or all of a wallet or a user.", {
        200: changedSchema,
      }),
      body: denyBodySchema,
    },
    handler: async (request) => {
      const { before, reason, ...words } = request.body;
      const act = { actor: operatorOf(request), reason };
      const { denial, changed } = await services.deny(words, act, before === undefined ? null : Date.parse(before));
      return { success: true as const, changed, denial: answerOf(denial) };
    },
  });
}

function addListAndLiftRoutes(app: ApiApp, services: DenialServices): void {
  app.route({
    method: "GET",
    url: "/api/v1/admin/denials",
    config: { access: "admin" },
    schema: {
      ...describeRoute("admin", "admin", "What is revoked, the newest first.", { 200: denialsSchema }),
      querystring: listQuerySchema,
    },
    handler: async ({ query }) => ({ denials: (await services.list(query.all === "true", query.limit)).map(answerOf) }),
  });
  app.route({
    method: "DELETE",
    url: "/api/v1/admin/denials/:kind/:subject",
    config: { access: "admin" },
    schema: {
      ...describeRoute("admin", "admin", "Takes a denial back.", { 200: changedSchema }, [404]),
      params: liftParamsSchema,
      querystring: liftQuerySchema,
    },
    handler: async (request) => {
      const { kind, subject } = request.params;
      const act = { actor: operatorOf(request), reason: request.query.reason };
      const { denial, changed } = await services.lift({ kind, subject: subject.toLowerCase() }, act);
      return { success: true as const, changed, denial: answerOf(denial) };
    },
  });
}

/** Routes that revoke credentials: anybody's for administrators, one's own for everybody. */
export function addDenialRoutes(app: ApiApp, services: DenialServices): void {
  addDenyRoute(app, services);
  addListAndLiftRoutes(app, services);
  app.route({
    method: "POST",
    url: "/api/v1/sessions/revoke-all",
    config: { access: "write" },
    schema: describeRoute(
      "write",
      "sessions",
      "Signs out everywhere: revokes all that was issued until now, whatever clock it is dated by.",
      {
        200: signedOutSchema,
      },
    ),
    handler: async (request) => {
      const { issuedBefore } = await services.signOut(callerOf(request));
      if (issuedBefore === null) throw new Error("A denial of a subject says before when");
      return { success: true as const, issuedBefore };
    },
  });
}
