import { CID } from "multiformats/cid";
import { parseCid } from "../blocks/cid.ts";
import type { VerifiedPuts } from "../blocks/kubo.ts";
import type { KuboHolds } from "../blocks/kubo-holds.ts";
import type { Clock } from "../kernel/clock.ts";
import { messageOf } from "../kernel/errors.ts";
import type { Log } from "../kernel/log.ts";
import type { HoldBook } from "./hold-book.ts";
import type { VerifiedBlock } from "./read-block.ts";
import { TurnByKey } from "./turn-by-key.ts";

/** Keeps blocks on this node until the cluster does, or their lease is over. */
export interface BlockKeeper {
  /**
   * Stores a block and holds it for a moment, until somebody says for how long.
   * @throws FulaError FULA_KUBO_UNREACHABLE, FULA_BLOCK_MISMATCH where Kubo names it otherwise
   */
  store(block: VerifiedBlock): Promise<void>;
  /** Holds a block of ours for longer. */
  extend(cid: string, untilMs: number): void;
  /** Lets go of what the cluster keeps, or whose lease is over; what cannot be judged now stays. @returns how many blocks */
  release(signal?: AbortSignal): Promise<number>;
  /** Takes over what Kubo holds for us and the book does not know: the power went off before the file was written. */
  adopt(): Promise<void>;
}

/** What keeping needs. */
export interface KeeperParts {
  readonly blocks: VerifiedPuts;
  readonly holds: KuboHolds;
  readonly book: HoldBook;
  /** How a block stands at the node's own peer, in IPFS Cluster's words; `unpinned` where the pinset does not name it. */
  readonly standingOf: (cid: string, signal: AbortSignal | undefined) => Promise<string>;
  readonly leaseMs: number;
  readonly clock: Clock;
  readonly log: Log;
}

/** Far longer than a master takes to say whose it is. */
const UNATTRIBUTED_MS = 120_000;
const LOOKED_AT_ONCE = 200;
const PAUSE_MS = 30_000;
/** A sweep on a master finds what its peers did not fetch, and has them try again, many times before. */
const KEPT_ELSEWHERE_MS = 86_400_000;

/**
 * True where a hold can end. A follower of the cluster is not told what other peers have: of a block that is kept elsewhere
 * it waits until they must have come to fetch it.
 * @param standing how the block stands at the node's own peer, in IPFS Cluster's words
 * @param leftMs what is left of its lease; negative once it is over
 */
export function mayLetGo(standing: string, leftMs: number): boolean {
  if (standing === "pinned") return true;
  return standing === "unpinned" ? leftMs <= 0 : leftMs <= -KEPT_ELSEWHERE_MS;
}

class NodeKeeper implements BlockKeeper {
  readonly #parts: KeeperParts;
  readonly #turns = new TurnByKey();

  constructor(parts: KeeperParts) {
    this.#parts = parts;
  }

  async store({ cid, bytes }: VerifiedBlock): Promise<void> {
    const { blocks, holds, book, clock } = this.#parts;
    const text = cid.toString();
    await this.#turns.run(text, async () => {
      // Written down first: what a crash leaves is let go of like everything else.
      book.note({ cid: text, untilMs: clock.nowMs() + UNATTRIBUTED_MS });
      await blocks.putVerified(cid, bytes);
      await holds.hold(cid, "direct");
    });
  }

  extend(cid: string, untilMs: number): void {
    this.#parts.book.note({ cid, untilMs });
  }

  async release(signal?: AbortSignal): Promise<number> {
    const { book, clock, log } = this.#parts;
    let released = 0;
    for (;;) {
      const due = book.due(clock.nowMs(), LOOKED_AT_ONCE);
      for (const { cid } of due) {
        signal?.throwIfAborted();
        try {
          if (await this.#releaseOne(cid, signal)) released += 1;
        } catch (error) {
          signal?.throwIfAborted();
          log.warn("ingest.hold.not_judged", { cid, message: messageOf(error) });
          book.postpone(cid, clock.nowMs() + PAUSE_MS);
        }
      }
      if (due.length < LOOKED_AT_ONCE) return released;
    }
  }

  async adopt(): Promise<void> {
    const { holds, book, clock, leaseMs } = this.#parts;
    for await (const cid of holds.held()) {
      const text = CID.createV1(cid.code, cid.multihash).toString();
      if (book.untilOf(text) === null) book.note({ cid: text, untilMs: clock.nowMs() + leaseMs });
    }
  }

  async #releaseOne(cid: string, signal: AbortSignal | undefined): Promise<boolean> {
    const { standingOf, holds, book, clock } = this.#parts;
    const standing = await standingOf(cid, signal);
    return await this.#turns.run(cid, async () => {
      // It may have been sent again since it was found due.
      const leftMs = (book.untilOf(cid) ?? 0) - clock.nowMs();
      if (!mayLetGo(standing, leftMs)) {
        book.postpone(cid, clock.nowMs() + PAUSE_MS);
        return false;
      }
      await holds.letGo(parseCid(cid), signal);
      book.end(cid);
      return true;
    });
  }
}

/** Puts the keeping of blocks together. */
export function createBlockKeeper(parts: KeeperParts): BlockKeeper {
  return new NodeKeeper(parts);
}
