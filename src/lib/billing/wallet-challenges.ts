import { createHash } from "node:crypto";
import { FulaError } from "../kernel/errors.ts";
import type { Random } from "../kernel/random.ts";
import type { Pool } from "../postgres/pool.ts";
import { runQuery } from "../postgres/run-query.ts";
import type { TransactionClient } from "../postgres/transaction.ts";
import { readWalletMessage, renderWalletMessage, type WalletAddress, walletHash } from "./wallet-message.ts";

/** Which user wants to link which wallet. */
export interface WalletClaim {
  /** 64 hex digits. */
  readonly userId: string;
  readonly address: WalletAddress;
  readonly chainId: number;
}

/** A text to be signed. Times are RFC 3339, UTC. */
export interface WalletChallenge {
  readonly message: string;
  readonly nonce: string;
  readonly issuedAt: string;
  readonly expiresAt: string;
}

/** 128 bits, which nobody guesses within ten minutes. */
const NONCE_BYTES = 16;

function nonceHash(nonce: string): string {
  return createHash("sha256").update(nonce, "utf8").digest("hex");
}

/**
 * Makes the text that a user is to sign with a wallet, good for ten minutes by the database's clock. Old ones of whomever
 * are swept away on the way, a few at a time.
 */
export async function issueWalletChallenge(
  pool: Pool,
  claim: WalletClaim,
  deps: { readonly domain: string; readonly random: Random },
): Promise<WalletChallenge> {
  const nonce = Buffer.from(deps.random.bytes(NONCE_BYTES)).toString("hex");
  const { rows } = await runQuery<{ issued_at: Date; expires_at: Date }>(pool, {
    name: "wallet_challenge_issue",
    text: `
      with swept as (
        delete from wallet_challenges
         where nonce_hash in (
           select nonce_hash from wallet_challenges
            where expires_at < clock_timestamp() - interval '1 day'
            order by expires_at limit 100 for update skip locked)
      ), issued as (select date_trunc('milliseconds', clock_timestamp()) as at)
      insert into wallet_challenges (nonce_hash, user_id, wallet_address_hash, chain_id, issued_at, expires_at)
      select $1, $2, $3, $4, at, at + interval '10 minutes' from issued
      returning issued_at, expires_at`,
    values: [nonceHash(nonce), claim.userId, walletHash(claim.address), claim.chainId],
  });
  const row = rows[0];
  if (row === undefined) throw new Error("The insert of a wallet challenge returned no row");
  return {
    message: messageOf(claim, nonce, row, deps.domain),
    nonce,
    issuedAt: row.issued_at.toISOString(),
    expiresAt: row.expires_at.toISOString(),
  };
}

function messageOf(
  claim: WalletClaim,
  nonce: string,
  times: { readonly issued_at: Date; readonly expires_at: Date },
  domain: string,
): string {
  const issuedAtMs = times.issued_at.getTime();
  return renderWalletMessage({ ...claim, domain, nonce, issuedAtMs, expiresAtMs: times.expires_at.getTime() });
}

/**
 * Reads the nonce of a signed text and looks whether it is for this site at all.
 * @throws FulaError FULA_WALLET_CHALLENGE
 */
export function nonceOfMessage(message: string, domain: string): string {
  const parts = readWalletMessage(message);
  if (parts === null) throw refuse("the text that was signed is none that was given out here");
  if (parts.domain !== domain) {
    throw refuse(`the text that was signed is for ${parts.domain.slice(0, 255)}, and this is ${domain}`);
  }
  return parts.nonce;
}

function refuse(why: string): FulaError {
  return new FulaError("FULA_WALLET_CHALLENGE", `The wallet cannot be linked: ${why}.`, {
    hint: "ask for a new text, and sign it as it is.",
  });
}

/**
 * Uses the challenge up whose text was signed, in the caller's transaction; of two at once the second waits and is refused.
 * @throws FulaError FULA_WALLET_CHALLENGE where it is not this user's, not for this wallet or chain, changed or too old;
 *   FULA_WALLET_CHALLENGE_USED
 */
export async function useWalletChallenge(
  client: TransactionClient,
  claim: WalletClaim,
  signed: { readonly message: string; readonly nonce: string; readonly domain: string },
): Promise<void> {
  const { rows } = await client.query<{ issued_at: Date; expires_at: Date; spent: boolean; in_time: boolean }>({
    name: "wallet_challenge_use",
    // `for update` first: the row is then read as whoever was faster left it.
    text: `
      with held as (
        select nonce_hash, used_at from wallet_challenges
         where nonce_hash = $1 and user_id = $2 and wallet_address_hash = $3 and chain_id = $4
           for update
      )
      update wallet_challenges c set used_at = coalesce(held.used_at, clock_timestamp())
        from held
       where c.nonce_hash = held.nonce_hash
      returning c.issued_at, c.expires_at, held.used_at is not null as spent, c.expires_at > clock_timestamp() as in_time`,
    values: [nonceHash(signed.nonce), claim.userId, walletHash(claim.address), claim.chainId],
  });
  const row = rows[0];
  if (row === undefined) throw refuse("the text that was signed was not given out for this user, wallet and chain");
  if (row.spent) {
    throw new FulaError("FULA_WALLET_CHALLENGE_USED", "The text that was signed has linked a wallet already.", {
      hint: "look at the list of wallets; to link another one ask for a new text.",
    });
  }
  if (!row.in_time) throw refuse(`the text that was signed was good until ${row.expires_at.toISOString()}`);
  if (messageOf(claim, signed.nonce, row, signed.domain) !== signed.message) throw refuse("the text was changed");
}
