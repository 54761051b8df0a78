import type { CID } from "multiformats/cid";
import type { BlockStore } from "../../blocks/block-store.ts";
import type { HoldOutcome } from "../../blocks/kubo-holds.ts";
import { isEmptyBlock } from "../../blocks/cid.ts";
import { GATEWAY_PIN_METADATA, isGatewayPin, madeToHold } from "../../cluster/pin-source.ts";
import { makePin, type Pin, type PinCluster } from "../../cluster/pins.ts";
import { type Clock, formatUtc } from "../../kernel/clock.ts";
import { coalesce } from "../../kernel/coalesce.ts";
import { isFulaError } from "../../kernel/errors.ts";
import { Slots } from "../../kernel/slots.ts";
import type { RootPointerStore } from "../roots/root-pointer.ts";
import type { NewBlock } from "../tree/node-store.ts";
import type { Holder } from "./holder.ts";

/** A content and the name of its pin. */
export interface NamedContent {
  readonly content: CID;
  readonly pinName: string;
}

/**
 * Keeps what a root is going to refer to, before it does. Whatever is kept stands on the collector's queue first, so
 * that it is found if nothing ever comes to refer to it; then our own node holds it, which proves that every block is
 * there; then the pinset has it. Only the move that refers to it takes it off the queue.
 */
export interface Keeper {
  /**
   * Keeps whole contents, blocks that they name and all.
   * @returns when they were announced, by the arbiter's clock; null where there was nothing to keep
   * @throws FulaError FULA_BLOCK_MISSING, and what ledger and pinset throw
   */
  keepContents(contents: readonly NamedContent[], signal: AbortSignal): Promise<number | null>;
  /**
   * Stores and keeps blocks of an index, each by itself: it is the root that names the others, and it moves on.
   * @returns as `keepContents`
   */
  keepBlocks(blocks: readonly NewBlock[], pinName: string, signal: AbortSignal): Promise<number | null>;
}

/** What keeping needs. */
export interface KeeperParts {
  readonly roots: Pick<RootPointerStore, "announce">;
  readonly blocks: Pick<BlockStore, "put">;
  readonly holder: Holder;
  readonly pins: PinCluster;
  readonly clock: Clock;
}

/** CIDs that are announced in one statement. */
const ANNOUNCED_AT_ONCE = 1_000;
/** Contents that are kept at the same time, for all buckets together: a large one takes long to prove. */
const CONTENTS_AT_ONCE = 16;
/** The same of blocks of indexes, apart: flushes of all buckets wait for them. */
const BLOCKS_AT_ONCE = 16;
/** A block that a garbage collection of the node takes between its put and its hold is put again. */
const PUT_ATTEMPTS = 3;

/** What was announced so long ago when it is kept is announced anew. Far below the age at which it is no longer claimed. */
const FRESH_MS = 20_000;

/**
 * True where the node's pin may be one that the cluster is about to take away, because the pinset has it no more. Once it is
 * in the pinset again, the node is asked once more: by then that has happened, or does not any more.
 */
function isGoing(held: HoldOutcome, present: Pin | null): boolean {
  return held === "present" && present === null;
}

interface Announcement {
  readonly cid: string;
  /** Set when it was made. */
  atMs: number | null;
}

class PinningKeeper implements Keeper {
  readonly #parts: KeeperParts;
  readonly #contents = new Slots(CONTENTS_AT_ONCE);
  readonly #blocks = new Slots(BLOCKS_AT_ONCE);
  readonly #announce: (announcements: readonly Announcement[]) => Promise<void>;

  constructor(parts: KeeperParts) {
    this.#parts = parts;
    this.#announce = coalesce({ batchMax: ANNOUNCED_AT_ONCE }, async (announcements) => {
      const atMs = await parts.roots.announce([...new Set(announcements.map(({ cid }) => cid))].toSorted());
      for (const announcement of announcements) announcement.atMs = atMs;
    });
  }

  async keepContents(contents: readonly NamedContent[], signal: AbortSignal): Promise<number | null> {
    const { clock } = this.#parts;
    for (;;) {
      const beganMs = clock.monotonicMs();
      const announcedMs = await this.#keepAll(contents, signal);
      // Proving a large content may take longer than an announcement holds. By now it is held and pinned, and to look
      // once more that it is takes a moment.
      if (announcedMs === null || clock.monotonicMs() - beganMs <= FRESH_MS) return announcedMs;
    }
  }

  async #keepAll(contents: readonly NamedContent[], signal: AbortSignal): Promise<number | null> {
    // There is nothing to keep of an empty object, and a cluster could not replicate it.
    const kept = contents.filter(({ content }) => !isEmptyBlock(content));
    const announcedMs = await this.#announceAll(kept.map(({ content }) => content));
    await Promise.all(
      kept.map(async ({ content, pinName }) => {
        await this.#contents.run(async () => {
          const [present, held] = await Promise.all([
            this.#parts.pins.pin(content.toString(), signal),
            this.#holdWhole(content, signal),
          ]);
          if (held === "elsewhere") return;
          await this.#pin(content, present, "recursive", pinName, signal);
          if (isGoing(held, present)) await this.#parts.holder.hold(content, "recursive", signal);
        });
      }),
    );
    return announcedMs;
  }

  async keepBlocks(blocks: readonly NewBlock[], pinName: string, signal: AbortSignal): Promise<number | null> {
    // A block that is stored and never announced is one that nobody pins.
    const storing = Promise.all(
      blocks.map(async ({ cid, bytes }) => {
        await this.#blocks.run(async () => {
          await this.#parts.blocks.put(cid, bytes, signal);
        });
      }),
    );
    const [announcedMs] = await Promise.all([this.#announceAll(blocks.map(({ cid }) => cid)), storing]);
    await Promise.all(
      blocks.map(async (block) => {
        await this.#blocks.run(async () => {
          const [present, held] = await Promise.all([
            this.#parts.pins.pin(block.cid.toString(), signal),
            this.#holdStored(block, signal),
          ]);
          await this.#pin(block.cid, present, "direct", pinName, signal);
          if (isGoing(held, present)) await this.#holdStored(block, signal);
        });
      }),
    );
    return announcedMs;
  }

  /** @returns when, by the arbiter's clock; null where there are none */
  async #announceAll(cids: readonly CID[]): Promise<number | null> {
    if (cids.length === 0) return null;
    const announcements = cids.map((cid): Announcement => ({ cid: cid.toString(), atMs: null }));
    await Promise.all([this.#announce(announcements), this.#parts.holder.note(cids)]);
    return announcements[0]?.atMs ?? null;
  }

  /**
   * Not every node of a cluster has every content: one that comes without its blocks (a copy, a CID that is mapped) may
   * lie with others.
   * @returns `elsewhere` where others have it and keep it for ever
   */
  async #holdWhole(content: CID, signal: AbortSignal): Promise<HoldOutcome | "elsewhere"> {
    const { holder, pins } = this.#parts;
    try {
      return await holder.hold(content, "recursive", signal);
    } catch (error) {
      if (!isFulaError(error, "FULA_BLOCK_MISSING")) throw error;
      const text = content.toString();
      const pin = await pins.pin(text, signal);
      if (pin === null || madeToHold(pin, "recursive") !== null) throw error;
      const status = await pins.status(text, { signal });
      if (status?.peers.some((peer) => peer.status === "pinned") !== true) throw error;
      return "elsewhere";
    }
  }

  /** Holds a block that was stored a moment ago. */
  async #holdStored({ cid, bytes }: NewBlock, signal: AbortSignal): Promise<HoldOutcome> {
    for (let attempt = 1; ; attempt += 1) {
      try {
        return await this.#parts.holder.hold(cid, "direct", signal);
      } catch (error) {
        if (attempt === PUT_ATTEMPTS || !isFulaError(error, "FULA_BLOCK_MISSING")) throw error;
      }
      await this.#parts.blocks.put(cid, bytes, signal);
    }
  }

  async #pin(cid: CID, present: Pin | null, mode: Pin["mode"], name: string, signal: AbortSignal): Promise<void> {
    const { pins, clock } = this.#parts;
    const text = cid.toString();
    signal.throwIfAborted();
    if (present === null) {
      const options = { ...pins.defaultFactors, mode, name, metadata: GATEWAY_PIN_METADATA };
      await pins.put(makePin(text, formatUtc(clock.nowMs()), options));
      return;
    }
    // One of ours may be on its way out: another master's collector takes it away at its own peer of the cluster, and ours
    // learns of that later. What is put after the announcement stays.
    const holding = madeToHold(present, mode) ?? (isGatewayPin(present) ? present : null);
    if (holding !== null) await pins.put(holding);
  }
}

/** Puts ledger, node and pinset together. */
export function createKeeper(parts: KeeperParts): Keeper {
  return new PinningKeeper(parts);
}
