import type { Config } from "../../config/schema.ts";
import { FulaError } from "../../kernel/errors.ts";

/** How masters save buckets: by compare-and-swap, alone and without it, or through gateways of the existing fleet. */
export const SAVING_MODES = ["cas", "single", "fleet"] as const;

/** One of them, as in `bucket_mode`. */
export type SavingMode = (typeof SAVING_MODES)[number];

/** How a master with these settings saves buckets. */
export function savingModeOf({ gateway, buckets }: Pick<Config, "gateway" | "buckets">): SavingMode {
  if (gateway.mode === "container") return "fleet";
  return buckets.cas ? "cas" : "single";
}

/**
 * Looks that the masters of this ledger save buckets as wanted.
 * @param mode as in `bucket_mode`; null where no master has served yet
 * @throws FulaError FULA_BUCKET_MODE
 */
export function assertSavedBy(mode: string | null, wanted: SavingMode): void {
  if (mode === wanted) return;
  const present = mode === null ? "in no mode yet" : `in mode ${mode}`;
  throw new FulaError(
    "FULA_BUCKET_MODE",
    `Nothing was saved: buckets of this ledger are saved ${present}, this master would save them in mode ${wanted}.`,
    {
      hint: "fula-master buckets mode shows who serves in which mode; a master that is alone writes its own down.",
      details: { mode, wanted },
    },
  );
}
