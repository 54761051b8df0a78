import { isUserKnown } from "../billing/account-search.ts";
import { readAccount } from "../billing/account-view.ts";
import { adjustUser } from "../billing/adjustments.ts";
import { readCreditHistory } from "../billing/credit-history.ts";
import { chainsInUse, claimDeposit } from "../billing/claim.ts";
import { creditUsersTx } from "../billing/credits.ts";
import type { CreditRules } from "../billing/deposit-credit.ts";
import { parseUnits } from "../billing/money.ts";
import { policyOf } from "../billing/policy.ts";
import { runScan } from "../billing/scan.ts";
import { listSuspended, unsuspendUser } from "../billing/suspended.ts";
import { type Chain, chainsOf } from "../config/chain-settings.ts";
import type { LoadedConfig } from "../config/load.ts";
import { noteAudit } from "../identity/audit.ts";
import type { Identities } from "../identity/bearer.ts";
import type { DenyList } from "../identity/deny-list.ts";
import type { Keyring } from "../identity/keyring.ts";
import { readUserProfile } from "../identity/user-profile.ts";
import type { Clock } from "../kernel/clock.ts";
import { FulaError } from "../kernel/errors.ts";
import type { Log } from "../kernel/log.ts";
import type { Random } from "../kernel/random.ts";
import type { Delegates } from "../pinning/delegates.ts";
import type { Pool } from "../postgres/pool.ts";
import { withTransaction } from "../postgres/transaction.ts";
import { otherKeys } from "../stack/other-epochs.ts";
import type { AccessRules, RefusedOperator } from "./api-access.ts";
import { ApiError } from "./api-errors.ts";
import { type ApiListener, createApiListener } from "./api-listener.ts";
import type { ApiServices, PricedChain } from "./api-services.ts";
import { createLeaseService } from "./ingest-leases.ts";
import type { ControlPlaneHandle } from "./control-plane.ts";
import type { Metrics } from "./metrics.ts";
import { createWalletServices } from "./wallet-services.ts";
import { createCredentialServices } from "./credential-services.ts";
import { createDenialServices } from "./denial-services.ts";
import { createPinService } from "./pin-service.ts";

/** What the API of one master is made from. */
export interface ApiDeps {
  readonly pool: Pool;
  readonly identities: Identities;
  /** Says who may administrate. */
  readonly controlPlane: Pick<ControlPlaneHandle, "isAuthorized">;
  /** Read again at once when something was denied here. */
  readonly denials: Pick<DenyList, "refresh">;
  /** Signs session tokens. */
  readonly keyring: Pick<Keyring, "signing">;
  readonly metrics: Metrics;
  /** Where clients of the pinning service connect to. */
  readonly delegates: Delegates;
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
    ...createWalletServices(loaded, { pool, random, chains, rules: creditRules(loaded) }),
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
    leaseBlocks: createLeaseService(loaded, deps),
    pins: createPinService(loaded.config, deps),
    credentials: createCredentialServices(loaded, deps),
    denials: createDenialServices(deps),
  };
}

async function noteRefused(
  { pool, clock, log }: Pick<ApiDeps, "pool" | "clock" | "log">,
  { operator, route, reason }: RefusedOperator,
): Promise<void> {
  log.warn("http.operator_refused", { listener: "api", route, operator, reason });
  const entry = { actor: operator, action: "authorization.refuse", target: route.slice(0, 64), details: { reason } };
  await withTransaction(
    pool,
    async (client) => {
      await noteAudit(client, entry);
    },
    { clock },
  );
}

function accessRules({ secrets, config }: LoadedConfig, deps: ApiDeps): AccessRules {
  const { identities, controlPlane } = deps;
  return {
    identities,
    systemKeys: [...(secrets.systemKey === null ? [] : [secrets.systemKey]), ...otherKeys(secrets, "systemKey")],
    authorize: async (id) => await controlPlane.isAuthorized(id, "operator"),
    onRefused: async (refusal) => {
      await noteRefused(deps, refusal);
    },
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
