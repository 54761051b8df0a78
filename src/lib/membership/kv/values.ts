import { z } from "zod";
import { FulaError } from "../../kernel/errors.ts";
import { endpointSchema, memberSchema, operatorSchema, poolIdSchema, poolSchema, sealedKeySchema } from "../records.ts";
import { LEDGER_RECORD_SCHEMAS, type LedgerRecordKind, type LedgerRecords } from "../ledger-records.ts";
import type { Member, Operator, Pool, SealedKey } from "../records.ts";

/** What is written into every value; another one is not for this version to read. */
const FORMAT = 1;

/** A change of a pool that was decided, with everything that is still to be written in other buckets because of it. */
export type Intent =
  | { readonly kind: "add"; readonly member: Member; readonly sealed: readonly SealedKey[] }
  | { readonly kind: "remove"; readonly endpoint: string }
  | { readonly kind: "rekey"; readonly sealed: readonly SealedKey[] }
  | { readonly kind: "delete" };

/** A pool as its bucket has it. */
export interface PoolRecord {
  readonly pool: Pool;
  /** Counts the changes of the pool, its members and its keys; never goes back, also over deletion. */
  readonly change: number;
  /** The change of that number, until all of it is written; null after that. */
  readonly pending: Intent | null;
}

/** A member as its bucket has it. */
export interface MemberRecord {
  readonly change: number;
  readonly member: Member;
}

/** The sealed keys of one epoch of one pool. */
export interface EpochRecord {
  readonly change: number;
  readonly pool: string;
  readonly epoch: number;
  /** By member. */
  readonly sealed: Readonly<Record<string, string>>;
}

/** Says that a box may be a member of a pool; whether it is, the pool's own members say. */
export interface IndexRecord {
  readonly change: number;
  readonly endpoint: string;
  readonly pool: string;
}

/** All operators: one record, so that there is one revision to swap on and to confirm. */
export interface OperatorsRecord {
  readonly operators: readonly Operator[];
}

/** A record of the ledger's servers, with its kind, which its key has too. What the record must be, `LEDGER_RECORD_SCHEMAS` says. */
export interface LedgerValue {
  readonly kind: LedgerRecordKind;
  readonly record: LedgerRecords[LedgerRecordKind];
}

const change = z.int().nonnegative();

const intentSchema = z.discriminatedUnion("kind", [
  z.strictObject({ kind: z.literal("add"), member: memberSchema, sealed: z.array(sealedKeySchema) }),
  z.strictObject({ kind: z.literal("remove"), endpoint: endpointSchema }),
  z.strictObject({ kind: z.literal("rekey"), sealed: z.array(sealedKeySchema) }),
  z.strictObject({ kind: z.literal("delete") }),
]);

const ledgerSchema = z.strictObject({
  kind: z.enum(["epoch", "attest", "box", "session", "failover"]),
  record: z.union(Object.values(LEDGER_RECORD_SCHEMAS)),
});

/** What each bucket has in it. */
export interface Values {
  readonly pool: PoolRecord;
  readonly member: MemberRecord;
  readonly epoch: EpochRecord;
  readonly index: IndexRecord;
  readonly operators: OperatorsRecord;
  readonly ledger: LedgerValue;
}

/** Checks of the values, by bucket. */
export const VALUES: { readonly [K in keyof Values]: z.ZodType<Values[K]> } = {
  pool: z.strictObject({ pool: poolSchema, change, pending: intentSchema.nullable() }),
  member: z.strictObject({ change, member: memberSchema }),
  epoch: z.strictObject({
    change,
    pool: poolIdSchema,
    epoch: z.int().positive(),
    sealed: z.record(endpointSchema, z.string()),
  }),
  index: z.strictObject({ change, endpoint: endpointSchema, pool: poolIdSchema }),
  operators: z.strictObject({ operators: z.array(operatorSchema) }),
  ledger: ledgerSchema,
};

/** Object keys in one order, so that equal records are equal bytes. */
function inKeyOrder(_key: string, value: unknown): unknown {
  if (typeof value !== "object" || value === null || Array.isArray(value)) return value;
  return Object.fromEntries(Object.entries(value).toSorted(([a], [b]) => (a < b ? -1 : 1)));
}

/** The bytes of a value, the same for equal records. */
export function encodeValue(record: object): string {
  return JSON.stringify({ format: FORMAT, ...record }, inKeyOrder);
}

function unreadable(bucket: string, key: string, why: string): FulaError {
  return new FulaError(
    "FULA_CONTROL_PLANE_UNREADABLE",
    `The control plane's record ${key} of bucket ${bucket} ${why}.`,
    {
      hint: "a newer fula-master may have written it: update this one. Else restore an export: fula-master membership import.",
      details: { bucket, key },
    },
  );
}

/** @throws FulaError FULA_CONTROL_PLANE_UNREADABLE naming bucket and key, never the value */
export function decodeValue<T>(schema: z.ZodType<T>, text: string, bucket: string, key: string): T {
  let parsed: unknown;
  try {
    parsed = JSON.parse(text);
  } catch {
    throw unreadable(bucket, key, "is no JSON");
  }
  const header = z.looseObject({ format: z.number() }).safeParse(parsed);
  if (!header.success) throw unreadable(bucket, key, "says no format");
  const { format, ...rest } = header.data;
  if (format !== FORMAT) throw unreadable(bucket, key, `has format ${format}, and this version knows ${FORMAT}`);
  return checkValue(schema, rest, bucket, key);
}

/** A value as it must be. @throws FulaError FULA_CONTROL_PLANE_UNREADABLE, likewise */
export function checkValue<T>(schema: z.ZodType<T>, value: unknown, bucket: string, key: string): T {
  const record = schema.safeParse(value);
  if (record.success) return record.data;
  const [issue] = record.error.issues;
  throw unreadable(bucket, key, `is not as it must be: ${issue?.path.join(".") ?? ""}: ${issue?.message ?? ""}`);
}
