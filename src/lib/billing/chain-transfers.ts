import { z } from "zod";
import { createHash } from "node:crypto";

/** A token's move to the vault, as a log of the chain tells it. Addresses and hashes in lower case. */
export interface Transfer {
  readonly txHash: string;
  readonly blockNumber: bigint;
  readonly blockHash: string;
  /** The log's place in its block. */
  readonly logIndex: number;
  readonly from: string;
  readonly to: string;
  /** In what the token's contract counts in. */
  readonly raw: bigint;
  /** Seconds since 1970; null where the endpoint does not tell. */
  readonly timestamp: bigint | null;
}

/** Which transfers count: of this token, to this vault. In lower case. */
export interface TransferFilter {
  readonly token: string;
  readonly vault: string;
}

/** keccak256("Transfer(address,address,uint256)") */
const TRANSFER_TOPIC = "0xddf252ad1be2c89b69c2b068fc378daa952ba7f163c4a11628f55a4df523b3ef";

const hex = z.string().regex(/^0x[0-9a-fA-F]*$/);
/** A number as JSON-RPC writes it. */
// The ledger's columns hold no more than 63 bits.
export const quantity = hex
  .min(3)
  .max(18)
  .transform((text) => BigInt(text))
  .refine((value) => value < 2n ** 63n);
// Greater places are the ledger's own (deposit-rows.ts).
const place = quantity.refine((value) => value < 1_000_000_000n);
/** 32 bytes. */
export const hash = z
  .string()
  .regex(/^0x[0-9a-fA-F]{64}$/)
  .transform((text) => text.toLowerCase());
const contract = z
  .string()
  .regex(/^0x[0-9a-fA-F]{40}$/)
  .transform((text) => text.toLowerCase());

/** A log as `eth_getLogs` and receipts have it. */
export const LOG = z.object({
  address: contract,
  topics: z.array(hex).readonly(),
  data: hex,
  blockNumber: quantity,
  blockHash: hash,
  transactionHash: hash,
  logIndex: place,
  removed: z.boolean().optional(),
  blockTimestamp: quantity.optional(),
});
type Log = z.infer<typeof LOG>;

/** The topics that `eth_getLogs` is asked for. */
export function topicsOf({ vault }: TransferFilter): readonly (string | null)[] {
  return [TRANSFER_TOPIC, null, `0x${vault.slice(2).padStart(64, "0")}`];
}

/** The transfer that a log tells of; null where it is another token's, to somebody else, or no transfer at all. */
export function transferOf(log: Log, filter: TransferFilter): Transfer | null {
  const [topic = "", from = "", to = ""] = log.topics.map((text) => text.toLowerCase());
  const isOurs = log.address === filter.token && topic === TRANSFER_TOPIC && to === topicsOf(filter)[2];
  // An ERC-721 token has the same topic, and its number in a fourth one instead of in the data.
  if (!isOurs || log.topics.length !== 3 || from.length !== 66 || log.data.length !== 66) return null;
  return {
    txHash: log.transactionHash,
    blockNumber: log.blockNumber,
    blockHash: log.blockHash,
    logIndex: Number(log.logIndex),
    from: `0x${from.slice(26)}`,
    to: filter.vault,
    raw: BigInt(log.data),
    timestamp: log.blockTimestamp ?? null,
  };
}

/** Everything of transfers that endpoints must agree on, as one text; their order is no matter. */
export function digestOf(transfers: readonly Transfer[]): string {
  const lines = transfers
    .map(({ blockHash, txHash, logIndex, from, raw }) => `${blockHash} ${txHash} ${logIndex} ${from} ${raw}`)
    .toSorted();
  return createHash("sha256").update(lines.join("\n")).digest("hex");
}
