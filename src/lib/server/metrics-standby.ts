import { Gauge, type Registry } from "prom-client";
import { replicationOf, slotOf } from "../stack/standby-look.ts";
import type { StandbysSeen } from "./sync-keeper.ts";

/** The metrics of the ledger's servers. */
export interface StandbyMetrics {
  /** Notes what the keeper of the standbys saw. */
  readonly looked: (seen: StandbysSeen) => void;
  /** Has each scrape ask whether this box's server is held down. */
  readonly watch: (isFenced: () => boolean) => void;
}

/** Makes them. Those of single standbys are there on the primary's box alone. */
export function createStandbyMetrics(registers: Registry[]): StandbyMetrics {
  const epoch = new Gauge({
    name: "fula_ledger_epoch",
    help: "Number of the ledger's epoch; absent where it has had one server alone, or the control plane does not answer.",
    registers,
  });
  let isFenced: (() => boolean) | null = null;
  const fenced = new Gauge({
    name: "fula_ledger_fenced",
    help: "1 where this box's server of the ledger is held down, because it may not be the primary any more, else 0; absent where the ledger can have no second server.",
    registers,
    collect() {
      if (isFenced !== null) this.set(isFenced() ? 1 : 0);
    },
  });
  epoch.remove();
  fenced.remove();
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
    watch: (ask) => {
      isFenced = ask;
    },
    looked: ({ epoch: number, primary, syncSet, standbys }) => {
      if (number === null) epoch.remove();
      else epoch.set(number);
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
