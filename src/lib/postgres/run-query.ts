import type { Pool } from "pg";
import { explainDatabaseError, targetOf } from "./database-errors.ts";

/** A prepared statement and its values. */
export interface NamedQuery {
  /** Changes with the text: each connection prepares it once under this name. */
  readonly name: string;
  readonly text: string;
  readonly values: readonly unknown[];
}

/** What one statement gave. */
export interface QueryRows<Row> {
  readonly rows: readonly Row[];
  /** Rows that were returned or changed. */
  readonly rowCount: number;
}

/**
 * Runs one statement outside a transaction.
 * @throws FulaError FULA_DATABASE_UNREACHABLE, FULA_DATABASE_LOGIN; a DatabaseError for what the server refuses
 */
export async function runQuery<Row extends object>(pool: Pool, query: NamedQuery): Promise<QueryRows<Row>> {
  try {
    const { rows, rowCount } = await pool.query<Row>({ ...query, values: [...query.values] });
    return { rows, rowCount: rowCount ?? 0 };
  } catch (error) {
    throw explainDatabaseError(error, targetOf(pool));
  }
}
