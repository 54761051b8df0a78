import { assertBillingMode } from "../billing/mode-guard.ts";
import { billingModeOf } from "../billing/billing-mode.ts";
import type { LoadedConfig } from "../config/load.ts";
import { FulaError, messageOf } from "../kernel/errors.ts";
import { silentLog } from "../kernel/log.ts";
import { type LeaseState, startLease } from "../lease/lease.ts";
import type { Fence } from "../postgres/fence.ts";
import type { BillingContext } from "./billing-ledger.ts";
import type { Ledger } from "./ledger.ts";

/** Where and for whom the lease is taken. */
export interface LeaseSeat {
  readonly context: BillingContext;
  readonly loaded: LoadedConfig;
  readonly connection: Ledger["connection"];
}

/** What a command under the lease is given. */
type Work<T> = (fence: Fence | null, signal: AbortSignal) => Promise<T>;

function heldBy({ holder, epoch }: LeaseState): FulaError {
  return new FulaError(
    "FULA_LEASE_HELD",
    `${holder ?? "Other software"} took the cron lease first, and bills. Nothing was done.`,
    {
      hint: "fula-master billing status says how far it is.",
      details: { holder, epoch: epoch?.toString() ?? null },
    },
  );
}

/**
 * Does something once as the holder of the cron lease, under the name of this box, and gives the lease back.
 * @throws FulaError FULA_LEASE_HELD where another one took it first, FULA_BILLING_MODE_MIXED, FULA_LEASE_POOLER, and what
 * `work` throws
 */
export async function underLease<T>({ context, loaded, connection }: LeaseSeat, work: Work<T>): Promise<T> {
  const { clock, random, signal } = context;
  const { node, billing } = loaded.config;
  const { promise, resolve, reject } = Promise.withResolvers<T>();
  const stop = (): void => {
    reject(signal.reason instanceof Error ? signal.reason : new Error(messageOf(signal.reason)));
  };
  signal.addEventListener("abort", stop, { once: true });
  let begun = false;
  await using _ = await startLease({
    connection,
    node: node.name,
    ttlMs: billing.leaseTtl,
    exclusive: billing.cronLeaderLease,
    clock,
    random,
    log: silentLog,
    onSession: async (client) => {
      await assertBillingMode(client, billingModeOf(billing.idempotency), node.name);
    },
    onChange: (state) => {
      if (!state.held && state.holder !== null) reject(heldBy(state));
    },
    whileHeld: async (fence, held) => {
      // The lease may be lost and taken again while the answer of the first time is on its way.
      if (begun) return;
      begun = true;
      await work(fence, AbortSignal.any([held, signal])).then(resolve, reject);
    },
  });
  try {
    return await promise;
  } finally {
    signal.removeEventListener("abort", stop);
  }
}
