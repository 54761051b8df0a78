import { BASE_RPC_URL_SETTING } from "./chain-settings.ts";
import { bytes, decimal, duration, flag, integer, oneOf, optionalText } from "./setting.ts";

/** What users pay, and how it is charged. */
export const BILLING_SETTINGS = {
  enabled: oneOf(
    {
      description: "Whether hours are charged and deposits looked for; `auto` does so where a vault address is set.",
      default: "auto",
    },
    ["auto", "on", "off"] as const,
  ),
  idempotency: flag({
    description: "Each hour is charged once, whoever charges it; off only beside an old fleet that has it off.",
    default: true,
    env: [{ name: "BILLING_IDEMPOTENCY", rule: "exactly-true" }],
  }),
  basis: oneOf(
    {
      description:
        "`completed` charges an hour when it is over, by what was stored at its end; `current` charges the hour that runs, as the existing fleet does.",
      default: "completed",
    },
    ["completed", "current"] as const,
  ),
  freeTierBytes: bytes({ description: "Bytes that cost nothing.", default: 524_288_000, env: ["FREE_TIER_BYTES"] }, 0),
  fulaPerGbMonth: decimal({
    description: "Price in FULA of 2^30 bytes for 720 hours.",
    default: "3",
    env: ["FULA_PER_GB_MONTH"],
  }),
  catchUpHours: integer(
    {
      description:
        "Missed hours that are charged by themselves; older ones are left out with an alert, for `billing backfill`.",
      default: 168,
    },
    1,
    8_760,
  ),
  whileSuspended: oneOf(
    {
      description:
        "Whether a suspended account that still stores more than the free tier goes on paying (`accrue`) or not (`pause`).",
      default: "accrue",
    },
    ["accrue", "pause"] as const,
  ),
  deductionIntervalMs: integer(
    {
      description: "Milliseconds between two looks for unbilled hours.",
      default: 3_600_000,
      env: ["DEDUCTION_INTERVAL_MS"],
    },
    1_000,
    2_147_483_647,
  ),
  scannerIntervalMs: integer(
    { description: "Milliseconds between two scans for deposits.", default: 600_000, env: ["SCANNER_INTERVAL_MS"] },
    1_000,
    2_147_483_647,
  ),
  vaultAddress: optionalText(
    {
      description:
        "Address that deposits are sent to. Without it, or with the zero address, billing is off unless enabled.",
      default: null,
      env: ["VAULT_ADDRESS"],
    },
    /^0x[0-9a-fA-F]{40}$/,
    "0x and 40 hex digits",
  ),
  baseRpcUrls: BASE_RPC_URL_SETTING,
  minDepositFula: decimal({
    description: "Transfers to the vault of less are recorded and not credited.",
    default: "0.001",
  }),
  referralBonuses: flag({
    description: "Whoever brought a user gets 10 % of that user's deposits; those who brought him in turn 1 % each.",
    default: true,
    env: ["REFERRAL_BONUSES_ENABLED"],
  }),
  cronLeaderLease: flag({
    description: "Only the master that holds the lease bills and scans; off only where there is a single master.",
    default: true,
    env: [{ name: "CRON_LEADER_LEASE", rule: "exactly-true" }],
  }),
  leaseTtl: duration(
    {
      description: "A lease holder that does not renew for so long loses the lease to a standby.",
      default: "15s",
    },
    "2s",
  ),
} as const;
