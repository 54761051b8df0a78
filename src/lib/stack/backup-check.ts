import { verifyLedger } from "../billing/verify.ts";
import { messageOf } from "../kernel/errors.ts";
import { planMigrations } from "../postgres/migrator.ts";
import { type ConnectionTarget, createPool, type Pool } from "../postgres/pool.ts";
import { withTransaction } from "../postgres/transaction.ts";

/** What a restored ledger holds. */
export interface RestoredContents {
  readonly accounts: number;
  readonly bucketRoots: number;
  readonly pins: number;
}

/** What was found at a restored ledger. */
export interface RestoredLook {
  readonly contents: RestoredContents | null;
  /** Sentences; none where nothing is wrong. */
  readonly problems: readonly string[];
}

/** It compares with the hour that it is now; a ledger of an earlier time lacks those since. */
const OF_NOW: ReadonlySet<string> = new Set(["hours"]);

interface TableRow {
  readonly name: string;
}

/** Every table, and what is stored beside it, page by page, so that a page that does not have its checksum is met. */
async function readEverything(pool: Pool): Promise<void> {
  await withTransaction(pool, async (client) => {
    for (const method of ["enable_indexscan", "enable_indexonlyscan", "enable_bitmapscan"]) {
      await client.query(`set local ${method} = off`);
    }
    const { rows } = await client.query<TableRow>({
      name: "backup_check_tables",
      text: `
        select format('%I.%I', n.nspname, c.relname) as name
          from pg_class c join pg_namespace n on n.oid = c.relnamespace
         where c.relkind in ('r', 'm', 't') and c.relpersistence <> 't'
         order by 1`,
    });
    for (const { name } of rows) await client.query(`select count(*) from ${name}`);
  });
}

async function readContents(pool: Pool): Promise<RestoredContents> {
  const { rows } = await pool.query<{ readonly accounts: string; readonly roots: string; readonly pins: string }>({
    name: "backup_check_contents",
    text: `
      select (select count(*) from user_credits) as accounts,
             (select count(*) from bucket_roots) as roots,
             (select count(*) from pins) as pins`,
  });
  const [row] = rows;
  return { accounts: Number(row?.accounts), bucketRoots: Number(row?.roots), pins: Number(row?.pins) };
}

async function checkIndexes(pool: Pool): Promise<readonly string[]> {
  const { rows } = await pool.query<TableRow>({
    name: "backup_check_indexes",
    text: "select indexrelid::regclass::text as name from pg_index where not indisvalid or not indisready order by 1",
  });
  return rows.map(({ name }) => `index ${name} is not valid`);
}

async function checkBooks(pool: Pool, signal: AbortSignal): Promise<readonly string[]> {
  const pending = (await planMigrations(pool)).applied;
  if (pending.length > 0) {
    return [`its schema is ${pending.length} migrations behind this build, so that the books were not looked at`];
  }
  const { checks } = await verifyLedger(pool, { signal });
  return checks
    .filter(({ ok, name }) => !ok && !OF_NOW.has(name))
    .map(
      ({ name, count, examples }) =>
        `billing verify: ${name}: ${count} found${examples[0] === undefined ? "" : `, as ${examples[0]}`}`,
    );
}

/**
 * Looks at a restored ledger: reads every page of every table, and counts what it holds.
 * @param books whether the books are proven too, as `billing verify` does
 */
export async function lookAtRestored(
  target: ConnectionTarget,
  books: boolean,
  signal: AbortSignal,
): Promise<RestoredLook> {
  const pool = createPool({ ...target, part: "restore-check", node: "scratch", max: 1 });
  try {
    await readEverything(pool);
    const contents = await readContents(pool);
    const problems = [...(await checkIndexes(pool)), ...(books ? await checkBooks(pool, signal) : [])];
    return { contents, problems };
  } catch (error) {
    signal.throwIfAborted();
    return { contents: null, problems: [`it cannot be read: ${messageOf(error)}`] };
  } finally {
    await pool.end();
  }
}
