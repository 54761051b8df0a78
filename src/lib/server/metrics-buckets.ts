import { Counter, Gauge, Histogram, type Registry } from "prom-client";
import type { BucketObserver } from "../stack/open-buckets.ts";

/** The metrics of buckets. */
export interface BucketMetrics extends BucketObserver {
  /** Notes what our node holds beside the pins of the cluster. */
  holdsCounted(blocks: number): void;
  /** Counts a run of the collector, and the pins that it took away. */
  collected(outcome: "complete" | "failed", unpinned: number): void;
}

/** From one small block on this box to a group of changes over a slow cluster. */
const FLUSH_BUCKETS_SECONDS = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30];
const EDITS_BUCKETS = [1, 2, 4, 8, 16, 32, 64, 128, 256];
const QUERY_BUCKETS_SECONDS = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.1, 0.5, 2, 10];

function flushInstruments(registers: Registry[]): {
  readonly flushes: Counter<"outcome">;
  readonly seconds: Histogram;
  readonly edits: Histogram;
  readonly conflicts: Counter;
} {
  return {
    flushes: new Counter({
      name: "fula_bucket_flushes_total",
      help: "Groups of changes of a bucket, by what became of them: moved, unchanged, absent, failed.",
      labelNames: ["outcome"],
      registers,
    }),
    seconds: new Histogram({
      name: "fula_bucket_flush_duration_seconds",
      help: "Time from reading a bucket's root to its next one, lost races included.",
      buckets: FLUSH_BUCKETS_SECONDS,
      registers,
    }),
    edits: new Histogram({
      name: "fula_bucket_flush_writes",
      help: "Writes of clients that shared a flush.",
      buckets: EDITS_BUCKETS,
      registers,
    }),
    conflicts: new Counter({
      name: "fula_bucket_conflicts_total",
      help: "Races for a bucket's root that this master lost and ran again.",
      registers,
    }),
  };
}

function collectorInstruments(registers: Registry[]): {
  readonly runs: Counter<"outcome">;
  readonly unpinned: Counter;
  readonly held: Gauge;
} {
  return {
    runs: new Counter({
      name: "fula_bucket_collector_runs_total",
      help: "Looks of this master for contents and blocks that no bucket refers to any more, by outcome: complete, failed.",
      labelNames: ["outcome"],
      registers,
    }),
    unpinned: new Counter({
      name: "fula_bucket_collector_unpinned_total",
      help: "Pins that this master's collector took away.",
      registers,
    }),
    held: new Gauge({
      name: "fula_bucket_held_blocks",
      help: "Blocks and contents that our node holds until the cluster's peers have them; absent where blocks lie in a directory.",
      registers,
    }),
  };
}

/** Makes the metrics of buckets in a registry. */
export function createBucketMetrics(registers: Registry[]): BucketMetrics {
  const { flushes, seconds, edits, conflicts } = flushInstruments(registers);
  const queries = new Histogram({
    name: "fula_bucket_root_query_duration_seconds",
    help: "Time that the ledger took to say where buckets stand.",
    labelNames: ["outcome"],
    buckets: QUERY_BUCKETS_SECONDS,
    registers,
  });
  const stale = new Counter({
    name: "fula_bucket_stale_reads_total",
    help: "Reads that were answered from the last root that was known, because the ledger was silent.",
    registers,
  });
  const compactions = new Counter({
    name: "fula_bucket_compactions_total",
    help: "Logs that were to be worked into their search tree, by what became of it: adopted, overtaken, nothing, absent, failed.",
    labelNames: ["outcome"],
    registers,
  });
  const { runs, unpinned, held } = collectorInstruments(registers);
  held.remove();
  return {
    flushed: (flush) => {
      flushes.inc({ outcome: flush.outcome });
      seconds.observe(flush.durationMs / 1_000);
      if (flush.edits > 0) edits.observe(flush.edits);
    },
    conflicted: () => {
      conflicts.inc();
    },
    compacted: (outcome) => {
      compactions.inc({ outcome });
    },
    onQuery: (outcome, _buckets, durationSeconds) => {
      queries.observe({ outcome }, durationSeconds);
    },
    onStale: () => {
      stale.inc();
    },
    holdsCounted: (blocks) => {
      held.set(blocks);
    },
    collected: (outcome, count) => {
      runs.inc({ outcome });
      unpinned.inc(count);
    },
  };
}
