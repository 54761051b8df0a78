import { beforeEach, describe, expect, test } from "vitest";
import type { HoldOutcome } from "../../../../src/lib/blocks/kubo-holds.ts";
import { createCid, RAW_CODEC } from "../../../../src/lib/blocks/cid.ts";
import { createKeeper, type Keeper } from "../../../../src/lib/buckets/keeping/keeper.ts";
import { createLocalHolder } from "../../../../src/lib/buckets/keeping/holder.ts";
import { makePin, type Pin } from "../../../../src/lib/cluster/pins.ts";
import { systemClock } from "../../../../src/lib/kernel/clock.ts";
import { MemoryBlocks } from "../../../support/memory-blocks.ts";
import { createMemoryCluster, type MemoryCluster } from "../../../support/memory-cluster.ts";

const bytes = Buffer.from("content");
const content = createCid(RAW_CODEC, bytes);
const text = content.toString();
const otherBytes = Buffer.from("another");
const other = createCid(RAW_CODEC, otherBytes);
const signal = new AbortController().signal;
const ANNOUNCED_MS = 1_000;

let blocks: MemoryBlocks;
let pins: MemoryCluster;
let events: string[];
let keeper: Keeper;
let held: HoldOutcome;
/** How long each hold takes, from the first on; one after the last takes no time. */
let holdsMs: number[];

beforeEach(async () => {
  blocks = new MemoryBlocks();
  await blocks.put(content, bytes);
  pins = createMemoryCluster();
  events = [];
  held = "made";
  holdsMs = [];
  let nowMs = 0;
  pins.faults.onPut = ({ cid }) => {
    events.push(`pin ${cid}`);
  };
  const holder = createLocalHolder(blocks);
  keeper = createKeeper({
    roots: {
      announce: async (cids) => {
        events.push(`announce ${cids.join(" ")}`);
        return ANNOUNCED_MS + nowMs;
      },
    },
    blocks,
    pins,
    clock: { ...systemClock, monotonicMs: () => nowMs },
    holder: {
      ...holder,
      hold: async (cid, depth, stop) => {
        events.push(`hold ${cid.toString()}`);
        nowMs += holdsMs.shift() ?? 0;
        await holder.hold(cid, depth, stop);
        return held;
      },
    },
  });
});

async function keep(): Promise<number | null> {
  return await keeper.keepContents([{ content, pinName: "object:b/k" }], signal);
}

function pinned(): Pin | undefined {
  return pins.records.get(text);
}

describe("a content", () => {
  test("is announced, then held, then pinned as the gateway's", async () => {
    expect(await keep()).toBe(ANNOUNCED_MS);
    expect(events).toEqual([`announce ${text}`, `hold ${text}`, `pin ${text}`]);
    expect(pinned()).toMatchObject({ mode: "recursive", name: "object:b/k", metadata: { source: "gateway" } });
  });

  test("that takes minutes to prove is announced anew at the end: nobody claims what was announced long ago", async () => {
    holdsMs = [300_000];
    expect(await keep()).toBe(ANNOUNCED_MS + 300_000);
    const once = [`announce ${text}`, `hold ${text}`, `pin ${text}`];
    expect(events).toEqual([...once, ...once]);
  });

  test("that an operator has pinned keeps that pin as it is", async () => {
    const own = makePin(text, "2026-11-20T03:00:00Z", { name: "mine" });
    pins.records.set(text, own);
    await keep();
    expect(pinned()).toEqual(own);
    expect(events).toEqual([`announce ${text}`, `hold ${text}`]);
  });

  test("that the node has pinned and the pinset has not is held again at the end: the cluster was about to take it", async () => {
    held = "present";
    await keep();
    expect(events).toEqual([`announce ${text}`, `hold ${text}`, `pin ${text}`, `hold ${text}`]);
    events.length = 0;
    await keeper.keepBlocks([{ cid: other, bytes: otherBytes }], "index-node:b", signal);
    expect(events.filter((event) => event.startsWith("hold"))).toHaveLength(2);
  });

  test("that the gateway has pinned is pinned again: another peer may have been told already that it can go", async () => {
    await keep();
    const name = pinned()?.name;
    events.length = 0;
    await keeper.keepContents([{ content, pinName: "object:b/copy" }], signal);
    expect(events).toEqual([`announce ${text}`, `hold ${text}`, `pin ${text}`]);
    expect(pinned()?.name).toBe(name);
  });

  test.each([
    ["expires", { expire_at: "2026-12-01T00:00:00Z" }],
    ["holds its root alone", { mode: "direct" as const }],
  ])("whose pin %s is made to hold, and the pin keeps its name", async (_how, options) => {
    pins.records.set(text, makePin(text, "2026-11-20T03:00:00Z", { name: "mine", ...options }));
    await keep();
    expect(pinned()).toMatchObject({ name: "mine", mode: "recursive", max_depth: -1, expire_at: null });
  });

  test("without its blocks is refused, and not pinned", async () => {
    await blocks.delete(content);
    await expect(keep()).rejects.toMatchObject({ code: "FULA_BLOCK_MISSING" });
    expect(pinned()).toBeUndefined();
  });

  test("whose blocks lie with other peers, which keep it for ever, needs none of ours", async () => {
    await blocks.delete(content);
    pins.records.set(text, makePin(text, "2026-11-20T03:00:00Z"));
    await keep();
    pins.reported.set(text, "pinning");
    await expect(keep()).rejects.toMatchObject({ code: "FULA_BLOCK_MISSING" });
  });

  test("of no bytes is neither announced nor pinned: nobody could fetch it", async () => {
    await keeper.keepContents([{ content: createCid(RAW_CODEC, new Uint8Array()), pinName: "object:b/k" }], signal);
    expect(events).toEqual([]);
  });
});

describe("a block of an index", () => {
  test("is pinned by itself", async () => {
    await keeper.keepBlocks([{ cid: content, bytes }], "index-node:b", signal);
    expect(pinned()).toMatchObject({ mode: "direct", max_depth: 0, name: "index-node:b" });
  });

  test("that a garbage collection takes between its put and its hold is put again", async () => {
    let puts = 0;
    blocks.beforePut = async () => {
      puts += 1;
    };
    const get = blocks.has.bind(blocks);
    let looks = 0;
    blocks.has = async (cid) => {
      looks += 1;
      if (looks === 1) await blocks.delete(cid);
      return await get(cid);
    };
    await keeper.keepBlocks([{ cid: content, bytes }], "index-node:b", signal);
    expect(puts).toBe(2);
  });
});
