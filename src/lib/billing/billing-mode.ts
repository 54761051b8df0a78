import { FulaError } from "../kernel/errors.ts";
import type { Pool } from "../postgres/pool.ts";
import { runQuery } from "../postgres/run-query.ts";

/** `keyed`: one fee an hour and account, whoever charges. `unkeyed`: one fee a run, as the older fleet with its flag off. */
export type BillingMode = "keyed" | "unkeyed";

/** How masters with this setting of BILLING_IDEMPOTENCY bill. */
export function billingModeOf(idempotency: boolean): BillingMode {
  return idempotency ? "keyed" : "unkeyed";
}

/**
 * Looks that the federation bills as wanted.
 * @throws FulaError FULA_BILLING_MODE_MIXED where it bills otherwise, or no master has served yet
 */
export async function findBillingMode(pool: Pool, wanted: BillingMode): Promise<void> {
  const { rows } = await runQuery<{ mode: BillingMode }>(pool, {
    name: "billing_mode_read",
    text: "select mode from billing_mode",
    values: [],
  });
  const mode = rows[0]?.mode;
  if (mode === wanted) return;
  if (mode === undefined) {
    throw new FulaError("FULA_BILLING_MODE_MIXED", "The ledger does not say yet how this federation bills.", {
      hint: `the first master that serves writes it down: fula-master serve, or fula-master billing mode ${wanted}.`,
    });
  }
  throw new FulaError("FULA_BILLING_MODE_MIXED", `The federation bills ${mode}, this master would bill ${wanted}.`, {
    hint: `set BILLING_IDEMPOTENCY=${mode === "keyed"} here, or with every master stopped: fula-master billing mode ${wanted}.`,
    details: { mode, wanted },
  });
}
