import type { SweepBatch } from "./sweep-batch.ts";

/** A peer that belonged to the cluster when it was last swept. */
export interface ClusterMember {
  readonly id: string;
  /** Empty where it is not known. */
  readonly name: string;
}

/**
 * Who belonged to the cluster: a cluster forgets a peer soon after its last ping, and with it every sign that copies
 * are missing which "every peer" should have.
 */
export class ClusterMembers {
  readonly #batch: SweepBatch;

  constructor(batch: SweepBatch) {
    this.#batch = batch;
  }

  all(): readonly ClusterMember[] {
    const rows = this.#batch.paged("select id, name from member where id > ?", "id", "");
    return Array.from(rows, (row) => ({ id: String(row["id"]), name: String(row["name"]) }));
  }

  remember({ id, name }: ClusterMember): void {
    this.#batch.write(
      "insert into member (id, name) values (?, ?) on conflict (id) do update set name = excluded.name",
      id,
      name,
    );
  }

  /** False where it was not known. */
  forget(id: string): boolean {
    const isKnown = this.all().some((member) => member.id === id);
    this.#batch.write("delete from member where id = ?", id);
    return isKnown;
  }
}
