import { createHash } from "node:crypto";
import { blake3 } from "@noble/hashes/blake3.js";
import { describe, expect, test } from "vitest";
import { parseCid } from "../../../src/lib/blocks/cid.ts";
import {
  assertDeclared,
  type BlockHash,
  type BlockWish,
  dueMs,
  readBlock,
} from "../../../src/lib/ingest/read-block.ts";
import { ManualClock } from "../../support/manual-clock.ts";
import { blake3Cid } from "../../support/storage-node.ts";

const BYTES = Buffer.from("seventeen bytes..");

function wishFor(bytes: Uint8Array, more: Partial<BlockWish> = {}): BlockWish {
  return { cid: parseCid(blake3Cid(bytes)), declaredBytes: null, contentMd5: null, maxBytes: 1_000_000, ...more };
}

/** Another implementation than the one that the node takes. */
function hashOf(): BlockHash {
  const hash = blake3.create();
  return { update: (piece) => hash.update(piece), digest: () => hash.digest() };
}

async function* pieces(bytes: Uint8Array, size: number): AsyncGenerator<Uint8Array> {
  for (let at = 0; at < bytes.byteLength; at += size) yield bytes.subarray(at, at + size);
}

async function statusOf(reading: Promise<unknown>): Promise<unknown> {
  return await reading.then(
    () => 200,
    (error: unknown) => (error instanceof Error && "status" in error ? error.status : error),
  );
}

describe("a body", () => {
  test("of any number of pieces is the block that it hashes to", async () => {
    const bytes = Buffer.alloc(300_001, "ab");
    for (const size of [1_000, 65_536, 400_000]) {
      for (const declaredBytes of [null, bytes.byteLength]) {
        const block = await readBlock(pieces(bytes, size), wishFor(bytes, { declaredBytes }), {
          hash: hashOf(),
          clock: new ManualClock(),
        });
        expect(Buffer.compare(block.bytes, bytes)).toBe(0);
      }
    }
  });

  test.each([
    ["empty", new Uint8Array(), {}, 400],
    ["longer than it may be", BYTES, { maxBytes: 16 }, 413],
    ["as long as it may be", BYTES, { maxBytes: 17 }, 200],
    ["shorter than its head says", BYTES, { declaredBytes: 18 }, 400],
    ["with its own MD5", BYTES, { contentMd5: createHash("md5").update(BYTES).digest("base64") }, 200],
    ["with another MD5", BYTES, { contentMd5: createHash("md5").update("x").digest("base64") }, 400],
  ])("%s", async (_, bytes, more, status) => {
    expect(
      await statusOf(readBlock(pieces(bytes, 5), wishFor(bytes, more), { hash: hashOf(), clock: new ManualClock() })),
    ).toBe(status);
  });

  test("that hashes to another CID is told both", async () => {
    const reading = readBlock(pieces(BYTES, 5), wishFor(Buffer.from("other")), {
      hash: hashOf(),
      clock: new ManualClock(),
    });
    const details = { declared: blake3Cid(Buffer.from("other")), actual: blake3Cid(BYTES) };
    await expect(reading).rejects.toMatchObject({ status: 422, details });
  });

  test("that breaks off is not our failure", async () => {
    async function* broken(): AsyncGenerator<Uint8Array> {
      yield BYTES;
      throw new Error("ECONNRESET");
    }
    expect(await statusOf(readBlock(broken(), wishFor(BYTES), { hash: hashOf(), clock: new ManualClock() }))).toBe(400);
  });
});

describe("a slow body", () => {
  /** Sends pieces as the test says, one a call. */
  function handFed(): { readonly body: AsyncIterable<Uint8Array>; readonly feed: (bytes: Uint8Array | null) => void } {
    const { readable, writable } = new TransformStream<Uint8Array, Uint8Array>();
    const writer = writable.getWriter();
    return {
      body: readable,
      feed: (bytes) => {
        void (bytes === null ? writer.close() : writer.write(bytes));
      },
    };
  }

  test("is given up when nothing comes for three seconds", async () => {
    const clock = new ManualClock();
    const reading = statusOf(readBlock(handFed().body, wishFor(BYTES), { hash: hashOf(), clock }));
    await clock.step(2_999);
    await clock.step(1);
    expect(await reading).toBe(408);
  });

  test("is given up when it falls below 16 KiB a second, and not before", async () => {
    const clock = new ManualClock();
    const { body, feed } = handFed();
    const bytes = Buffer.alloc(100_000, "a");
    const reading = statusOf(readBlock(body, wishFor(bytes), { hash: hashOf(), clock }));
    for (let second = 0; second < 5; second += 1) {
      feed(bytes.subarray(second * 16_384, (second + 1) * 16_384));
      await clock.step(1_000);
    }
    await clock.step(2_900);
    let isOver = false;
    void reading.then(() => {
      isOver = true;
    });
    await clock.step(50);
    expect(isOver).toBe(false);
    await clock.step(51);
    expect(await reading).toBe(408);
  });

  test("that is fast enough takes a minute at most", () => {
    expect(dueMs(0)).toBe(3_000);
    expect(dueMs(16 * 1_024)).toBe(4_000);
    expect(dueMs(2 * 1_024 * 1_024)).toBe(60_000);
  });
});

test.each([
  [null, null],
  [1, null],
  [100, null],
  [0, 400],
  [101, 413],
])("a head that declares %s bytes where 100 are the most comes to %s", (declared, status) => {
  let found: unknown = null;
  try {
    assertDeclared(declared, 100);
  } catch (error) {
    found = error instanceof Error && "status" in error ? error.status : error;
  }
  expect(found).toBe(status);
});
