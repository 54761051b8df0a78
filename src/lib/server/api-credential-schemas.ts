import { z } from "zod";
import { SCOPES } from "../identity/access-key.ts";
import { SESSION_LIFETIME_MAX_MS } from "../identity/session-token.ts";

const time = z.iso.datetime();
const keyId = z.string().regex(/^FULA[A-Z2-7]{16}$/);
const wallet = z.string().regex(/^0x[0-9a-f]{40}$/);
const hexId = z.string().regex(/^[0-9a-f]{64}$/);
const label = z
  .string()
  .max(100)
  .regex(/^\P{Cc}*$/u, "must be one line of text");
const HOUR_SECONDS = 3_600;
const KEY_LIFETIME_SECONDS_MAX = 10 * 365 * 24 * HOUR_SECONDS;

export const keySchema = z.object({
  keyId,
  wallet: wallet.nullable().meta({ description: "Null of a user's key." }),
  scopes: z.array(z.enum(SCOPES)),
  label: z.string(),
  bearerOnly: z.boolean().meta({ description: "True where it signs no requests." }),
  state: z.enum(["active", "denied", "expired", "revoked"]),
  createdAt: time,
  expiresAt: time.nullable(),
  lastUsedAt: time.nullable().meta({ description: "To the minute." }),
  revokedAt: time.nullable(),
});

export const keysSchema = z.object({ keys: z.array(keySchema) });

export const newKeySchema = z.strictObject({
  scopes: z.array(z.enum(SCOPES)).min(1).max(SCOPES.length).optional().meta({
    description: "None that the credential has not itself; all of its own where they are left out.",
  }),
  label: label.default(""),
  lifetimeSeconds: z.int().min(60).max(KEY_LIFETIME_SECONDS_MAX).optional().meta({
    description: "No end where it is left out. A key that is made with a key ends with it at the latest.",
  }),
  bearerOnly: z.boolean().default(false),
});

export const madeKeySchema = z.object({
  key: keySchema,
  secret: z.string().meta({ description: "Shown this once." }),
});

export const keyParamsSchema = z.object({ id: keyId });

export const revokedKeySchema = z.object({ keyId, revoked: z.literal(true), already: z.boolean() });

const sessionScope = z.enum(["storage:read", "storage:write", "admin"]);

export const newSessionSchema = z.strictObject({
  scopes: z.array(sessionScope).min(1).max(3).optional().meta({
    description: "None that the credential has not itself; where they are left out, all of its own but admin.",
  }),
  lifetimeSeconds: z
    .int()
    .min(60)
    .max(SESSION_LIFETIME_MAX_MS / 1_000)
    .default(HOUR_SECONDS)
    .meta({ description: "The token never outlives the credential that it is made with." }),
});

export const sessionSchema = z.object({
  token: z.string().meta({ description: "A JSON Web Token, HS256." }),
  tokenType: z.literal("Bearer"),
  scope: z.string(),
  expiresAt: time,
});

export const meSchema = z.object({
  subject: z.object({ kind: z.enum(["user", "wallet"]), id: z.string() }),
  userId: hexId.meta({ description: "The account that pays." }),
  ownerId: z.string().regex(/^[0-9a-f]{32}$/),
  scope: z.string(),
  by: z.enum(["session", "jwt", "service", "eip712", "key"]),
  issuedAt: time.nullable().meta({ description: "Null where the credential does not say." }),
  expiresAt: time.nullable().meta({ description: "Null for never." }),
});
