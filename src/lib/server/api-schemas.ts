import { z } from "zod";
import { formatUnits } from "../billing/money.ts";

const errorSchema = z
  .object({
    error: z.object({
      reason: z
        .string()
        .regex(/^[A-Z0-9_]+$/)
        .meta({ description: "For programs." }),
      details: z.string().meta({ description: "For people." }),
    }),
  })
  // With an id it stands in the document once, and every route points to it.
  .meta({ id: "Error", description: "Why the request was refused, or could not be answered." });

/** The error statuses that any route has, with those of its own. */
export function errorResponses(...own: readonly number[]): Record<number, typeof errorSchema> {
  const statuses = [400, 413, 415, 429, 500, 503, ...own];
  return Object.fromEntries(statuses.map((status) => [status, errorSchema]));
}

const decimal = z
  .string()
  .regex(/^-?\d+(\.\d+)?$/)
  .meta({ description: "The exact decimal number of FULA." });
const amount = z.number().meta({ description: "FULA as a JSON number, which is not exact." });
const bytes = z.int().min(0);
/** What a balance pays for may be more than a JSON number counts exactly. */
const manyBytes = z.number().min(0);
/** RFC 3339, UTC. */
export const time = z.iso.datetime();
const userId = z.string().regex(/^[0-9a-f]{64}$/);
const txHash = z.string().regex(/^0x[0-9a-fA-F]{64}$/);
const chainId = z.int().min(1).max(2_147_483_647);
/** One line: what is stored is shown in terminals, and PostgreSQL takes no NUL. */
export const note = z
  .string()
  .trim()
  .min(1)
  .max(500)
  .regex(/^\P{Cc}*$/u, "must be one line of text");

/** Money as the API tells it: the fleet's JSON number, and the exact text beside it. */
export function moneyOf(units: bigint): { readonly number: number; readonly text: string } {
  const text = formatUnits(units);
  return { number: Number(text), text };
}

/** A whole number of the ledger or of a chain as JSON has it. */
export function numberOrNull(value: bigint | null): number | null {
  return value === null ? null : Number(value);
}

export const storageSchema = z.object({
  currentStorageBytes: bytes,
  freeTierBytes: bytes,
  paidStorageBytes: manyBytes.nullable().meta({ description: "Null where storage costs nothing." }),
  totalAvailableBytes: manyBytes.nullable(),
  balanceFula: amount,
  monthlyBurnRate: amount,
  isConsuming: z.boolean(),
  canUpload: z.boolean(),
  isSuspended: z.boolean(),
  balance: decimal,
  monthlyBurn: decimal,
});

export const creditsSchema = z.object({
  email: z.string().nullable(),
  balanceFula: amount,
  totalDeposited: amount,
  totalDeducted: amount,
  totalBonusReceived: amount,
  isSuspended: z.boolean(),
  currentStorageBytes: bytes,
  freeTierBytes: bytes,
  canUpload: z.boolean(),
  message: z.string(),
  balance: decimal,
});

export const historySchema = z.object({
  history: z.array(
    z.object({
      id: z.int(),
      txType: z.string().nullable(),
      amountFula: amount,
      balanceAfter: amount,
      referenceId: z.string().nullable(),
      createdAt: time.nullable(),
      usageBytes: bytes.nullable(),
      amount: decimal,
      balance: decimal,
    }),
  ),
  page: z.int(),
  limit: z.int(),
  total: z.int(),
  nextCursor: z.string().nullable(),
});

/** `limit` above 100 is taken as 100, as the fleet does. */
export const historyQuerySchema = z.object({
  page: z.coerce.number().int().min(1).max(1_000_000).default(1),
  limit: z.coerce.number().int().min(1).max(1_000_000).default(50),
  cursor: z.string().max(64).optional(),
});

export const userSchema = z.object({
  userId,
  email: z.string().nullable(),
  name: z.string().nullable(),
  picture: z.string().nullable(),
  company: z.string().nullable(),
  createdAt: time.nullable(),
  isAdmin: z.boolean(),
});

export const pricingSchema = z.object({
  freeTierBytes: bytes,
  fulaPerGbMonth: z.number(),
  hoursPerMonth: z.int(),
  bytesPerGb: z.int(),
  price: decimal,
  chains: z.array(z.object({ chainId, name: z.string(), tokenAddress: z.string(), vaultAddress: z.string() })),
});

export const claimSchema = z.object({ txHash, chainId: chainId.optional() });
export const claimedSchema = z.object({
  success: z
    .boolean()
    .meta({ description: "False with 202: recorded, and credited by itself when it is deep enough." }),
  chainId,
  txHash,
  amountFula: amount,
  amount: decimal,
  confirmations: z.int(),
  confirmationsNeeded: z.int(),
  deposits: z.array(z.object({ logIndex: z.int(), amountFula: amount, amount: decimal, state: z.string() })),
});

export const walletSchema = z.object({
  address: z.string().nullable().meta({ description: "Null where it was sealed by other software." }),
  addressHash: z.string(),
  chainId,
  isVerified: z.boolean(),
  connectedAt: time,
});
export const walletsSchema = z.object({ wallets: z.array(walletSchema) });
export const challengeBodySchema = z.object({ address: z.string().max(64), chainId });
export const challengeSchema = z.object({
  message: z.string(),
  nonce: z.string(),
  issuedAt: time,
  expiresAt: time,
});
export const linkBodySchema = z
  .object({
    address: z.string().max(64).optional(),
    walletAddress: z.string().max(64).optional(),
    chainId,
    message: z.string().max(4_096),
    signature: z.string().max(1_024),
  })
  .refine((body) => body.address !== undefined || body.walletAddress !== undefined, "address is missing");
export const linkedSchema = z.object({ success: z.literal(true), wallet: walletSchema });
export const addressParamsSchema = z.object({ address: z.string().max(64) });
export const unlinkedSchema = z.object({ success: z.literal(true), removed: z.int() });

const who = z.string().min(1).max(320).meta({ description: "An e-mail address or a user id." });
export const adjustBodySchema = z.strictObject({
  user: who,
  amount: z
    .union([z.number(), z.string().max(64)])
    .meta({ description: "FULA; text for an exact one. Below zero takes." }),
  reason: note,
  key: z
    .string()
    .regex(/^[\w.:-]{1,100}$/)
    .optional()
    .meta({ description: "The same key again changes nothing." }),
  create: z
    .boolean()
    .default(false)
    .meta({ description: "True makes an account for a user whom the ledger does not know." }),
});
export const adjustedSchema = z.object({
  success: z.literal(true),
  userId,
  entryId: z.int(),
  key: z.string(),
  applied: z.boolean(),
  balanceFula: amount,
  balance: decimal,
});
export const unsuspendBodySchema = z.strictObject({ user: who, reason: note });
export const unsuspendedSchema = z.object({ success: z.literal(true), userId, changed: z.boolean() });
export const suspendedQuerySchema = z.object({
  limit: z.coerce.number().int().min(1).max(1_000).default(100),
});
export const suspendedSchema = z.object({
  users: z.array(
    z.object({
      userId,
      balanceFula: amount,
      balance: decimal,
      currentStorageBytes: bytes,
      suspendedAt: time.nullable(),
    }),
  ),
  total: z.int(),
});
export const scanBodySchema = z
  .object({
    chainId: chainId.optional(),
    blocks: z
      .array(z.int().min(0))
      .max(10_000)
      .optional()
      .meta({ description: "Blocks that are to be read again, from the lowest to the highest; needs chainId." }),
  })
  .refine(({ chainId: chain, blocks }) => blocks === undefined || chain !== undefined, "blocks needs chainId");
export const scannedSchema = z.object({
  chains: z.array(
    z.object({
      chainId,
      name: z.string(),
      state: z.string(),
      head: z.int().nullable(),
      scannedBlock: z.int().nullable(),
      found: z.int(),
      credited: z.int(),
      creditedFula: decimal,
      problem: z.string().nullable(),
    }),
  ),
});
