import type { SweepBatch } from "./sweep-batch.ts";

/** A peer that belonged to the cluster when it was last swept. */
export interface ClusterMember {
  readonly id: string;
  /** Empty where it is not known. */
  readonly name: string;
  /** True where the operator said that it was taken out. */
  readonly isForgotten: boolean;
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
    const rows = this.#batch.paged("select id, name, forgotten from member where id > ?", "id", "");
    return Array.from(rows, (row) => ({
      id: String(row["id"]),
      name: String(row["name"]),
      isForgotten: row["forgotten"] === 1,
    }));
  }

  /** Remembers a peer that belongs to the cluster now. One that does not answer tells no name: the last one stays. */
  remember({ id, name }: Pick<ClusterMember, "id" | "name">): void {
    this.#batch.write(
      `insert into member (id, name, forgotten) values (?, ?, 0)
       on conflict (id) do update set name = coalesce(nullif(excluded.name, ''), member.name), forgotten = 0`,
      id,
      name,
    );
  }

  /** Takes it for taken out until it is back. @returns false where it was never a member */
  forget(id: string): boolean {
    const isKnown = this.all().some((member) => member.id === id);
    this.#batch.write("update member set forgotten = 1 where id = ?", id);
    return isKnown;
  }
}
