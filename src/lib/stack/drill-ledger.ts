import { withTransaction } from "../postgres/transaction.ts";
import type { Pool } from "../postgres/pool.ts";
import { sqlStateOf } from "../postgres/database-errors.ts";
import { defineDrill, type DrillScene, expectThat } from "./drill.ts";
import { peekLedger } from "./ledger-peek.ts";

const INDEX = "idx_credit_history_hourly_dedup";
const COLUMNS = "user_id, reference_id";
const PREDICATE = "(tx_type = 'hourly_deduction'::text)";
const UNIQUE_VIOLATION = "23505";

interface IndexFacts {
  readonly table: string;
  readonly unique: boolean;
  readonly valid: boolean;
  readonly columns: string;
  readonly predicate: string | null;
}

/** D2: the unique index that stands between a user and a second charge for the same hour. */
export const ledgerDrill = defineDrill({
  id: "D2",
  title: "The ledger refuses a second charge for the same hour",
  claims: {
    exists: `The index ${INDEX} is on credit_history`,
    valid: "It is valid and in use",
    unique: "It is unique",
    shape: `It covers (${COLUMNS}) of hourly deductions`,
    refuses: "A second charge of a new user for one hour is refused by it (in a transaction that is rolled back)",
  },
  unfitFor: ({ config }) => (config.node.role === "storage" ? "a storage node has no ledger" : null),
  run: async (scene, check) => {
    const facts = await withLedgerPool(scene, readFacts);
    const exists = await check("exists", async () => {
      expectThat(facts !== undefined, `schema public has no index ${INDEX}`);
      expectThat(facts.table === "credit_history", `it is on ${facts.table}`);
      return `index of ${facts.table}`;
    });
    if (!exists || facts === undefined) return;
    await check("valid", async () => {
      expectThat(facts.valid, "it is INVALID: no row is checked by it. Try: fula-master migrate up");
      return "valid, ready and live";
    });
    await check("unique", async () => {
      expectThat(facts.unique, "it is a plain index: it forbids nothing");
      return "unique";
    });
    await check("shape", async () => {
      expectThat(facts.columns === COLUMNS, `it covers (${facts.columns})`);
      expectThat(facts.predicate === PREDICATE, `its predicate is ${facts.predicate ?? "missing"}`);
      return `(${facts.columns}) where ${facts.predicate}`;
    });
    await check("refuses", async () => await withLedgerPool(scene, async (pool) => await chargeTwice(pool, scene)));
  },
});

async function withLedgerPool<T>({ loaded }: DrillScene, use: (pool: Pool) => Promise<T>): Promise<T> {
  // A box around the answer tells "the server does not run" from an answer of nothing.
  const answer = await peekLedger(loaded, async (pool) => ({ value: await use(pool) }));
  expectThat(answer !== null, "PostgreSQL does not run");
  return answer.value;
}

async function readFacts(pool: Pool): Promise<IndexFacts | undefined> {
  const { rows } = await pool.query<IndexFacts>(
    `select t.relname::text as table,
            i.indisunique as unique,
            i.indisvalid and i.indisready and i.indislive as valid,
            (select string_agg(pg_get_indexdef(i.indexrelid, n, true), ', ' order by n)
               from generate_series(1, i.indnatts) as n) as columns,
            pg_get_expr(i.indpred, i.indrelid) as predicate
       from pg_index i
       join pg_class c on c.oid = i.indexrelid
       join pg_class t on t.oid = i.indrelid
      where c.relnamespace = 'public'::regnamespace and c.relname = $1`,
    [INDEX],
  );
  return rows[0];
}

/** Ends the transaction whatever happened in it. */
class RolledBack extends Error {
  override readonly name = "RolledBack";
}

async function chargeTwice(pool: Pool, { random, runId, signal }: DrillScene): Promise<string> {
  // As long as a real one, and nobody's: 64 hex digits that were not there a moment ago.
  const user = Buffer.from(random.bytes(32)).toString("hex");
  let seen = "both charges were taken";
  const charge = `insert into credit_history (tx_type, amount_fula, balance_after, reference_id, user_id)
                  values ('hourly_deduction', -1, -1, $1, $2)`;
  try {
    await withTransaction(
      pool,
      async (client) => {
        await client.query(charge, [`drill:${runId}`, user]);
        try {
          await client.query(charge, [`drill:${runId}`, user]);
        } catch (error) {
          seen = sqlStateOf(error) === UNIQUE_VIOLATION ? constraintOf(error) : `refused with ${sqlStateOf(error)}`;
        }
        throw new RolledBack();
      },
      { signal },
    );
  } catch (error) {
    if (!(error instanceof RolledBack)) throw error;
  }
  expectThat(seen === INDEX, seen);
  return `refused by ${seen} (${UNIQUE_VIOLATION})`;
}

function constraintOf(error: unknown): string {
  return error instanceof Error && "constraint" in error ? String(error.constraint) : "an unnamed constraint";
}
