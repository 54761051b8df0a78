import { isUserKnown } from "../billing/account-search.ts";
import { readAccount } from "../billing/account-view.ts";
import { adjustUser } from "../billing/adjustments.ts";
import { readCreditHistory } from "../billing/credit-history.ts";
import { chainsInUse, claimDeposit } from "../billing/claim.ts";
import { creditUsersTx } from "../billing/credits.ts";
import { type CreditRules, creditWaitingDeposits } from "../billing/deposit-credit.ts";
import { parseUnits } from "../billing/money.ts";
import { policyOf } from "../billing/policy.ts";
import { runScan } from "../billing/scan.ts";
import { listSuspended, unsuspendUser } from "../billing/suspended.ts";
import { issueWalletChallenge } from "../billing/wallet-challenges.ts";
import { linkWallet, listWallets, unlinkWallet } from "../billing/wallets.ts";
import { type Chain, chainsOf } from "../config/chain-settings.ts";
import type { LoadedConfig } from "../config/load.ts";
import { jwtVerifier } from "../identity/bearer-jwt.ts";
import { serviceVerifier } from "../identity/bearer-service.ts";
import { isRevokedToken, sessionVerifier } from "../identity/bearer-session.ts";
import type { Verifier } from "../identity/bearer.ts";
import { createSecretSealer } from "../identity/sealed-secret.ts";
import { resolveUserId } from "../identity/user-id.ts";
import { readUserProfile } from "../identity/user-profile.ts";
import type { Clock } from "../kernel/clock.ts";
import { FulaError } from "../kernel/errors.ts";
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
  /** Asks the chains' endpoints. */
  readonly fetch: typeof globalThis.fetch;
}

const KEY_BYTES = 16;

function pricedChains(chains: readonly Chain[]): readonly PricedChain[] {
  return chains.flatMap(({ offBecause, chainId, name, token, vault }) =>
    offBecause === null && vault !== null ? [{ chainId, name, tokenAddress: token, vaultAddress: vault }] : [],
  );
}

function creditRules({ config }: LoadedConfig): CreditRules {
  return { credit: creditUsersTx, referralBonuses: config.billing.referralBonuses };
}

/** What a scan that was asked for may take; the client waits for it. */
const SCAN_TIMEOUT_MS = 50_000;

function chainServices(
  loaded: LoadedConfig,
  { pool, clock, log, fetch }: ApiDeps,
  chains: readonly Chain[],
  closing: AbortSignal,
): Pick<ApiServices, "claimDeposit" | "scan"> {
  const minUnits = parseUnits(loaded.config.billing.minDepositFula);
  const deps = { ...creditRules(loaded), pool, chains, minUnits, fetch, clock, log };
  return {
    claimDeposit: async (claim) => await claimDeposit({ ...deps, signal: closing }, claim),
    scan: async (wishes) => {
      chainsInUse(chains, wishes.chainId ?? null);
      const late = AbortSignal.timeout(SCAN_TIMEOUT_MS);
      try {
        // Without a lease: it races with whoever holds it, and each deposit is written and credited once all the same.
        return await runScan({ ...deps, fence: null, signal: AbortSignal.any([closing, late]) }, wishes);
      } catch (error) {
        if (!late.aborted) throw error;
        const details = "There is more to read than one request may take. What was read is kept; the scanner goes on.";
        throw new ApiError(503, "SCAN_UNFINISHED", details, { "retry-after": "60" });
      }
    },
  };
}

type WalletServices = Pick<ApiServices, "listWallets" | "issueChallenge" | "linkWallet" | "unlinkWallet">;

function walletServices(
  loaded: LoadedConfig,
  { pool, random }: ApiDeps,
  chains: readonly PricedChain[],
): WalletServices {
  const { domain } = loaded.config.api;
  const rules = creditRules(loaded);
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
      return await linkWallet(pool, claim, signed, {
        domain,
        sealer,
        random,
        creditWaiting: async (client, owner) => await creditWaitingDeposits(client, owner, rules),
      });
    },
    unlinkWallet: async (userId, address) => await unlinkWallet(pool, userId, address),
  };
}

/** Every address has an id, a mistyped one too. @throws FulaError FULA_ACCOUNT_UNKNOWN */
async function assertKnown(pool: Pool, userId: string): Promise<void> {
  if (await isUserKnown(pool, userId)) return;
  throw new FulaError("FULA_ACCOUNT_UNKNOWN", `This ledger knows no user ${userId}. Nothing was changed.`, {
    hint: "look at the spelling; a user is known once he has signed up, stored or paid.",
  });
}

function createServices(loaded: LoadedConfig, deps: ApiDeps, closing: AbortSignal): ApiServices {
  const { pool, random } = deps;
  const policy = policyOf(loaded.config.billing);
  const all = chainsOf(loaded.config);
  const chains = pricedChains(all);
  return {
    ...walletServices(loaded, deps, chains),
    ...chainServices(loaded, deps, all, closing),
    readAccount: async (userId) => await readAccount(pool, userId, policy),
    readUser: async (userId) => await readUserProfile(pool, userId),
    readHistory: async (userId, question) => await readCreditHistory(pool, userId, question),
    pricing: () => ({ freeTierBytes: policy.freeTierBytes, monthlyUnitsPerGib: policy.fulaPerGibMonth, chains }),
    adjust: async ({ create, ...adjustment }) => {
      if (!create) await assertKnown(pool, adjustment.userId);
      const key = adjustment.key ?? Buffer.from(random.bytes(KEY_BYTES)).toString("hex");
      return { ...(await adjustUser(pool, { ...adjustment, key })), key };
    },
    unsuspend: async (act) => {
      await assertKnown(pool, act.userId);
      return await unsuspendUser(pool, act);
    },
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
  const closing = new AbortController();
  return await createApiListener({
    services: createServices(loaded, deps, closing.signal),
    access: accessRules(loaded, deps),
    trustedProxies: loaded.config.api.trustedProxies,
    metrics,
    clock,
    log,
    onClose: () => {
      closing.abort();
    },
  });
}
