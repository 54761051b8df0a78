import { createHash } from "node:crypto";
import { createSiweMessage, parseSiweMessage } from "viem/siwe";
import { getAddress, isAddress } from "viem/utils";
import { FulaError } from "../kernel/errors.ts";

/** An address in its one spelling with a checksum (EIP-55). */
export type WalletAddress = `0x${string}`;

/** What a user is asked to sign. Times are milliseconds since the Unix epoch, UTC, of the database's clock. */
export interface WalletMessage {
  /** The site that asks, as the wallet shows it: `cloud.example.org`. */
  readonly domain: string;
  /** 64 hex digits. */
  readonly userId: string;
  readonly address: WalletAddress;
  readonly chainId: number;
  readonly nonce: string;
  readonly issuedAtMs: number;
  readonly expiresAtMs: number;
}

/** Reads an address in any case; one in mixed case must have a right checksum. @throws FulaError FULA_WALLET_ADDRESS */
export function parseWalletAddress(text: string): WalletAddress {
  const hex = text.replace(/^0X/, "0x");
  const isOneCase = hex === hex.toLowerCase() || hex.slice(2) === hex.slice(2).toUpperCase();
  if (isAddress(hex, { strict: !isOneCase })) return getAddress(hex);
  const what = isAddress(hex, { strict: false }) ? "has a wrong checksum" : "is not 0x and 40 hex digits";
  throw new FulaError("FULA_WALLET_ADDRESS", `The wallet address "${text.slice(0, 64)}" ${what}.`, {
    hint: "copy the address from the wallet again.",
  });
}

/** The fleet's hash of an address, under which owners of wallets are found: hex SHA-256 of it in lower case. */
export function walletHash(address: WalletAddress): string {
  return createHash("sha256").update(address.toLowerCase(), "utf8").digest("hex");
}

/** The text that is signed (EIP-4361). The same facts always give the same text. */
export function renderWalletMessage(message: WalletMessage): string {
  const { domain, userId, address, chainId, nonce, issuedAtMs, expiresAtMs } = message;
  return createSiweMessage({
    domain,
    address,
    statement: `Link this wallet to the Fula account ${userId}. This costs nothing and moves nothing.`,
    uri: `https://${domain}`,
    version: "1",
    chainId,
    nonce,
    issuedAt: new Date(issuedAtMs),
    expirationTime: new Date(expiresAtMs),
  });
}

/** The domain and the nonce of a text that was signed; null where it is none of ours by its form. */
export function readWalletMessage(text: string): { readonly domain: string; readonly nonce: string } | null {
  const { domain, nonce } = parseSiweMessage(text);
  return domain === undefined || nonce === undefined ? null : { domain, nonce };
}
