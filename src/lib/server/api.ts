import { readAccount } from "../billing/account-view.ts";
import { adjustUser } from "../billing/adjustments.ts";
import { readCreditHistory } from "../billing/credit-history.ts";
import { policyOf } from "../billing/policy.ts";
import { listSuspended, unsuspendUser } from "../billing/suspended.ts";
import { issueWalletChallenge } from "../billing/wallet-challenges.ts";
import { linkWallet, listWallets, unlinkWallet } from "../billing/wallets.ts";
import { chainsOf } from "../config/chain-settings.ts";
import type { LoadedConfig } from "../config/load.ts";
import { jwtVerifier } from "../identity/bearer-jwt.ts";
import { serviceVerifier } from "../identity/bearer-service.ts";
import { isRevokedToken, sessionVerifier } from "../identity/bearer-session.ts";
import type { Verifier } from "../identity/bearer.ts";
import { createSecretSealer } from "../identity/sealed-secret.ts";
import { resolveUserId } from "../identity/user-id.ts";
import { readUserProfile } from "../identity/user-profile.ts";
import type { Clock } from "../kernel/clock.ts";
import type { Log } from "../kernel/log.ts";
import type { Random } from "../kernel/random.ts";
import type { Pool } from "../postgres/pool.ts";
import type { AccessRules } from "./api-access.ts";
import { ApiError } from "./api-errors.ts";
import { type ApiListener, createApiListener } from "./api-listener.ts";
import type { ApiServices, PricedChain } from "./api-services.ts";
import type { Metrics } from "./metrics.ts";

/** What the API of one master is made from. */
export interface ApiDeps {
  readonly pool: Pool;
  readonly metrics: Metrics;
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Log;
}

const KEY_BYTES = 16;

function noChain(): ApiError {
  return new ApiError(409, "CHAIN_NOT_SUPPORTED", "No deposits are taken: no chain is set up on this master.");
}

function openChains({ config }: LoadedConfig): readonly PricedChain[] {
  return chainsOf(config).flatMap(({ offBecause, chainId, name, token, vault }) =>
    offBecause === null && vault !== null ? [{ chainId, name, tokenAddress: token, vaultAddress: vault }] : [],
  );
}

type WalletServices = Pick<ApiServices, "listWallets" | "issueChallenge" | "linkWallet" | "unlinkWallet">;

function walletServices(
  loaded: LoadedConfig,
  { pool, random }: ApiDeps,
  chains: readonly PricedChain[],
): WalletServices {
  const { domain } = loaded.config.api;
  const sealer = createSecretSealer(loaded.secrets.encryptionKey, "wallet addresses");
  const assertChain = (chainId: number): void => {
    if (chains.some((chain) => chain.chainId === chainId)) return;
    const known = chains.map(({ name, chainId: id }) => `${id} (${name})`).join(", ");
    throw new ApiError(
      400,
      "CHAIN_NOT_SUPPORTED",
      `No deposits are taken on chain ${chainId}; ${known === "" ? "none is set up here" : `they are on ${known}`}.`,
    );
  };
  return {
    listWallets: async (userId) => await listWallets(pool, userId, sealer),
    issueChallenge: async (claim) => {
      assertChain(claim.chainId);
      return await issueWalletChallenge(pool, claim, { domain, random });
    },
    linkWallet: async (claim, signed) => {
      assertChain(claim.chainId);
      return await linkWallet(pool, claim, signed, { domain, sealer, random, creditWaiting: async () => {} });
    },
    unlinkWallet: async (userId, address) => await unlinkWallet(pool, userId, address),
  };
}

function createServices(loaded: LoadedConfig, deps: ApiDeps): ApiServices {
  const { pool, random } = deps;
  const policy = policyOf(loaded.config.billing);
  const chains = openChains(loaded);
  return {
    ...walletServices(loaded, deps, chains),
    readAccount: async (userId) => await readAccount(pool, userId, policy),
    readUser: async (userId) => await readUserProfile(pool, userId),
    readHistory: async (userId, question) => await readCreditHistory(pool, userId, question),
    pricing: () => ({ freeTierBytes: policy.freeTierBytes, monthlyUnitsPerGib: policy.fulaPerGibMonth, chains }),
    adjust: async (adjustment) => {
      const key = adjustment.key ?? Buffer.from(random.bytes(KEY_BYTES)).toString("hex");
      return { ...(await adjustUser(pool, { ...adjustment, key })), key };
    },
    claimDeposit: async () => {
      await Promise.resolve();
      throw noChain();
    },
    scan: async () => {
      await Promise.resolve();
      throw noChain();
    },
    unsuspend: async (act) => await unsuspendUser(pool, act),
    listSuspended: async (limit) => await listSuspended(pool, limit),
  };
}

function accessRules(loaded: LoadedConfig, { pool, clock }: ApiDeps): AccessRules {
  const { secrets, config } = loaded;
  const { jwtSecret, systemKey, pinServiceSecret } = secrets;
  const isRevoked = async (token: string): Promise<boolean> => await isRevokedToken(pool, token);
  const verifiers: readonly Verifier[] = [
    sessionVerifier(pool),
    ...(jwtSecret === null ? [] : [jwtVerifier({ secret: jwtSecret, clock, isRevoked })]),
    serviceVerifier(pinServiceSecret, clock),
  ];
  return {
    verifiers,
    systemKey,
    admins: new Set(config.api.admins.map(resolveUserId)),
    requestsPerMinute: config.api.requestsPerMinute,
  };
}

/**
 * Puts this master's API together; it listens where the caller says.
 * @throws FulaError FULA_ENCRYPTION_KEY_INVALID
 */
export async function openApi(loaded: LoadedConfig, deps: ApiDeps): Promise<ApiListener> {
  const { metrics, clock, log } = deps;
  return await createApiListener({
    services: createServices(loaded, deps),
    access: accessRules(loaded, deps),
    trustedProxies: loaded.config.api.trustedProxies,
    metrics,
    clock,
    log,
  });
}
