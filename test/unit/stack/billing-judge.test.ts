import { describe, expect, test } from "vitest";
import type { BillingFacts } from "../../../src/lib/billing/billing-status.ts";
import { hourOf } from "../../../src/lib/billing/hour.ts";
import { parseUnits } from "../../../src/lib/billing/money.ts";
import { loadConfig } from "../../../src/lib/config/load.ts";
import type { LeaseRecord } from "../../../src/lib/lease/lease-record.ts";
import { judgeBilling } from "../../../src/lib/stack/billing-judge.ts";
import { tempDir } from "../../support/temp-dir.ts";

const NOW = new Date("2026-11-20T12:05:00Z");
const VAULT = "0x00000000000000000000000000000000000000aa";

const FACTS: BillingFacts = {
  now: NOW,
  mode: "keyed",
  firstHour: hourOf(Date.parse("2026-11-01T00:00:00Z")),
  lastDone: {
    hour: hourOf(Date.parse("2026-11-20T11:00:00Z")),
    endedAt: new Date("2026-11-20T12:00:03Z"),
    endedBy: "master-1",
    epoch: 7n,
    users: 10,
    sumUnits: 1n,
    freeTierBytes: 524_288_000n,
    fulaPerGibMonth: parseUnits("3"),
  },
  hoursBehind: 0,
  behindSince: null,
  openHours: [],
  skippedHours: [],
  skippedCount: 0,
  suspended: 0,
  alerts: [],
  chains: [],
  deposits: { waiting: 0, unclaimed: 0, unclaimedUnits: 0n },
};

const SESSION = { pid: 77, applicationName: "old webui", user: "pinning_user", clientAddress: null, connectedAt: null };

const LEASE: LeaseRecord = {
  standing: "held",
  holder: "master-1",
  epoch: 7n,
  heldForSeconds: 100,
  renewedSecondsAgo: 1,
  session: SESSION,
};

interface Given {
  readonly facts?: Partial<BillingFacts>;
  readonly lease?: Partial<LeaseRecord>;
  /** Settings, by their names in the environment. */
  readonly env?: Readonly<Record<string, string>>;
}

async function problemsOf({ facts = {}, lease = {}, env = {} }: Given): Promise<readonly string[]> {
  const base = { VAULT_ADDRESS: VAULT, BASE_RPC_URL: "http://127.0.0.1:1" };
  const { config } = await loadConfig({ globals: { baseDir: tempDir() }, env: { ...base, ...env }, cwd: "/" });
  const look = { facts: { ...FACTS, ...facts }, lease: { ...LEASE, ...lease }, config };
  return judgeBilling(look).map(({ severity, id }) => `${severity} ${id}`);
}

const FREE = { standing: "free", holder: null, heldForSeconds: null, renewedSecondsAgo: null, session: null } as const;
const BASE_CHAIN = {
  chainId: 8453,
  name: "base",
  scannedBlock: 1n,
  settledBlock: 1n,
  lastScanAt: NOW,
  lastError: null,
  haltedBecause: null,
};

describe("billing", () => {
  test.each<readonly [string, Given, readonly string[]]>([
    ["is well where somebody leads and no hour waits", {}, []],
    ["is not where nobody leads", { lease: FREE }, ["bad nobody-leads"]],
    [
      "is not where it is off here, nobody else bills, and the ledger was billed before",
      { lease: FREE, env: { VAULT_ADDRESS: "" } },
      ["bad nobody-leads"],
    ],
    [
      "is well where it is off and was never on",
      { lease: FREE, env: { VAULT_ADDRESS: "" }, facts: { mode: null, lastDone: null } },
      [],
    ],
    ["is well without a lease where the settings want none", { lease: FREE, env: { CRON_LEADER_LEASE: "false" } }, []],
    [
      "is not where the holder no longer renews",
      { lease: { standing: "expired", renewedSecondsAgo: 90 } },
      ["bad lease-expired"],
    ],
    [
      "is not where other software holds the lease",
      { lease: { standing: "foreign", holder: null } },
      ["bad lease-foreign"],
    ],
    [
      "has some minutes to bill an hour that just ended",
      { facts: { hoursBehind: 1, behindSince: new Date("2026-11-20T12:00:00Z") } },
      [],
    ],
    [
      "is not where an hour waits for longer",
      { facts: { hoursBehind: 1, behindSince: new Date("2026-11-20T11:45:00Z") } },
      ["bad hours-behind"],
    ],
    ["is not where hours were left out", { facts: { skippedCount: 3 } }, ["bad hours-skipped"]],
    [
      "is not where an alert stands, of a kind that this build does not know, too",
      {
        facts: {
          alerts: [
            { id: 1n, kind: "from-the-future", subject: "x", details: {}, raisedAt: NOW, lastSeenAt: NOW, times: 1 },
          ],
        },
      },
      ["bad alert-from-the-future"],
    ],
    [
      "is not where this master is set to another mode",
      { env: { BILLING_IDEMPOTENCY: "false" } },
      ["bad mode-differs"],
    ],
    ["is to be looked at where the price differs", { env: { FULA_PER_GB_MONTH: "8" } }, ["attention price-differs"]],
    ["is to be looked at where the free tier differs", { env: { FREE_TIER_BYTES: "1" } }, ["attention price-differs"]],
    ["is to be looked at where no chain is", { env: { BASE_RPC_URL: "" } }, ["attention no-chain"]],
    [
      "is not where a chain was stopped",
      { facts: { chains: [{ ...BASE_CHAIN, haltedBecause: "a reorganisation went too deep" }] } },
      ["bad chain-halted"],
    ],
    [
      "is not where nobody has looked at a chain for long",
      { facts: { chains: [{ ...BASE_CHAIN, lastScanAt: new Date("2026-11-20T11:00:00Z") }] } },
      ["bad chain-behind"],
    ],
    [
      "is to be looked at where the last look at a chain failed",
      { facts: { chains: [{ ...BASE_CHAIN, lastError: "no answer" }] } },
      ["attention chain-errors"],
    ],
    [
      "is told the worst first",
      { lease: FREE, env: { FULA_PER_GB_MONTH: "8" }, facts: { skippedCount: 1 } },
      ["bad nobody-leads", "bad hours-skipped", "attention price-differs"],
    ],
  ])("%s", async (_, given, expected) => {
    expect(await problemsOf(given)).toEqual(expected);
  });
});
