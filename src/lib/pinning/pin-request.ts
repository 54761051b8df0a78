import { isFulaError } from "../kernel/errors.ts";
import type { Random } from "../kernel/random.ts";
import type { Pool } from "../postgres/pool.ts";
import { type TransactionClient, withTransaction } from "../postgres/transaction.ts";
import { contentKey } from "./content-key.ts";
import { PIN_COLUMNS, type PinRecord, pinRecordOf, type PinRow } from "./pin-record.ts";
import { spellingsOf } from "./pin-spellings.ts";
import type { PinWish } from "./pin-wish.ts";
import { enqueuePins, enqueueReplacement } from "./queue/enqueue.ts";

/** Who asks for something to be kept, and what is written down with it. */
export interface PinRequester {
  /** The account that pays, 64 hex digits. */
  readonly userId: string;
  /** Where clients may connect to. */
  readonly delegates: readonly string[];
  readonly random: Random;
}

/** What became of a request. */
export interface PinOutcome {
  readonly record: PinRecord;
  /** False where the user had it already: then it is that request. */
  readonly isNew: boolean;
}

/** The name of the pin that devices find a user's buckets by: of all that have it, they take the one created last. */
const REGISTRY_NAME = "fula-bucket-registry";

/** Locks of the ledger's pin requests; the second number is a hash of the account. */
const LOCK_SPACE = 815_561;

/** Origins that a request has at most. */
const ORIGINS_MAX = 20;

// An account's requests go one after the other: two of one content at once are one, and times of creation only grow.
async function lockAccount(client: TransactionClient, userId: string): Promise<void> {
  await client.query({
    name: "pin_requests_lock",
    text: "select pg_advisory_xact_lock($1, hashtext($2))",
    values: [LOCK_SPACE, userId],
  });
}

/**
 * The request that an account has of a content already, locked: it is neither taken back nor settled before this is done. Of the registry it must be the latest of that name: whoever goes
 * back to an earlier one would else leave devices with the one in between.
 */
async function findPresent(client: TransactionClient, userId: string, wish: PinWish): Promise<PinRow | null> {
  const { rows } = await client.query<PinRow>({
    name: "pin_find_present",
    text: `
      select ${PIN_COLUMNS} from pins p
       where user_id = $1 and status in ('queued', 'pinning', 'pinned')
         and (cid_key = $2 or (cid_key is null and cid = any($3)))
         and ($4 <> $5 or (name = $5 and not exists (
               select from pins later
                where later.user_id = $1 and later.name = $5 and later.status <> 'deleted'
                  and later.created_at > p.created_at)))
       order by created_at desc limit 1
         for update`,
    values: [userId, wish.content, spellingsOf(wish.cid), wish.name, REGISTRY_NAME],
  });
  return rows[0] ?? null;
}

/** What a request takes over from the one of the same content whose place it takes. */
interface Inheritance {
  readonly requestId: string;
}

/** @param heir null where it starts anew */
async function insertPin(
  client: TransactionClient,
  { userId, delegates, random }: PinRequester,
  wish: PinWish,
  heir: Inheritance | null,
): Promise<PinRecord> {
  const { rows } = await client.query<PinRow>({
    name: "pin_insert",
    // Created after every other one of the account, and at whole milliseconds: clients that count time in those page
    // with it as exactly as others. A content that the account has in another spelling keeps that: bills go by it.
    text: `
      insert into pins (requestid, user_id, cid, cid_key, name, name_lowercase, origins, meta, delegates,
                        status, size, measured_at, info, created_at)
      select $1, $2, coalesce(o.cid, $3), $4, $5, $6, $7, $8, $9,
             coalesce(h.status, 'queued'), coalesce(h.size, 0), h.measured_at, coalesce(h.info, '{}'),
             greatest(date_trunc('milliseconds', clock_timestamp()),
                      date_trunc('milliseconds', l.created_at) + interval '1 millisecond')
        from (select max(created_at) as created_at from pins where user_id = $2 and status <> 'deleted') l
        left join pins h on h.requestid = $10
        left join lateral (
          select cid from pins
           where user_id = $2 and (cid_key = $4 or (cid_key is null and cid = any($11)))
             and status in ('queued', 'pinning', 'pinned') and requestid is distinct from $10
           order by id limit 1
        ) o on true
      returning ${PIN_COLUMNS}`,
    values: [
      random.uuid(),
      userId,
      wish.cid,
      wish.content,
      wish.name,
      wish.name.toLowerCase(),
      JSON.stringify(wish.origins),
      JSON.stringify(wish.meta),
      JSON.stringify(delegates),
      heir?.requestId ?? null,
      spellingsOf(wish.cid),
    ],
  });
  const [row] = rows;
  if (row === undefined) throw new Error("The insert of a pin returned no row");
  return pinRecordOf(row);
}

// Whoever asks again for what is still on its way gets it tried at once, from where he says now, too.
async function hurry(client: TransactionClient, present: PinRecord, wish: PinWish): Promise<PinRecord> {
  const origins = [...new Set([...wish.origins, ...present.origins])].slice(0, ORIGINS_MAX);
  const { rows } = await client.query<PinRow>({
    name: "pin_hurry",
    text: `update pins set origins = $2 where requestid = $1 returning ${PIN_COLUMNS}`,
    values: [present.requestId, JSON.stringify(origins)],
  });
  await enqueuePins(client, [wish.content]);
  const [row] = rows;
  return row === undefined ? present : pinRecordOf(row);
}

/**
 * Writes down that a user wants a content kept, and has it done. One that he has asked for already, and that has not
 * failed, stays the request that it is.
 */
export async function requestPin(pool: Pool, requester: PinRequester, wish: PinWish): Promise<PinOutcome> {
  const { userId } = requester;
  return await withTransaction(pool, async (client) => {
    await lockAccount(client, userId);
    const row = await findPresent(client, userId, wish);
    if (row !== null) {
      const present = pinRecordOf(row);
      return { record: present.status === "pinned" ? present : await hurry(client, present, wish), isNew: false };
    }
    const record = await insertPin(client, requester, wish, null);
    // It takes the place of those that came to nothing.
    await client.query({
      name: "pin_drop_failed",
      text: "update pins set status = 'deleted' where user_id = $1 and cid_key = $2 and status = 'failed'",
      values: [userId, wish.content],
    });
    await enqueuePins(client, [wish.content]);
    return { record, isNew: true };
  });
}

/** Empty where the row of other software has no CID that can be read: nothing of it was ever pinned. */
function contentsOf(cid: string): readonly string[] {
  try {
    return [contentKey(cid)];
  } catch (error) {
    if (isFulaError(error, "FULA_CID_INVALID")) return [];
    throw error;
  }
}

/** @returns the CID as it was written; null where there is no such request of this account */
async function dropPin(client: TransactionClient, userId: string, requestId: string): Promise<string | null> {
  const { rows } = await client.query<{ cid: string }>({
    name: "pin_drop",
    text: `
      update pins set status = 'deleted'
       where requestid = $1 and user_id = $2 and status <> 'deleted' returning cid`,
    values: [requestId, userId],
  });
  return rows[0]?.cid ?? null;
}

/** Ends a request. @returns false where there is no such request of this account */
export async function removePin(pool: Pool, userId: string, requestId: string): Promise<boolean> {
  return await withTransaction(pool, async (client) => {
    const cid = await dropPin(client, userId, requestId);
    if (cid === null) return false;
    await enqueuePins(client, contentsOf(cid));
    return true;
  });
}

/**
 * Puts a new request in the place of another one, in one step. Of the same content it is what the other one was: nothing
 * is pinned anew, nor billed twice.
 * @returns null where there is no such request of this account
 */
export async function replacePin(
  pool: Pool,
  requester: PinRequester,
  requestId: string,
  wish: PinWish,
): Promise<PinRecord | null> {
  const { userId } = requester;
  return await withTransaction(pool, async (client) => {
    await lockAccount(client, userId);
    const { rows } = await client.query<PinRow>({
      name: "pin_lock",
      text: `
        select ${PIN_COLUMNS} from pins where requestid = $1 and user_id = $2 and status <> 'deleted' for update`,
      values: [requestId, userId],
    });
    const [old] = rows;
    if (old === undefined) return null;
    const [from] = contentsOf(old.cid);
    const isSame = from === wish.content && old.status !== "failed";
    // Before the old one goes: what both have is at no time nobody's.
    const record = await insertPin(client, requester, wish, isSame ? { requestId } : null);
    await dropPin(client, userId, requestId);
    if (from === undefined || from === wish.content) await enqueuePins(client, [wish.content]);
    else await enqueueReplacement(client, { from, to: wish.content });
    return record;
  });
}
