import type { Session } from "../../postgres/session.ts";
import { isFulaError } from "../../kernel/errors.ts";
import { type Lsn, parseLsn } from "../lsn.ts";
import { bringArchived } from "./bring-archived.ts";
import { beginFollowing, type PrimaryView, viewOfPrimary } from "./follow.ts";
import { askOne, assertRunning } from "./ledger-server.ts";
import type { ReplicaWork } from "./replica-work.ts";

/** Between two looks, and so between two chunks, whatever came in meanwhile. */
const CHUNK_MS = 50;

/**
 * Lets this box's server stream from the primary, after what the primary does not hold was brought from the archive, and gives what it has after each chunk. It is over when the primary says
 * that the server streams, in the epoch of the session, and has everything up to `endInclusive`: the server goes on
 * streaming then, and otherwise is left as it is.
 * @throws FulaError FULA_LEDGER_ROLE where the primary is of another epoch; FULA_RECOVERY_STEP where the server ended
 */
export async function* streamWal(
  work: ReplicaWork,
  startExclusive: Lsn,
  endInclusive: Lsn,
  signal: AbortSignal,
): AsyncGenerator<Lsn, void, undefined> {
  const { server, following } = work;
  await using primary = new Reconnecting(async () => await following.primary.connect());
  await using own = new Reconnecting(async () => await server.connect());
  await bringArchived(work, startExclusive, signal);
  {
    await using files = await server.site.open(signal);
    await beginFollowing(files, server, following, { withinMs: work.limits.programMs, signal });
  }
  let reached = startExclusive;
  for (;;) {
    signal.throwIfAborted();
    await assertRunning(server);
    const view = await primary.ask(async (session) => await viewOfPrimary(session, server.node, following));
    if (isThere(view, endInclusive)) {
      yield endInclusive;
      return;
    }
    const position = view?.flushedLsn ?? (await own.ask(ownPosition)) ?? reached;
    if (position > reached) reached = position;
    // The end is only given when the primary has said so: a server can have it, and be stuck.
    if (reached >= endInclusive) reached = endInclusive - 1n;
    yield reached;
    await server.clock.sleep(CHUNK_MS, signal);
  }
}

function isThere(view: PrimaryView | null, endInclusive: Lsn): boolean {
  return view !== null && view.streaming && view.flushedLsn !== null && view.flushedLsn >= endInclusive;
}

/** What the server has received or replayed, for as long as the primary does not know it yet. */
async function ownPosition(session: Session): Promise<Lsn | null> {
  const { position } = await askOne<{ position: string | null }>(session, {
    name: "recovery_own_position",
    text: "select greatest(pg_last_wal_receive_lsn(), pg_last_wal_replay_lsn())::text as position",
    values: [],
  });
  return position === null ? null : parseLsn(position);
}

/** One connection that is made anew when it is lost: a server that starts lets nobody in for a while. */
class Reconnecting implements AsyncDisposable {
  readonly #connect: () => Promise<Session>;
  #session: Session | null = null;

  constructor(connect: () => Promise<Session>) {
    this.#connect = connect;
  }

  /** @returns null where the server cannot be asked now */
  async ask<T>(question: (session: Session) => Promise<T>): Promise<T | null> {
    try {
      this.#session ??= await this.#connect();
      return await question(this.#session);
    } catch (error) {
      await this[Symbol.asyncDispose]();
      if (!isFulaError(error, "FULA_DATABASE_UNREACHABLE")) throw error;
      return null;
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const session = this.#session;
    this.#session = null;
    await session?.[Symbol.asyncDispose]();
  }
}
