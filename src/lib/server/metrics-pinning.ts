import { Counter, Gauge, type Registry } from "prom-client";
import type { JobOutcome } from "../pinning/queue/job.ts";
import type { PinQueueFigures } from "../pinning/queue/figures.ts";

/** The metrics of the pinning service's queue. */
export interface PinningMetrics {
  /** Notes how the queue stands; null where it could not be read. */
  queueRead(figures: PinQueueFigures | null): void;
  /** Counts a job that a worker of this master is done with for now. */
  settled(outcome: JobOutcome["kind"]): void;
}

/** Makes the metrics of the pinning service in a registry. */
export function createPinningMetrics(registers: Registry[]): PinningMetrics {
  const settled = new Counter({
    name: "fula_pinning_jobs_total",
    help: "Jobs of the pin queue that this master worked on, by what became of them: pinned, gone, later, dead.",
    labelNames: ["outcome"],
    registers,
  });
  const queue = new Gauge({
    name: "fula_pinning_queue_jobs",
    help: "Jobs on the pin queue of all masters, by state: waiting, claimed, failing (both count as waiting too), dead; absent where the ledger does not answer.",
    labelNames: ["state"],
    registers,
  });
  const oldest = new Gauge({
    name: "fula_pinning_queue_oldest_seconds",
    help: "Time since somebody asked for the content that waits longest; absent where none does.",
    registers,
  });
  const overdue = new Gauge({
    name: "fula_pinning_queue_overdue_seconds",
    help: "How long the job that is overdue longest has been due without a worker; absent where the ledger does not answer.",
    registers,
  });
  for (const gauge of [oldest, overdue]) gauge.remove();
  return {
    queueRead: (figures) => {
      queue.reset();
      oldest.remove();
      overdue.remove();
      if (figures === null) return;
      const { waiting, claimed, failing, dead } = figures;
      for (const [state, jobs] of Object.entries({ waiting, claimed, failing, dead })) queue.set({ state }, jobs);
      if (figures.oldestSeconds !== null) oldest.set(figures.oldestSeconds);
      overdue.set(figures.overdueSeconds);
    },
    settled: (outcome) => {
      settled.inc({ outcome });
    },
  };
}
