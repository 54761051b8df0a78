import { Counter, Gauge, type Registry } from "prom-client";

/** The metrics of what a storage node takes in. */
export interface IngestMetrics {
  /** Counts a block that was sent, by the status of its answer; bytes where it was taken. */
  answered(status: number, takenBytes: number): void;
  /** Counts a question to the masters. */
  asked(outcome: "accepted" | "refused" | "silent"): void;
  /** Notes how many blocks the node holds until the cluster has them, or their lease is over. */
  holdsCounted(blocks: number): void;
  /** Counts holds that ended. */
  released(blocks: number): void;
}

/** Makes the metrics of a storage node's entrance in a registry. */
export function createIngestMetrics(registers: Registry[]): IngestMetrics {
  const answers = new Counter({
    name: "fula_ingest_answers_total",
    help: "Blocks that clients sent to this storage node, by the status of the answer.",
    labelNames: ["status"],
    registers,
  });
  const bytes = new Counter({
    name: "fula_ingest_taken_bytes_total",
    help: "Bytes of the blocks that were taken.",
    registers,
  });
  const questions = new Counter({
    name: "fula_ingest_master_questions_total",
    help: "Questions to the masters about clients, by outcome: accepted, refused, silent.",
    labelNames: ["outcome"],
    registers,
  });
  const held = new Gauge({
    name: "fula_ingest_held_blocks",
    help: "Blocks that this node holds until the cluster has them, or their lease is over; absent where it takes none in.",
    registers,
  });
  held.remove();
  const ended = new Counter({ name: "fula_ingest_released_blocks_total", help: "Holds that ended.", registers });
  return {
    answered: (status, takenBytes) => {
      answers.inc({ status: String(status) });
      bytes.inc(takenBytes);
    },
    asked: (outcome) => {
      questions.inc({ outcome });
    },
    holdsCounted: (blocks) => {
      held.set(blocks);
    },
    released: (blocks) => {
      ended.inc(blocks);
    },
  };
}
