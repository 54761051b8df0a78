import { readAccount } from "../billing/account-view.ts";
import { billingSwitch } from "../billing/billing-switch.ts";
import { policyOf } from "../billing/policy.ts";
import type { LoadedConfig } from "../config/load.ts";
import { parseAuthorization } from "../identity/bearer.ts";
import { type LeaseQuestion, provesNode } from "../ingest/lease-proof.ts";
import { pruneLeases, takeLeases } from "../ingest/lease-table.ts";
import type { Clock } from "../kernel/clock.ts";
import { messageOf } from "../kernel/errors.ts";
import type { Log } from "../kernel/log.ts";
import type { Pool } from "../postgres/pool.ts";
import { ApiError } from "./api-errors.ts";
import { repeat } from "./repeat.ts";

/** What a storage node asks about one caller. */
export interface LeaseRequest {
  /** The caller's account. */
  readonly userId: string;
  readonly question: LeaseQuestion;
  /** The caller's `Authorization`, to which the node's proof is bound. */
  readonly authorization: string;
  /** The node's proof; empty where there is none. */
  readonly proof: string;
}

/** What the node is told. */
export interface LeaseAnswer {
  readonly userId: string;
  readonly leftBytes: bigint | null;
  readonly leasedUntil: Date | null;
}

/** What leasing needs. */
export interface LeaseDeps {
  readonly pool: Pool;
  readonly clock: Clock;
}

/** Null = without end, as where storage costs nothing. @throws ApiError where the account may not store at all */
async function roomOf(loaded: LoadedConfig, pool: Pool, userId: string): Promise<bigint | null> {
  const { billing, gateway } = loaded.config;
  if (gateway.quota === "off" || !billingSwitch(billing).isOn) return null;
  const account = await readAccount(pool, userId, policyOf(billing));
  if (!account.canUpload) throw accountProblem();
  return account.availableBytes === null ? null : account.availableBytes - account.storedBytes;
}

function accountProblem(): ApiError {
  const details = "The account has no room for this: it is suspended, or its storage is used up.";
  return new ApiError(402, "ACCOUNT_PROBLEM", details);
}

function assertNode({ secrets }: LoadedConfig, { question, authorization, proof }: LeaseRequest, nowMs: number): void {
  // To ask whether he may store is everybody's own right.
  if (question.blocks.length === 0) return;
  const bearer = parseAuthorization(authorization) ?? "";
  const { clusterSecret } = secrets;
  if (clusterSecret !== null && provesNode(proof, clusterSecret, { bearer, question, nowMs })) return;
  throw new ApiError(
    403,
    "NODE_NOT_PROVED",
    "Only a storage node of this federation takes leases: the proof of X-Fula-Ingest-Node is missing, wrong or too old.",
  );
}

/** Answers storage nodes about those who send them blocks. */
export function createLeaseService(
  loaded: LoadedConfig,
  { pool, clock }: LeaseDeps,
): (request: LeaseRequest) => Promise<LeaseAnswer> {
  const leaseMs = loaded.config.ingest.leaseTime;
  return async (request) => {
    assertNode(loaded, request, clock.nowMs());
    const { userId, question } = request;
    const roomBytes = await roomOf(loaded, pool, userId);
    const outcome = await takeLeases(pool, { userId, ...question, leaseMs, roomBytes });
    if (outcome.state === "refused") throw accountProblem();
    return { userId, leftBytes: outcome.leftBytes, leasedUntil: outcome.leasedUntil };
  };
}

const PRUNE_INTERVAL_MS = 60_000;
const PRUNE_BATCH = 1_000;

/** Deletes leases that are over, now and every minute until it is disposed of. */
export function keepLeasesPruned({ pool, clock, log }: LeaseDeps & { readonly log: Log }): AsyncDisposable {
  return repeat({ intervalMs: PRUNE_INTERVAL_MS, clock }, async () => {
    try {
      while ((await pruneLeases(pool, PRUNE_BATCH)) === PRUNE_BATCH);
    } catch (error) {
      log.warn("ingest.leases_not_pruned", { message: messageOf(error) });
    }
  });
}
