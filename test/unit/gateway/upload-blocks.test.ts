import fc from "fast-check";
import type { CID } from "multiformats/cid";
import { describe, expect, test } from "vitest";
import { createCid, RAW_CODEC } from "../../../src/lib/blocks/cid.ts";
import { type UploadBlocks, UploadRegistry } from "../../../src/lib/gateway/upload-blocks.ts";
import { MemoryBlocks } from "../../support/memory-blocks.ts";
import { property } from "../../support/property.ts";

function block(name: string): { readonly cid: CID; readonly bytes: Uint8Array } {
  const bytes = Buffer.from(name);
  return { cid: createCid(RAW_CODEC, bytes), bytes };
}

async function put(upload: UploadBlocks, ...names: readonly string[]): Promise<void> {
  for (const name of names) {
    const { cid, bytes } = block(name);
    await upload.put(cid, bytes);
  }
}

async function stored(blocks: MemoryBlocks, ...names: readonly string[]): Promise<readonly boolean[]> {
  return await Promise.all(names.map(async (name) => await blocks.has(block(name).cid)));
}

describe("an upload that fails", () => {
  test("leaves no block behind", async () => {
    const blocks = new MemoryBlocks();
    const upload = new UploadRegistry(blocks).begin();
    await put(upload, "a", "b", "a");
    await upload.discard();
    expect(blocks.blocks.size).toBe(0);
  });

  test("leaves what was there before", async () => {
    const blocks = new MemoryBlocks();
    const { cid, bytes } = block("a");
    await blocks.put(cid, bytes);
    const upload = new UploadRegistry(blocks).begin();
    await put(upload, "a", "b");
    await upload.discard();
    expect(await stored(blocks, "a", "b")).toEqual([true, false]);
  });

  test("leaves what an upload before it published", async () => {
    const blocks = new MemoryBlocks();
    const registry = new UploadRegistry(blocks);
    const [good, bad] = [registry.begin(), registry.begin()];
    await put(good, "a");
    await put(bad, "a");
    good.keep();
    await bad.discard();
    expect(await stored(blocks, "a")).toEqual([true]);
  });

  test("leaves what an upload beside it still needs, and that one removes it when it fails too", async () => {
    const blocks = new MemoryBlocks();
    const registry = new UploadRegistry(blocks);
    const [one, two] = [registry.begin(), registry.begin()];
    await put(one, "a");
    await put(two, "a");
    await one.discard();
    expect(await stored(blocks, "a")).toEqual([true]);
    await two.discard();
    expect(await stored(blocks, "a")).toEqual([false]);
  });

  test("does not take a block from one that puts it while it is being removed", async () => {
    const blocks = new MemoryBlocks();
    const registry = new UploadRegistry(blocks);
    const [bad, good] = [registry.begin(), registry.begin()];
    await put(bad, "a");
    const removing = Promise.withResolvers<void>();
    const mayRemove = Promise.withResolvers<void>();
    blocks.beforeDelete = async () => {
      removing.resolve();
      await mayRemove.promise;
    };
    const discarded = bad.discard();
    await removing.promise;
    const putting = put(good, "a");
    mayRemove.resolve();
    await Promise.all([discarded, putting]);
    good.keep();
    expect(await stored(blocks, "a")).toEqual([true]);
  });
});

test("whatever uploads do side by side, all blocks of the published ones stay and no others", async () => {
  const names = ["a", "b", "c", "d"];
  const anyUpload = fc.record({
    puts: fc.array(fc.constantFrom(...names), { maxLength: 6 }),
    succeeds: fc.boolean(),
  });
  await fc.assert(
    fc.asyncProperty(
      fc.scheduler(),
      fc.array(anyUpload, { minLength: 1, maxLength: 6 }),
      async (scheduler, uploads) => {
        const blocks = new MemoryBlocks();
        blocks.beforePut = async () => await scheduler.schedule(Promise.resolve(), "put");
        blocks.beforeDelete = async () => await scheduler.schedule(Promise.resolve(), "delete");
        const registry = new UploadRegistry(blocks);
        const runs = uploads.map(async ({ puts, succeeds }, index) => {
          const upload = registry.begin();
          await scheduler.schedule(Promise.resolve(), `upload ${index}`);
          await put(upload, ...puts);
          if (succeeds) upload.keep();
          else await upload.discard();
        });
        await scheduler.waitFor(Promise.all(runs));
        const wanted = new Set(uploads.flatMap(({ puts, succeeds }) => (succeeds ? puts : [])));
        expect(await stored(blocks, ...names)).toEqual(names.map((name) => wanted.has(name)));
      },
    ),
    property(300),
  );
});
