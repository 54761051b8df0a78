import { CarReader, CarWriter } from "@ipld/car";
import { CID } from "multiformats/cid";
import { describe, expect, test } from "vitest";
import { blockLinks } from "../../../../src/lib/blocks/dag.ts";
import { openBucketIndex } from "../../../../src/lib/buckets/tree/open-index.ts";
import { CountingBlocks, plainEntry } from "../../../support/index-blocks.ts";
import { fleetEntry, hashedKey, OwnIndex } from "../../../support/index-flushes.ts";

/** What any exporter does: from the root along all links, knowing nothing of buckets. Contents are left out. */
async function exportCar(root: CID, blocks: CountingBlocks): Promise<Uint8Array> {
  const { writer, out } = CarWriter.create([root]);
  const written = (async () => {
    const seen = new Map<string, CID>([[root.toString(), root]]);
    for (const cid of seen.values()) {
      if (!blocks.has(cid)) continue;
      const bytes = await blocks.get(cid);
      await writer.put({ cid, bytes });
      for (const link of blockLinks(cid, bytes)) seen.set(link.toString(), link);
    }
    await writer.close();
  })();
  const chunks: Uint8Array[] = [];
  for await (const chunk of out) chunks.push(chunk);
  await written;
  return Buffer.concat(chunks);
}

async function importCar(car: Uint8Array): Promise<{ readonly root: CID; readonly blocks: CountingBlocks }> {
  const reader = await CarReader.fromBytes(car);
  const [root] = await reader.getRoots();
  if (root === undefined) throw new Error("a CAR without a root");
  const blocks = new CountingBlocks();
  for await (const { cid, bytes } of reader.blocks()) await blocks.put({ cid: CID.decode(cid.bytes), bytes });
  return { root: CID.decode(root.bytes), blocks };
}

describe("a CAR of a root", () => {
  test.each([50, 96, 250])("after %i flushes opens elsewhere with all that is in it", async (count) => {
    const index = await OwnIndex.holding(0);
    for (let n = 0; n < count; n += 1) await index.flush(hashedKey(n), fleetEntry(n));
    const { root, blocks } = await importCar(await exportCar(index.index.root, index.blocks));
    const copy = await openBucketIndex(root, blocks);
    const keys: string[] = [];
    for await (const { key, ref } of copy.scan()) {
      keys.push(key);
      const here = await index.index.find(key);
      expect(plainEntry(await copy.readEntry(key, ref))).toEqual(plainEntry(here?.entry));
    }
    expect(keys).toEqual(Array.from({ length: count }, (_none, n) => hashedKey(n)).toSorted());
  });

  test("has no history: a block of the log that an entry was left in leads no further", async () => {
    const index = await OwnIndex.holding(0);
    // The first key is written over and over: of all its entries but one nothing is left after the log was worked in.
    for (let n = 0; n < 96; n += 1) await index.flush(hashedKey(n % 2), fleetEntry(n));
    expect(index.index.logBlocks).toBe(0);
    const { blocks } = await importCar(await exportCar(index.index.root, index.blocks));
    // One leaf and two blocks of the log.
    expect(blocks.blocks.size).toBe(3);
  });
});
