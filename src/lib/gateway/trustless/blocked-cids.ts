import type { CID } from "multiformats/cid";
import { parseCid } from "../../blocks/cid.ts";
import type { Clock } from "../../kernel/clock.ts";
import type { Pool } from "../../postgres/pool.ts";
import { runQuery } from "../../postgres/run-query.ts";

/** Tells whether one of these contents must not be given out. @throws FulaError where the ledger cannot be asked */
export type IsBlocked = (cids: readonly CID[]) => Promise<boolean>;

/** The list is looked at again after so long: what was blocked is given out by no master after that. */
const REMEMBERED_MS = 10_000;

interface Known {
  /** The list as it was last read whole; another one where anything was put on it or taken off. */
  readonly stamp: string;
  /** Multihashes: bytes have one hash, and many names. */
  readonly hashes: ReadonlySet<string>;
  readonly askedMs: number;
}

function hashOf({ multihash }: CID): string {
  return Buffer.from(multihash.bytes).toString("latin1");
}

/** Null for what is no CID: it names nothing that anybody could ask for. */
function hashOfText(text: string): string | null {
  try {
    return hashOf(parseCid(text));
  } catch {
    return null;
  }
}

async function readStamp(pool: Pool): Promise<string> {
  const { rows } = await runQuery<{ stamp: string }>(pool, {
    name: "blocked_cids_stamp",
    text: "select concat_ws('/', count(*), max(id), sum(id)) as stamp from blocked_cids where mode = 'block'",
    values: [],
  });
  return rows[0]?.stamp ?? "";
}

async function readHashes(pool: Pool): Promise<ReadonlySet<string>> {
  const { rows } = await runQuery<{ cid: string }>(pool, {
    name: "blocked_cids_read",
    text: "select cid from blocked_cids where mode = 'block'",
    values: [],
  });
  return new Set(rows.map(({ cid }) => hashOfText(cid.trim())).filter((hash) => hash !== null));
}

/**
 * Makes a look at the ledger's list of what must not be given out. It is kept in memory, because every block of a CAR file
 * is looked for in it.
 */
export function createIsBlocked(pool: Pool, clock: Clock): IsBlocked {
  let known: Known | null = null;
  let asking: Promise<Known> | null = null;
  const read = async (): Promise<Known> => {
    const askedMs = clock.monotonicMs();
    // Before the list itself: what comes in between is read twice, and not missed.
    const stamp = await readStamp(pool);
    known =
      known !== null && known.stamp === stamp
        ? { ...known, askedMs }
        : { stamp, hashes: await readHashes(pool), askedMs };
    return known;
  };
  const current = async (): Promise<Known> => {
    if (known !== null && clock.monotonicMs() - known.askedMs < REMEMBERED_MS) return known;
    asking ??= read().finally(() => {
      asking = null;
    });
    return await asking;
  };
  return async (cids) => {
    const { hashes } = await current();
    return hashes.size > 0 && cids.some((cid) => hashes.has(hashOf(cid)));
  };
}
