import { parseCid } from "../../blocks/cid.ts";
import type { KuboHolds } from "../../blocks/kubo-holds.ts";
import type { PinCluster } from "../../cluster/pins.ts";
import { messageOf } from "../../kernel/errors.ts";
import type { Log } from "../../kernel/log.ts";
import { Slots } from "../../kernel/slots.ts";
import type { Pool } from "../../postgres/pool.ts";
import { countHolds, endHold, type HeldCid, takeHoldsToLookAt } from "./hold-table.ts";
import { judgeHold } from "./judge-hold.ts";

/** What letting go needs. */
export interface ReleaseParts {
  readonly pool: Pool;
  readonly holds: KuboHolds;
  readonly pins: PinCluster;
  /** Peer id of the Kubo node. */
  readonly node: string;
  readonly log: Log;
  readonly signal?: AbortSignal;
}

/** What one look at the holds came to. */
export interface ReleaseReport {
  readonly released: number;
  /** Held still, whatever the reason. */
  readonly waiting: number;
}

const LOOKED_AT_ONCE = 200;
/** A status asks every peer of the cluster. */
const STATUSES_AT_ONCE = 4;

/**
 * Lets our node go of what enough peers of the cluster have. A hold that cannot be judged now stays, and is looked at
 * again later.
 * @throws FulaError where ledger or cluster do not answer
 */
export async function releaseHolds(parts: ReleaseParts): Promise<ReleaseReport> {
  const { pool, pins, node, signal } = parts;
  const peers = await pins.peers(signal);
  const ownPeer = peers.find(({ kuboId }) => kuboId === node)?.id ?? null;
  const slots = new Slots(STATUSES_AT_ONCE);
  let released = 0;
  for (;;) {
    signal?.throwIfAborted();
    const due = await takeHoldsToLookAt(pool, node, LOOKED_AT_ONCE);
    const ended = await Promise.all(
      due.map(async (held) => await slots.run(async () => await release(held, ownPeer, parts))),
    );
    released += ended.filter(Boolean).length;
    if (due.length < LOOKED_AT_ONCE) break;
  }
  return { released, waiting: await countHolds(pool, node) };
}

async function release(held: HeldCid, ownPeer: string | null, parts: ReleaseParts): Promise<boolean> {
  const { pool, holds, pins, node, log, signal } = parts;
  try {
    const pin = await pins.pin(held.cid, signal);
    const status = pin === null ? null : await pins.status(held.cid, { signal });
    const { verdict } = judgeHold({ pin, status, ownPeer, ageMs: held.ageMs });
    if (verdict === "keep") return false;
    return await endHold(pool, node, held, async () => {
      if (verdict === "let-go") await holds.letGo(parseCid(held.cid), signal);
    });
  } catch (error) {
    signal?.throwIfAborted();
    log.warn("buckets.hold.not_judged", { cid: held.cid, message: messageOf(error) });
    return false;
  }
}
