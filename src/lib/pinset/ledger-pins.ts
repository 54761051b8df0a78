import { mkdir, mkdtemp, rm } from "node:fs/promises";
import { join } from "node:path";
import type { Pool, PoolClient } from "pg";
import { parseCid } from "../blocks/cid.ts";
import type { PinOptions } from "../cluster/pins.ts";
import { GATEWAY_PIN_METADATA, PINNING_PIN_METADATA } from "../cluster/pin-source.ts";
import { FulaError, isFulaError, messageOf } from "../kernel/errors.ts";
import { PRIVATE_DIR_MODE } from "../kernel/files.ts";
import { explainDatabaseError, targetOf } from "../postgres/database-errors.ts";
import { type KeyedLine, sortLines } from "./external-sort.ts";

/** A CID that the ledger says is to be kept. */
export interface LedgerCid {
  /** In the form in which the cluster writes it; where `isCid` is false, the text of the ledger. */
  readonly cid: string;
  readonly isCid: boolean;
  /** The text of the ledger, or the place in a bucket. */
  readonly text: string;
  /** `pinned`: somebody was told that it is pinned; `waiting`: it is queued or being pinned. */
  readonly state: "pinned" | "waiting";
  /** When the ledger last wrote about it, milliseconds since the epoch. */
  readonly changedMs: number;
}

/** What the ledger knows about one CID now. */
export interface LedgerRecord {
  readonly state: LedgerCid["state"];
  readonly changedMs: number;
  /** True where the operators have blocked the content: it shall not be kept. */
  readonly isBlocked: boolean;
  /** What to pin it with. */
  readonly options: Pick<PinOptions, "name" | "metadata" | "origins" | "mode">;
  /** Why nobody can say what is below it in its bucket; null where nothing is wrong. */
  readonly damage: string | null;
}

/** A CID that a bucket needs, and where; null in place of one that cannot be read, nor what is below it. */
export interface PlacedCid {
  readonly cid: string | null;
  /** Leads back to it; JSON. */
  readonly place: string;
  readonly changedMs: number;
}

/** What a bucket needs a CID for now. */
export interface BucketRecord {
  readonly name: string;
  readonly mode: "recursive" | "direct";
  readonly changedMs: number;
  readonly damage: string | null;
}

/** What buckets need, read from their roots. */
export interface BucketPins {
  /** Everything, in no order; what several buckets need comes several times. */
  cids(signal: AbortSignal): AsyncIterable<PlacedCid>;
  /** Null where the place has no need of it any more. */
  record(cid: string, place: string): Promise<BucketRecord | null>;
}

/** The CIDs that users and the gateway were promised to be kept. */
export interface LedgerPins {
  /**
   * Each once, in ascending order of `cid`, as they stand at one moment.
   * @throws FulaError FULA_LEDGER_UNREADABLE
   */
  cids(signal: AbortSignal): AsyncIterable<LedgerCid>;
  /** Null where it is no longer to be kept. @throws FulaError FULA_LEDGER_UNREADABLE */
  record(entry: Pick<LedgerCid, "cid" | "text">): Promise<LedgerRecord | null>;
  /**
   * True where users of the pinning service asked for a content, and none of them was told that it is pinned.
   * @param cid CIDv1
   * @throws FulaError FULA_LEDGER_UNREADABLE
   */
  isAwaited(cid: string): Promise<boolean>;
}

const ROWS_PER_FETCH = 2_000;

const CIDS_OF_USERS = `
  select cid, status = 'pinned' as pinned, extract(epoch from updated_at)::float8 * 1000 as changed_ms
    from pins where status in ('queued', 'pinning', 'pinned')`;
// Objects of an earlier fula-master that wait for their import. An empty one is not pinned: there is nothing to keep of it.
const CIDS_OF_OBJECTS = `
  select root_cid, true, extract(epoch from modified_at)::float8 * 1000 from gateway_objects where size_bytes > 0`;

const RECORD_OF_USERS = `
  select status = 'pinned' as pinned, extract(epoch from updated_at)::float8 * 1000 as changed_ms, name, meta, origins
    from pins where cid = any ($1) and status in ('queued', 'pinning', 'pinned')
   order by status = 'pinned' desc, id limit 1`;
const RECORD_OF_OBJECTS = `
  select true as pinned, extract(epoch from o.modified_at)::float8 * 1000 as changed_ms, b.name || '/' || o.key as name
    from gateway_objects o join gateway_buckets b using (bucket_id) where o.root_cid = any ($1)
   order by b.bucket_id, o.key limit 1`;
const AWAITED = `
  select bool_and(status <> 'pinned') as awaited from pins
   where cid_key = $1 and status in ('queued', 'pinning', 'pinned')`;
const BLOCKED = "select 1 from blocked_cids where cid = any ($1) and mode = 'block'";

interface CidRow {
  readonly cid: string;
  readonly pinned: boolean;
  readonly changed_ms: number | null;
}

interface UserRow extends CidRow {
  readonly name: string | null;
  readonly meta: string | null;
  readonly origins: string | null;
}

/** What a missing ledger means for whoever asked. */
export function ledgerUnreadable(error: unknown): FulaError {
  return new FulaError(
    "FULA_LEDGER_UNREADABLE",
    `Nothing is known about what the ledger wants pinned: ${messageOf(error)}`,
    {
      cause: error,
      hint: "this is no all-clear. See that the database answers (fula-master status); fula-master sweep --no-ledger looks at the pinset alone.",
    },
  );
}

/**
 * Reads a ledger: the fleet's `pins`, and what the buckets need that it has the roots of.
 * @param tempDir where to sort. The database could sort by bytes, too, but the same CID may be written in several ways
 * @param buckets null leaves them out
 */
export function ledgerPins(pool: Pool, tempDir: string, buckets: BucketPins | null): LedgerPins {
  return {
    cids: (signal) => sortedCids(pool, tempDir, buckets, signal),
    record: async (entry) => {
      try {
        return await readRecord(pool, entry, buckets);
      } catch (error) {
        throw ledgerUnreadable(explainDatabaseError(error, targetOf(pool)));
      }
    },
    isAwaited: async (cid) => {
      try {
        return (await pool.query<{ awaited: boolean | null }>(AWAITED, [cid])).rows[0]?.awaited === true;
      } catch (error) {
        throw ledgerUnreadable(explainDatabaseError(error, targetOf(pool)));
      }
    },
  };
}

async function* sortedCids(
  pool: Pool,
  tempDir: string,
  buckets: BucketPins | null,
  signal: AbortSignal,
): AsyncGenerator<LedgerCid> {
  await mkdir(tempDir, { recursive: true, mode: PRIVATE_DIR_MODE });
  const dir = await mkdtemp(join(tempDir, "fula-ledger-"));
  try {
    const held: LedgerCid[] = [];
    for await (const batch of sortLines(allLines(pool, buckets, signal), { dir, signal })) {
      for (const { line } of batch) {
        // oxlint-disable-next-line typescript/no-unsafe-type-assertion -- it is what `asLines` wrote a moment ago
        const next = JSON.parse(line) as LedgerCid;
        const before = held.pop();
        if (before !== undefined && before.cid !== next.cid) yield before;
        held.push(before?.cid === next.cid ? bothOf(before, next) : next);
      }
    }
    yield* held;
  } finally {
    await rm(dir, { recursive: true, force: true });
  }
}

/** Several users may have pinned one CID; it is promised as soon as one of them was told so. */
function bothOf(a: LedgerCid, b: LedgerCid): LedgerCid {
  if (a.state !== b.state) return a.state === "pinned" ? a : b;
  return a.changedMs <= b.changedMs ? a : b;
}

async function* allLines(pool: Pool, buckets: BucketPins | null, signal: AbortSignal): AsyncGenerator<KeyedLine> {
  yield* asLines(readRows(pool, signal));
  if (buckets === null) return;
  try {
    for await (const { cid, place, changedMs } of buckets.cids(signal)) {
      const key = cid ?? JSON.stringify(place);
      const entry: LedgerCid = { cid: key, isCid: cid !== null, text: `${PLACE}${place}`, state: "pinned", changedMs };
      yield { key, line: JSON.stringify(entry) };
    }
  } catch (error) {
    signal.throwIfAborted();
    throw ledgerUnreadable(error);
  }
}

/** Begins the text of what a bucket needs; no text of the ledger's own tables does. */
const PLACE = "bucket ";

async function* asLines(rows: AsyncIterable<CidRow>): AsyncGenerator<KeyedLine> {
  for await (const { cid: text, pinned, changed_ms: changedMs } of rows) {
    const canonical = canonicalCid(text);
    const entry: LedgerCid = {
      cid: canonical ?? text,
      isCid: canonical !== null,
      text,
      state: pinned ? "pinned" : "waiting",
      changedMs: changedMs ?? 0,
    };
    // What is no CID may hold the characters that end a key or a line.
    yield {
      key: canonical ?? JSON.stringify(text),
      line: JSON.stringify({ ...entry, cid: canonical ?? JSON.stringify(text) }),
    };
  }
}

function canonicalCid(text: string): string | null {
  try {
    return parseCid(text).toString();
  } catch (error) {
    if (isFulaError(error)) return null;
    throw error;
  }
}

async function* readRows(pool: Pool, signal: AbortSignal): AsyncGenerator<CidRow> {
  let client: PoolClient | null = null;
  let isOver = false;
  try {
    client = await pool.connect();
    // A cursor lives as long as its transaction; all of it is the ledger of one moment.
    await client.query("begin isolation level repeatable read read only");
    const objects = (await hasTable(client, "gateway_objects")) ? ` union all ${CIDS_OF_OBJECTS}` : "";
    await client.query(`declare fula_sweep no scroll cursor for ${CIDS_OF_USERS}${objects}`);
    for (;;) {
      signal.throwIfAborted();
      const { rows } = await client.query<CidRow>(`fetch ${ROWS_PER_FETCH} from fula_sweep`);
      yield* rows;
      if (rows.length < ROWS_PER_FETCH) break;
    }
    await client.query("commit");
    isOver = true;
  } catch (error) {
    signal.throwIfAborted();
    throw ledgerUnreadable(explainDatabaseError(error, targetOf(pool)));
  } finally {
    // A connection with an open transaction is closed rather than given back.
    client?.release(!isOver);
  }
}

async function hasTable(client: Pool | PoolClient, table: string): Promise<boolean> {
  const { rows } = await client.query<{ there: boolean }>("select to_regclass($1) is not null as there", [table]);
  return rows[0]?.there === true;
}

async function readRecord(
  pool: Pool,
  { cid, text }: Pick<LedgerCid, "cid" | "text">,
  buckets: BucketPins | null,
): Promise<LedgerRecord | null> {
  const values = [[cid, text]];
  const isPlace = buckets !== null && text.startsWith(PLACE);
  const ofBucket = isPlace ? await recordOfBucket(cid, text.slice(PLACE.length), buckets) : null;
  const found = ofBucket ?? (await recordOfUsers(pool, values)) ?? (await recordOfObjects(pool, values));
  if (found === null) return null;
  const isBlocked = (await hasTable(pool, "blocked_cids")) && (await pool.query(BLOCKED, values)).rowCount !== 0;
  const { row, options } = found;
  const state = row.pinned ? "pinned" : "waiting";
  return { state, changedMs: row.changed_ms ?? 0, isBlocked, options, damage: found.damage ?? null };
}

type FoundRecord = {
  readonly row: CidRow;
  readonly options: LedgerRecord["options"];
  readonly damage?: string | null;
} | null;

async function recordOfBucket(cid: string, place: string, buckets: BucketPins): Promise<FoundRecord> {
  const record = await buckets.record(cid, place);
  if (record === null) return null;
  const { name, mode, changedMs, damage } = record;
  const row = { cid, pinned: true, changed_ms: changedMs };
  return { row, options: { name, mode, metadata: GATEWAY_PIN_METADATA, origins: [] }, damage };
}

async function recordOfUsers(pool: Pool, values: readonly unknown[]): Promise<FoundRecord> {
  const [row] = (await pool.query<UserRow>(RECORD_OF_USERS, [...values])).rows;
  if (row === undefined) return null;
  // As the pinning service marks its own: what is pinned again here is let go when its users do.
  const metadata = { ...textsOf(row.meta), ...PINNING_PIN_METADATA };
  return { row, options: { name: row.name ?? "", metadata, origins: listOf(row.origins) } };
}

async function recordOfObjects(pool: Pool, values: readonly unknown[]): Promise<FoundRecord> {
  if (!(await hasTable(pool, "gateway_objects"))) return null;
  const [row] = (await pool.query<CidRow & { readonly name: string }>(RECORD_OF_OBJECTS, [...values])).rows;
  return row === undefined ? null : { row, options: { name: row.name, metadata: GATEWAY_PIN_METADATA, origins: [] } };
}

function parsed(json: string | null): unknown {
  try {
    return JSON.parse(json ?? "null");
  } catch {
    return null;
  }
}

/** The entries of a JSON object that are texts: the others cannot be metadata of a pin. */
function textsOf(json: string | null): Readonly<Record<string, string>> {
  const value = parsed(json);
  if (typeof value !== "object" || value === null || Array.isArray(value)) return {};
  return Object.fromEntries(
    Object.entries(value).filter((entry): entry is [string, string] => typeof entry[1] === "string"),
  );
}

function listOf(json: string | null): readonly string[] {
  const value = parsed(json);
  return Array.isArray(value) ? value.filter((item): item is string => typeof item === "string") : [];
}
