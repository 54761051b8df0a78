import { z } from "zod";
import { FulaError } from "../kernel/errors.ts";
import type { Pin } from "./pins.ts";

// RFC 3339 in UTC; IPFS Cluster writes up to nine digits of a second.
const utcTime = z.string().regex(/^\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}(\.\d{1,9})?Z$/, "must be a UTC time, RFC 3339");
// Half of a surrogate pair has no UTF-8, so a pin with one could be put into no snapshot.
const text = z.string().refine((value) => value.isWellFormed(), "must be text that UTF-8 can hold");

// Not `z.record`, which leaves out a key "__proto__" without a word.
const textMap = z.custom<Readonly<Record<string, string>>>(isTextMap, "must map text to text");

const factor = z.int().min(-1).max(10_000);

const pinSchema = z.strictObject({
  cid: z.string().min(1).max(512),
  type: z.enum(["pin", "meta-pin", "clusterdag-pin", "shard-pin"]),
  mode: z.enum(["recursive", "direct"]),
  name: text,
  replication_factor_min: factor,
  replication_factor_max: factor,
  shard_size: z.number().int().nonnegative(),
  user_allocations: z.array(text),
  allocations: z.array(text),
  expire_at: utcTime.nullable(),
  metadata: textMap,
  origins: z.array(text),
  max_depth: z.int().min(-1),
  reference: text.nullable(),
  timestamp: utcTime,
});

function isTextMap(value: unknown): boolean {
  if (typeof value !== "object" || value === null || Array.isArray(value)) return false;
  return Object.entries(value).every(
    ([key, each]: [string, unknown]) => typeof each === "string" && each.isWellFormed() && key.isWellFormed(),
  );
}

/** Checks that a value is a whole pin record, nothing missing and nothing more. @throws FulaError FULA_PIN_INVALID */
export function parsePin(value: unknown): Pin {
  const parsed = pinSchema.safeParse(value);
  if (parsed.success) return parsed.data;
  const first = parsed.error.issues[0];
  const where = first === undefined || first.path.length === 0 ? "the record" : first.path.join(".");
  const cid = typeof value === "object" && value !== null && "cid" in value ? String(value.cid) : "(no CID)";
  throw new FulaError("FULA_PIN_INVALID", `Pin ${cid} is not valid: ${where}: ${first?.message ?? "not a pin"}.`, {
    details: { cid, field: where },
  });
}
