import { creditWaitingDeposits, type CreditRules } from "../billing/deposit-credit.ts";
import { issueWalletChallenge } from "../billing/wallet-challenges.ts";
import { linkWallet, listWallets, type NoteWallet, unlinkWallet } from "../billing/wallets.ts";
import type { LoadedConfig } from "../config/load.ts";
import { noteAudit } from "../identity/audit.ts";
import type { Caller } from "../identity/bearer.ts";
import { ownAccountOf, ownerOfSubject, subjectText } from "../identity/subject.ts";
import type { Random } from "../kernel/random.ts";
import type { Pool } from "../postgres/pool.ts";
import { sealerOf } from "../stack/other-epochs.ts";
import { ApiError } from "./api-errors.ts";
import type { ApiServices, PricedChain } from "./api-services.ts";

/** What the wallets of accounts need. */
export interface WalletServicesDeps {
  readonly pool: Pool;
  readonly random: Random;
  /** Chains on which deposits are taken. */
  readonly chains: readonly PricedChain[];
  readonly rules: CreditRules;
}

type WalletServices = Pick<ApiServices, "listWallets" | "issueChallenge" | "linkWallet" | "unlinkWallet">;

/** Names wallets by their hash, as the table of wallets does: their addresses are sealed. */
function actorOf({ subject }: Caller): string {
  return subject.kind === "user" ? `user:${subject.userId}` : `wallet:${ownAccountOf(subject.wallet)}`;
}

function noteOf(caller: Caller): NoteWallet {
  return async (client, { action, walletHash: target, details }) => {
    await noteAudit(client, { actor: actorOf(caller), action, target, details });
  };
}

/** Who pays decides which wallets he pays for, so a wallet that signs for itself cannot say so. */
function requireAccount({ subject }: Caller): void {
  if (subject.kind === "user") return;
  throw new ApiError(
    403,
    "WALLET_CREDENTIAL",
    "A wallet is linked with a credential of the account, and a text that the wallet signs; not with a credential of the wallet.",
  );
}

function assertChain(chains: readonly PricedChain[], chainId: number): void {
  if (chains.some((chain) => chain.chainId === chainId)) return;
  const known = chains.map(({ name, chainId: id }) => `${id} (${name})`).join(", ");
  throw new ApiError(
    400,
    "CHAIN_NOT_SUPPORTED",
    `No deposits are taken on chain ${chainId}; ${known === "" ? "none is set up here" : `they are on ${known}`}.`,
  );
}

/** The wallets of accounts, as the API serves them. @throws FulaError FULA_ENCRYPTION_KEY_INVALID */
export function createWalletServices(loaded: LoadedConfig, deps: WalletServicesDeps): WalletServices {
  const { pool, random, chains, rules } = deps;
  const { domain } = loaded.config.api;
  const sealer = sealerOf(loaded.secrets, "wallet addresses");
  return {
    listWallets: async ({ subject, userId }) => {
      const wallets = await listWallets(pool, userId, sealer);
      // A wallet has no business with the other wallets of its account.
      return subject.kind === "user"
        ? wallets
        : wallets.filter(({ addressHash }) => addressHash === ownAccountOf(subject.wallet));
    },
    issueChallenge: async (caller, { address, chainId }) => {
      requireAccount(caller);
      assertChain(chains, chainId);
      return await issueWalletChallenge(pool, { userId: caller.userId, address, chainId }, { domain, random });
    },
    linkWallet: async (caller, { address, chainId }, signed) => {
      requireAccount(caller);
      assertChain(chains, chainId);
      return await linkWallet(pool, { userId: caller.userId, address, chainId }, signed, {
        domain,
        sealer,
        random,
        creditWaiting: async (client, owner) => await creditWaitingDeposits(client, owner, rules),
        ownerId: ownerOfSubject({ kind: "wallet", wallet: address.toLowerCase() }),
        note: noteOf(caller),
      });
    },
    unlinkWallet: async (caller, address) => {
      const wallet = { kind: "wallet", wallet: address.toLowerCase() } as const;
      // Nobody is kept in an account: a wallet may leave it by itself.
      if (subjectText(caller.subject) !== wallet.wallet) requireAccount(caller);
      const parts = { ownerId: ownerOfSubject(wallet), note: noteOf(caller) };
      return await unlinkWallet(pool, { userId: caller.userId, address }, parts);
    },
  };
}
