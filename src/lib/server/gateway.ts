import { readAccount } from "../billing/account-view.ts";
import { billingSwitch } from "../billing/billing-switch.ts";
import { policyOf } from "../billing/policy.ts";
import type { BlockStore } from "../blocks/block-store.ts";
import type { Buckets } from "../buckets/buckets.ts";
import type { Config } from "../config/schema.ts";
import { createGateway, type Gateway } from "../gateway/gateway.ts";
import type { Capabilities } from "../gateway/capabilities.ts";
import type { Leases } from "../gateway/possession.ts";
import { createRateLimits } from "../gateway/rate-limits.ts";
import { createTrustlessGateway } from "../gateway/trustless/answer-content.ts";
import { createIsBlocked } from "../gateway/trustless/blocked-cids.ts";
import { type Allowance, createQuota, NO_QUOTA, type Quota } from "../gateway/quota.ts";
import type { Identities } from "../identity/bearer.ts";
import { rememberIdentities } from "../identity/remembered-identities.ts";
import type { FoundKey } from "../identity/key-cache.ts";
import { findLease, leasedBytes, releaseLease } from "../ingest/lease-table.ts";
import type { Clock } from "../kernel/clock.ts";
import { messageOf } from "../kernel/errors.ts";
import type { Log } from "../kernel/log.ts";
import type { Random } from "../kernel/random.ts";
import type { Pool } from "../postgres/pool.ts";
import { walletTokenRules } from "./wallet-tokens.ts";

/** What a serving master's gateway stands on. */
export interface GatewayDeps {
  readonly pool: Pool;
  readonly findKey: (keyId: string) => Promise<FoundKey | null>;
  readonly buckets: Buckets;
  readonly blocks: BlockStore;
  readonly identities: Identities;
  /** Called for each request whose sender was found out by a key. */
  readonly onKeyUsed: (keyId: string) => void;
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Log;
}

/** Asks accounts where bytes cost something; nobody where they do not. */
function quotaOf(config: Config, { pool, clock, log }: GatewayDeps): Quota {
  const mode = config.gateway.quota;
  if (mode === "off" || !billingSwitch(config.billing).isOn) return NO_QUOTA;
  const policy = policyOf(config.billing);
  const readAllowance = async (userId: string): Promise<Allowance> => {
    const { canUpload, availableBytes, storedBytes } = await readAccount(pool, userId, policy);
    if (availableBytes === null) return { mayStore: canUpload, leftBytes: null };
    // What storage nodes took and no object refers to yet is stored all the same.
    const leftBytes = availableBytes - storedBytes - (await leasedBytes(pool, userId));
    return { mayStore: canUpload, leftBytes };
  };
  return createQuota({ readAllowance, mode, clock, log });
}

function capabilitiesOf(config: Config): Capabilities {
  const { remoteCidPut, trustless } = config.gateway;
  const { versions, audiences, chainIds } = walletTokenRules(config);
  return {
    remoteCidPut,
    eip712Auth: versions.has(1),
    eip712: { versions: [...versions], audiences: [...audiences], chainIds: [...chainIds] },
    trustless,
  };
}

function leasesOf({ pool, log }: GatewayDeps): Leases {
  return {
    find: async (userId, cid) => await findLease(pool, userId, cid.toString()),
    release: async (userId, cid) => {
      try {
        await releaseLease(pool, userId, cid.toString());
      } catch (error) {
        // The object is there. Until the lease ends its bytes count twice.
        log.warn("gateway.lease.not_released", { message: messageOf(error) });
      }
    },
  };
}

/** Puts the gateway of a serving master together. */
export function openGateway(config: Config, deps: GatewayDeps): Gateway {
  const { pool, findKey, buckets, blocks, identities, onKeyUsed, clock, random } = deps;
  const { region, maxObjectBytes, etag, trustless, corsOrigins, rateLimitRps, rateLimitBurst } = config.gateway;
  return createGateway({
    buckets,
    blocks,
    quota: quotaOf(config, deps),
    multipart: {
      pool,
      random,
      openMax: config.gateway.multipartUploads,
      partBytesMin: config.gateway.multipartMinPart,
    },
    findKey,
    identities: rememberIdentities(identities, clock),
    onKeyUsed,
    staleMaxMs: config.buckets.staleReads,
    jwtAccessKeys: config.gateway.jwtAccessKeys,
    region,
    maxObjectBytes,
    etag,
    leases: leasesOf(deps),
    capabilities: capabilitiesOf(config),
    trustless: trustless ? createTrustlessGateway({ blocks, isBlocked: createIsBlocked(pool, clock) }) : null,
    rateLimits: createRateLimits({ perSecond: rateLimitRps, burst: rateLimitBurst }, clock),
    casExhausted: config.buckets.casExhausted,
    corsOrigins,
    clock,
    random,
  });
}
