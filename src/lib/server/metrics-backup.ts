import { Counter, Gauge, type Registry } from "prom-client";
import type { WalArchiver } from "../recovery/backup/wal-receiver.ts";

/** What is known of the base backups of this box. */
export interface BackupScrape {
  /** Null where there is no good one. */
  readonly ageSeconds: number | null;
  /** Null where the newest was never restored for a test. */
  readonly tested: boolean | null;
  readonly damaged: number;
  readonly holes: number;
}

/** The metrics of base backups and of the archive. */
export interface BackupMetrics {
  /** Has each scrape ask how archiving goes. */
  readonly watch: (archiver: Pick<WalArchiver, "interruptions" | "state">) => void;
  /** @param facts null where this box is to have no base backups, or they could not be looked at */
  readonly apply: (facts: BackupScrape | null) => void;
}

function catalogueMetrics(registers: Registry[]): BackupMetrics["apply"] {
  const age = new Gauge({
    name: "fula_backup_age_seconds",
    help: "Age of the newest good base backup of this box; absent where there is none.",
    registers,
  });
  const tested = new Gauge({
    name: "fula_backup_tested",
    help: "1 where the newest good base backup was restored for a test and found well, else 0; absent where there is none.",
    registers,
  });
  const damaged = new Gauge({
    name: "fula_backup_damaged",
    help: "Base backups of this box that something is wrong with.",
    registers,
  });
  const holes = new Gauge({
    name: "fula_archive_holes",
    help: "Gaps in the archived write-ahead log since the newest good base backup.",
    registers,
  });
  return (facts) => {
    for (const gauge of [age, tested, damaged, holes]) gauge.remove();
    if (facts === null) return;
    if (facts.ageSeconds !== null) {
      age.set(facts.ageSeconds);
      tested.set(facts.tested === true ? 1 : 0);
    }
    damaged.set(facts.damaged);
    holes.set(facts.holes);
  };
}

/** Makes them. Those of the archive are there where this box archives. */
export function createBackupMetrics(registers: Registry[]): BackupMetrics {
  const apply = catalogueMetrics(registers);
  let archiver: Pick<WalArchiver, "interruptions" | "state"> | null = null;
  const streaming = new Gauge({
    name: "fula_archive_streaming",
    help: "1 where the write-ahead log is being archived, else 0; absent where this box archives none.",
    registers,
    collect() {
      if (archiver !== null) this.set(archiver.state().status === "streaming" ? 1 : 0);
    },
  });
  const position = new Gauge({
    name: "fula_archive_position_bytes",
    help: "Position (LSN) up to which the write-ahead log is archived; absent while it is not being archived.",
    registers,
    collect() {
      const state = archiver?.state();
      if (state?.status === "streaming") this.set(Number(state.durableLsn));
      else this.remove();
    },
  });
  const lag = new Gauge({
    name: "fula_archive_lag_bytes",
    help: "Write-ahead log that the server has told of and that is not archived; absent while it is not being archived.",
    registers,
    collect() {
      const state = archiver?.state();
      if (state?.status === "streaming") this.set(Math.max(0, Number(state.serverLsn - state.durableLsn)));
      else this.remove();
    },
  });
  const interruptions = new Counter({
    name: "fula_archive_interruptions_total",
    help: "How often archiving broke off and began anew.",
    registers,
    collect() {
      this.reset();
      this.inc(archiver?.interruptions() ?? 0);
    },
  });
  for (const gauge of [streaming, position, lag]) gauge.remove();
  interruptions.reset();
  return {
    apply,
    watch: (given) => {
      archiver = given;
    },
  };
}
