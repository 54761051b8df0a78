import { z } from "zod";
import { NAME_MATCHES } from "../pinning/pin-filter.ts";
import { PIN_STATUSES } from "../pinning/pin-record.ts";

const LIMIT_MAX = 1_000;
const LIMIT = 10;

/** Several values as the API writes them, with commas between; repeated parameters are taken, too. */
function several(what: string): z.ZodType<readonly string[], readonly string[] | string | undefined> {
  return z
    .union([z.string().max(20_000), z.array(z.string().max(2_000)).max(1_000)])
    .default([])
    .transform((given) =>
      [given]
        .flat()
        .flatMap((text) => text.split(","))
        .filter((text) => text !== ""),
    )
    .meta({ description: what });
}

const meta = z.record(z.string(), z.string());

export const pinSchema = z
  .object({
    cid: z.string().min(1).max(512),
    name: z
      .string()
      .nullish()
      .transform((name) => name ?? undefined),
    origins: z
      .array(z.string())
      .nullish()
      .transform((origins) => origins ?? undefined),
    meta: meta.nullish().transform((texts) => texts ?? undefined),
  })
  .meta({ description: "What is to be kept." });

export const pinStatusSchema = z.object({
  requestid: z.string(),
  status: z.enum(PIN_STATUSES),
  created: z
    .string()
    .regex(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z$/)
    .meta({ description: "Always with six digits of a second; no two requests of an account have the same." }),
  pin: z.object({
    cid: z.string(),
    name: z.string().optional(),
    origins: z.array(z.string()),
    meta,
  }),
  delegates: z.array(z.string()).meta({ description: "Where to connect to, so that the content is fetched." }),
  info: meta,
});

export const pinResultsSchema = z.object({
  count: z.int().min(0).meta({ description: "All that match, not only those on the page." }),
  results: z.array(pinStatusSchema),
});

export const pinQuerySchema = z.object({
  cid: several("CIDs, with commas between."),
  name: z.string().optional(),
  match: z.enum(NAME_MATCHES).default("exact"),
  status: several("`queued`, `pinning`, `pinned`, `failed`, with commas between; `pinned` alone without it."),
  before: z.string().max(64).optional().meta({ description: "Created before it; RFC 3339." }),
  after: z.string().max(64).optional().meta({ description: "Created after it; RFC 3339." }),
  limit: z.coerce.number().int().min(1).max(LIMIT_MAX).default(LIMIT),
  meta: z.string().optional().meta({ description: "JSON object of texts, every one of which must be there." }),
});

/** Ids of other software are no UUIDs; PostgreSQL takes no NUL. */
export const requestIdSchema = z.object({
  requestid: z
    .string()
    .max(255)
    .regex(/^\P{Cc}+$/u),
});
