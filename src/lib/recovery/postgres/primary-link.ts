import { assert } from "../../kernel/assert.ts";
import type { Session } from "../../postgres/session.ts";

/** The way from this box to the primary of the ledger, as this box's own role of the replication. */
export interface PrimaryLink {
  /** `node.name` of its box. */
  readonly node: string;
  /**
   * Keywords of libpq, as the server and the programs of this box's site read them: `host`, `port`, `user`, `sslmode`,
   * `sslcert`, `sslkey`, `sslrootcert`. Files are named as the site sees them. No password.
   */
  readonly conninfo: Readonly<Record<string, string>>;
  /** Connects to the ledger's database there as that role: it reads `ledger_epochs` and sees its own replication. */
  connect(): Promise<Session>;
}

const KEYWORD = /^[a-z_]+$/;

/** Renders keywords of libpq as one text, quoted (PostgreSQL manual, "Keyword/Value Connection Strings"). */
export function renderConninfo(keywords: Readonly<Record<string, string>>): string {
  return Object.entries(keywords)
    .map(([keyword, value]) => {
      assert(KEYWORD.test(keyword) && keyword !== "password", `${keyword} has no place in a connection string`);
      return `${keyword}='${value.replaceAll("\\", "\\\\").replaceAll("'", "\\'")}'`;
    })
    .join(" ");
}
