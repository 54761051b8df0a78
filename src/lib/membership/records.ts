import { z } from "zod";

/**
 * The records of the control plane: which pools there are, who is a member of which, the pools' secrets sealed to each
 * member, and which operators may act. Times are RFC 3339, UTC, with milliseconds.
 */

/** What a member is in its pool. */
export type MemberRole = "owner" | "member";

/** `admin` may do everything; `operator` everything but to change who may, who belongs, and the secrets. */
export type OperatorRole = "admin" | "operator";

/** A revoked operator stays on record, so that he is not taken in again by an old list. */
export type OperatorStatus = "active" | "revoked";

/** Those who share a secret. */
export interface Pool {
  /** Lower-case letters, digits and dashes, at most 63. */
  readonly id: string;
  readonly name: string;
  /** True where it has a secret, sealed to each member. */
  readonly encrypted: boolean;
  /** The member that made it: an endpoint. */
  readonly owner: string;
  /** Of its secret: 0 until the first one, then one more with each rekey. */
  readonly epoch: number;
  readonly createdAt: string;
}

/** A box that belongs to a pool. */
export interface Member {
  readonly pool: string;
  /** Its public identity: `x25519:` and 64 lower-case hex digits of the public key that secrets are sealed to. */
  readonly endpoint: string;
  /** What people call it: the box's `node.name`. */
  readonly name: string;
  readonly role: MemberRole;
  readonly joinedAt: string;
  /** The newest epoch that this box says it has put to use; 0 before the first. */
  readonly appliedEpoch: number;
}

/** A pool's secret of one epoch, sealed to one member. All epochs are kept. */
export interface SealedKey {
  readonly pool: string;
  readonly epoch: number;
  /** An endpoint. */
  readonly member: string;
  /** A sealed box: base64. */
  readonly sealed: string;
}

/** Somebody who may act on the federation. */
export interface Operator {
  /**
   * In its normal form, all lower case: `ed25519:<64 hex digits>` (the key of a box or of a person), `0x<40 hex digits>`
   * (a wallet), `user:<64 hex digits>` (a user of the ledger) or `system` (whoever has SYSTEM_KEY).
   */
  readonly id: string;
  readonly role: OperatorRole;
  readonly status: OperatorStatus;
  /** What people call him; one line, may be empty. */
  readonly name: string;
  readonly createdAt: string;
}

/** Everything of a control plane, each list in the order of its keys, so that two of equal content are equal as text. */
export interface MembershipSnapshot {
  readonly format: 1;
  readonly pools: readonly Pool[];
  readonly members: readonly Member[];
  readonly sealedKeys: readonly SealedKey[];
  readonly operators: readonly Operator[];
}

/** Why somebody may not act; `--json` and the API give these words. */
export type DenialReason = "unknown" | "revoked" | "role" | "no-operators" | "unreachable" | "no-quorum" | "stale";

/** Whether somebody may act. A question that could not be answered in time is a denial. */
export type Authorization =
  | {
      readonly allowed: true;
      readonly operator: Operator;
      /** So old is what it rests on, at most. */
      readonly ageMs: number;
    }
  | {
      readonly allowed: false;
      readonly reason: DenialReason;
      /** A sentence for people. */
      readonly why: string;
    };

const NAME_MAX = 200;
/** A sealed secret is a few keys and certificates; this is far more, and far below what a NATS server takes. */
const SEALED_MAX = 65_536;

const recordTime = z
  .string()
  .regex(/^\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}\.\d{3}Z$/, "must be a UTC time with milliseconds, RFC 3339")
  .refine((text) => !Number.isNaN(Date.parse(text)), "must be a time that there is");

/** One line that a terminal shows as it stands. */
const nameText = z
  .string()
  .max(NAME_MAX)
  .refine((text) => text.isWellFormed() && !/\p{Cc}|\p{Zl}|\p{Zp}/u.test(text), "must be one line of plain text");

const epochNumber = z.int().min(0).max(Number.MAX_SAFE_INTEGER);

/** The id of a pool. */
export const poolIdSchema = z
  .string()
  .regex(/^[a-z0-9][a-z0-9-]{0,62}$/, "must be lower-case letters, digits and dashes, at most 63");

/** The public identity of a box. */
export const endpointSchema = z.string().regex(/^x25519:[0-9a-f]{64}$/, "must be x25519: and 64 lower-case hex digits");

/** The normal form of an operator's id; `normalOperatorId` brings other spellings into it. */
export const operatorIdSchema = z
  .string()
  .regex(
    /^(?:ed25519:[0-9a-f]{64}|0x[0-9a-f]{40}|user:[0-9a-f]{64}|system)$/,
    "must be an ed25519 key, a wallet, a user id or system, in lower case",
  );

export const poolSchema: z.ZodType<Pool> = z.strictObject({
  id: poolIdSchema,
  name: nameText.min(1),
  encrypted: z.boolean(),
  owner: endpointSchema,
  epoch: epochNumber,
  createdAt: recordTime,
});

export const memberSchema: z.ZodType<Member> = z.strictObject({
  pool: poolIdSchema,
  endpoint: endpointSchema,
  name: nameText.min(1),
  role: z.enum(["owner", "member"]),
  joinedAt: recordTime,
  appliedEpoch: epochNumber,
});

export const sealedKeySchema: z.ZodType<SealedKey> = z.strictObject({
  pool: poolIdSchema,
  epoch: epochNumber.min(1),
  member: endpointSchema,
  sealed: z.base64().min(1).max(SEALED_MAX),
});

export const operatorSchema: z.ZodType<Operator> = z.strictObject({
  id: operatorIdSchema,
  role: z.enum(["admin", "operator"]),
  status: z.enum(["active", "revoked"]),
  name: nameText,
  createdAt: recordTime,
});

export const snapshotSchema: z.ZodType<MembershipSnapshot> = z.strictObject({
  format: z.literal(1),
  pools: z.array(poolSchema),
  members: z.array(memberSchema),
  sealedKeys: z.array(sealedKeySchema),
  operators: z.array(operatorSchema),
});
