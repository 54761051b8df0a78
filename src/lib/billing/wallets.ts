import { FulaError, isFulaError } from "../kernel/errors.ts";
import type { Random } from "../kernel/random.ts";
import { Secret } from "../kernel/secret.ts";
import { sqlStateOf } from "../postgres/database-errors.ts";
import type { Pool } from "../postgres/pool.ts";
import { runQuery } from "../postgres/run-query.ts";
import { type TransactionClient, withTransaction } from "../postgres/transaction.ts";
import { formatUnits } from "./money.ts";
import { nonceOfMessage, useWalletChallenge, type WalletClaim } from "./wallet-challenges.ts";
import { type WalletAddress, walletHash } from "./wallet-message.ts";
import { claimBuckets, settleWallet, unsettleWallet } from "./wallet-settlement.ts";
import { assertSignedBy } from "./wallet-signature.ts";

/** Seals addresses for the database and opens them; `open` throws what it cannot open. */
export interface AddressSealer {
  seal(secret: Secret, context: string, random: Random): Uint8Array;
  open(sealed: Uint8Array, context: string): Secret;
}

/** One wallet of a user on one chain. */
export interface Wallet {
  /** Null where it was stored by other software, or under another ENCRYPTION_KEY. */
  readonly address: string | null;
  /** Hex SHA-256 of the address in lower case. */
  readonly addressHash: string;
  readonly chainId: number;
  readonly verified: boolean;
  /** RFC 3339, UTC. */
  readonly connectedAt: string;
}

/** Writes down what was done with a wallet, which is named by its hash. */
export type NoteWallet = (
  client: TransactionClient,
  act: {
    readonly action: "wallet.link" | "wallet.unlink";
    readonly walletHash: string;
    readonly details: Readonly<Record<string, string | number>>;
  },
) => Promise<void>;

/** What linking needs beside the claim. */
export interface WalletLinkDeps {
  readonly domain: string;
  readonly sealer: AddressSealer;
  readonly random: Random;
  /** Credits deposits that came from this wallet before it was linked, in the same transaction. */
  readonly creditWaiting: (
    client: TransactionClient,
    owner: { readonly userId: string; readonly walletHash: string },
  ) => Promise<unknown>;
  /** Owner of the wallet's buckets. */
  readonly ownerId: string;
  readonly note: NoteWallet;
}

// What stands before an address that we sealed; the fleet's own sealed texts have another form.
const SEALED_PREFIX = "fm1:";

/** Binds a sealed address to its user. */
export function walletContext(userId: string): string {
  return `wallet of user ${userId}`;
}

/** A sealed address as its column keeps it. */
export function walletText(sealed: Uint8Array): string {
  return `${SEALED_PREFIX}${Buffer.from(sealed).toString("base64url")}`;
}

/** What is sealed in the text of a column; null where other software wrote it. */
export function walletSealed(text: string): Uint8Array | null {
  return text.startsWith(SEALED_PREFIX) ? Buffer.from(text.slice(SEALED_PREFIX.length), "base64url") : null;
}

/** The constraint that a wallet which another user has verified runs into: `wallet_owners`, migration 026. */
function isTaken(error: unknown): boolean {
  return (
    sqlStateOf(error) === "23505" &&
    error instanceof Error &&
    "constraint" in error &&
    error.constraint === "wallet_owners_pkey"
  );
}

async function storeWallet(
  client: TransactionClient,
  { userId, address, chainId }: WalletClaim,
  { sealer, random }: Pick<WalletLinkDeps, "sealer" | "random">,
): Promise<Date> {
  const sealed = sealer.seal(new Secret(address), walletContext(userId), random);
  const { rows } = await client.query<{ connected_at: Date }>({
    name: "wallet_store",
    text: `
      insert into user_wallets
             (user_id, chain_id, wallet_address_hash, encrypted_wallet_address, is_verified, connected_at)
      values ($1, $2, $3, $4, 1, clock_timestamp())
          on conflict (user_id, wallet_address_hash, chain_id) do update
             set encrypted_wallet_address = excluded.encrypted_wallet_address,
                 is_verified = 1, connected_at = excluded.connected_at
      returning connected_at`,
    values: [userId, chainId, walletHash(address), walletText(sealed)],
  });
  const row = rows[0];
  if (row === undefined) throw new Error("The insert of a wallet returned no row");
  return row.connected_at;
}

/** Credits what waits for the wallet's owner, and hands over what the wallet's own account had until now. */
async function takeOver(
  client: TransactionClient,
  { userId, chainId }: WalletClaim,
  addressHash: string,
  {
    creditWaiting,
    ownerId,
    note,
  }: Omit<WalletLinkDeps, "creditWaiting"> & {
    readonly creditWaiting: WalletLinkDeps["creditWaiting"] | null;
  },
): Promise<void> {
  const link = { userId, walletHash: addressHash };
  await creditWaiting?.(client, link);
  const { buckets, pins, units } = await settleWallet(client, link);
  const claimed = await claimBuckets(client, ownerId, userId);
  const details = { userId, chainId, buckets: buckets + claimed, pins, balance: formatUnits(units) };
  await note(client, { action: "wallet.link", walletHash: addressHash, details });
}

/**
 * Links a wallet to the account of whoever signed the text that was given out for it; the address is stored sealed, what
 * had been deposited from it is credited, and what the wallet's own account stored and had goes over, all in one
 * transaction.
 * @throws FulaError FULA_WALLET_SIGNATURE, FULA_WALLET_CHALLENGE, FULA_WALLET_CHALLENGE_USED, FULA_WALLET_TAKEN; what
 *   `creditWaiting` throws
 */
export async function linkWallet(
  pool: Pool,
  claim: WalletClaim,
  signed: { readonly message: string; readonly signature: string },
  deps: WalletLinkDeps,
): Promise<Wallet> {
  const { address, chainId } = claim;
  const { message, signature } = signed;
  const nonce = nonceOfMessage(message, deps.domain);
  await assertSignedBy(message, signature, address);
  const addressHash = walletHash(address);
  const link = async (creditWaiting: WalletLinkDeps["creditWaiting"] | null): Promise<Wallet> =>
    await withTransaction(pool, async (client) => {
      await useWalletChallenge(client, claim, { message, nonce, domain: deps.domain });
      const connectedAt = await storeWallet(client, claim, deps);
      await takeOver(client, claim, addressHash, { ...deps, creditWaiting });
      return { address, addressHash, chainId, verified: true, connectedAt: connectedAt.toISOString() };
    });
  try {
    return await link(deps.creditWaiting).catch(async (error: unknown) => {
      // A deposit that the ledger does not take keeps nobody from his wallet: the scanner marks it and credits the others.
      if (isFulaError(error, "FULA_CREDIT_REFERENCE_TAKEN") || isFulaError(error, "FULA_AMOUNT_INVALID"))
        return await link(null);
      throw error;
    });
  } catch (error) {
    if (!isTaken(error)) throw error;
    throw new FulaError("FULA_WALLET_TAKEN", `The wallet ${address} belongs to another account.`, {
      hint: "unlink it there first; one wallet has one owner, on all chains.",
      cause: error,
    });
  }
}

function openAddress(text: string | null, userId: string, sealer: AddressSealer): string | null {
  const sealed = text === null ? null : walletSealed(text);
  if (sealed === null) return null;
  try {
    return sealer.open(sealed, walletContext(userId)).reveal();
  } catch {
    return null;
  }
}

/** The wallets of a user, newest first. */
export async function listWallets(pool: Pool, userId: string, sealer: AddressSealer): Promise<readonly Wallet[]> {
  const { rows } = await runQuery<{
    wallet_address: string | null;
    encrypted_wallet_address: string | null;
    wallet_address_hash: string;
    chain_id: number;
    is_verified: number;
    connected_at: Date;
  }>(pool, {
    name: "wallet_list",
    text: `
      select wallet_address, encrypted_wallet_address, wallet_address_hash, chain_id, is_verified,
             coalesce(connected_at, 'epoch') as connected_at
        from user_wallets
       where user_id = $1 and wallet_address_hash is not null
       order by connected_at desc, id desc`,
    values: [userId],
  });
  return rows.map((row) => ({
    address: row.wallet_address ?? openAddress(row.encrypted_wallet_address, userId, sealer),
    addressHash: row.wallet_address_hash,
    chainId: row.chain_id,
    verified: row.is_verified === 1,
    connectedAt: row.connected_at.toISOString(),
  }));
}

/** What unlinking needs beside the wallet. */
export interface WalletUnlinkDeps {
  /** Owner of the wallet's buckets. */
  readonly ownerId: string;
  readonly note: NoteWallet;
}

/**
 * Takes a wallet off an account, on every chain: its buckets are billed to its own account from now on, and deposits that
 * come from it later are that one's, or wait for whoever links it next.
 * @returns on how many chains it was linked
 * @throws FulaError FULA_WALLET_NOT_FOUND
 */
export async function unlinkWallet(
  pool: Pool,
  { userId, address }: { readonly userId: string; readonly address: WalletAddress },
  { ownerId, note }: WalletUnlinkDeps,
): Promise<number> {
  const link = { userId, walletHash: walletHash(address) };
  return await withTransaction(pool, async (client) => {
    const { rowCount } = await client.query({
      name: "wallet_unlink",
      text: "delete from user_wallets where user_id = $1 and wallet_address_hash = $2",
      values: [link.userId, link.walletHash],
    });
    if (rowCount === null || rowCount === 0) {
      throw new FulaError("FULA_WALLET_NOT_FOUND", `The wallet ${address} is not linked to this account.`, {
        hint: "look at the list of wallets.",
      });
    }
    const buckets = await unsettleWallet(client, link, ownerId);
    await note(client, { action: "wallet.unlink", walletHash: link.walletHash, details: { userId, buckets } });
    return rowCount;
  });
}
