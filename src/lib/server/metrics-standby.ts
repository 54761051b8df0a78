import { Gauge, type Registry } from "prom-client";
import { replicationOf, slotOf } from "../stack/standby-look.ts";
import type { LedgerFence } from "./ledger-agent.ts";
import type { StandbysSeen } from "./sync-keeper.ts";

const MS_PER_SECOND = 1_000;

/** The metrics of the ledger's servers. */
export interface StandbyMetrics {
  /** Notes what the keeper of the standbys saw. */
  readonly looked: (seen: StandbysSeen) => void;
  /** Has each scrape ask how this box stands to the ledger's epoch. */
  readonly watch: (fence: () => Pick<LedgerFence, "state" | "epoch" | "confirmedAgoMs">) => void;
}

/** Makes those of the box's own standing. @returns has each scrape ask how that is */
function makeFenceMetrics(registers: Registry[]): StandbyMetrics["watch"] {
  let ask: Parameters<StandbyMetrics["watch"]>[0] | null = null;
  const told = (
    name: string,
    help: string,
    valueOf: (fence: ReturnType<NonNullable<typeof ask>>) => number | null,
  ): void => {
    const gauge = new Gauge({
      name,
      help,
      registers,
      collect() {
        const value = ask === null ? null : valueOf(ask());
        if (value === null) this.remove();
        else this.set(value);
      },
    });
    gauge.remove();
  };
  told(
    "fula_ledger_epoch",
    "Number of the ledger's epoch, as the control plane's quorum had it last; absent where it has had one server alone.",
    ({ epoch }) => epoch?.number ?? null,
  );
  told(
    "fula_ledger_fenced",
    "1 where this box's server of the ledger is held down, because it may not be the primary any more, else 0; absent where the ledger can have no second server.",
    ({ state }) => (state === "fenced" ? 1 : 0),
  );
  told(
    "fula_ledger_quorum_age_seconds",
    "Since the control plane's quorum was last asked for the ledger's epoch and answered; some seconds in peace; absent before.",
    ({ confirmedAgoMs }) => (confirmedAgoMs === null ? null : confirmedAgoMs / MS_PER_SECOND),
  );
  return (fence) => {
    ask = fence;
  };
}

/** Makes them. Those of single standbys are there on the primary's box alone. */
export function createStandbyMetrics(registers: Registry[]): StandbyMetrics {
  const watch = makeFenceMetrics(registers);
  const labelNames = ["node"] as const;
  const streaming = new Gauge({
    name: "fula_standby_streaming",
    help: "1 where a box's standby streams, else 0; on the primary's box.",
    labelNames,
    registers,
  });
  const synchronous = new Gauge({
    name: "fula_standby_synchronous",
    help: "1 where a box's standby may be promoted without loss, else 0; on the primary's box.",
    labelNames,
    registers,
  });
  const lag = new Gauge({
    name: "fula_standby_lag_bytes",
    help: "Log that a box's standby has not yet written down; absent where it does not stream; on the primary's box.",
    labelNames,
    registers,
  });
  const kept = new Gauge({
    name: "fula_standby_slot_kept_bytes",
    help: "Log that is kept for a box's standby; on the primary's box.",
    labelNames,
    registers,
  });
  return {
    watch,
    looked: ({ primary, syncSet, standbys }) => {
      for (const gauge of [streaming, synchronous, lag, kept]) gauge.reset();
      if (primary === null) return;
      for (const node of standbys) {
        const replication = replicationOf(primary, node);
        streaming.set({ node }, replication?.state === "streaming" ? 1 : 0);
        synchronous.set({ node }, syncSet.includes(node) ? 1 : 0);
        const flushed = replication?.flushedLsn ?? null;
        if (flushed !== null) lag.set({ node }, Math.max(Number(primary.headLsn - flushed), 0));
        kept.set({ node }, Number(slotOf(primary, node)?.keptBytes ?? 0n));
      }
    },
  };
}
