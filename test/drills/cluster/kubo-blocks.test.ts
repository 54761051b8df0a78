import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { createCid, RAW_CODEC } from "../../../src/lib/blocks/cid.ts";
import { openKuboBlockStore } from "../../../src/lib/blocks/kubo.ts";
import { describeBlockStore } from "../../contract/block-store.contract.ts";
import { type KuboProcess, startKubos } from "../../support/kubo-process.ts";
import { until } from "../../support/until.ts";

let kubos: AsyncDisposable & { readonly nodes: readonly KuboProcess[] };

beforeAll(async () => {
  kubos = await startKubos(2);
});
afterAll(async () => {
  await kubos?.[Symbol.asyncDispose]();
});

const PATIENCE = { answerMs: 60_000, fetchMs: 300 };

function kubo(index: number): KuboProcess {
  const node = kubos.nodes[index];
  if (node === undefined) throw new Error(`There is no Kubo ${index}`);
  return node;
}

describeBlockStore("Kubo", async () => ({
  store: openKuboBlockStore(kubo(0).api, PATIENCE),
  close: async () => {},
}));

describe("blocks on Kubo", () => {
  const bytes = Buffer.from("a block that both nodes may have");
  const cid = createCid(RAW_CODEC, bytes);

  test("are fetched from a node that is connected, but a node has only what lies on its own disk", async () => {
    await openKuboBlockStore(kubo(0).api, PATIENCE).put(cid, bytes);
    const other = openKuboBlockStore(kubo(1).api, { ...PATIENCE, fetchMs: 60_000 });
    expect(await other.has(cid)).toBe(false);
    expect(Buffer.from(await other.get(cid)).toString()).toBe(bytes.toString());
    expect(await other.has(cid)).toBe(true);
  });

  test("of no bytes are known without asking, because no node could fetch them from another", async () => {
    const nothing = createCid(RAW_CODEC, new Uint8Array());
    const other = openKuboBlockStore(kubo(1).api, PATIENCE);
    expect([await other.has(nothing), (await other.get(nothing)).byteLength]).toEqual([true, 0]);
    const form = new FormData();
    form.append("file", new Blob([]));
    expect((await fetch(`${kubo(0).api}/api/v0/block/put`, { method: "POST", body: form })).ok).toBe(true);
    expect(() => kubo(1).ipfs("block", "get", "--timeout=1s", nothing.toString())).toThrow("deadline exceeded");
  });

  test("that are pinned are not deleted, and the error says so", async () => {
    const store = openKuboBlockStore(kubo(0).api, PATIENCE);
    await store.put(cid, bytes);
    kubo(0).ipfs("pin", "add", cid.toString());
    await expect(store.delete(cid)).rejects.toMatchObject({ code: "FULA_BLOCK_PINNED" });
    expect(await store.has(cid)).toBe(true);
    kubo(0).ipfs("pin", "rm", cid.toString());
    expect(await store.delete(cid)).toBe(true);
  });

  test("of a node that does not run are unreachable, never missing", async () => {
    const store = openKuboBlockStore(kubo(1).api, PATIENCE);
    await kubo(1).process.kill();
    for (const call of [
      () => store.has(cid),
      () => store.get(cid),
      () => store.delete(cid),
      async () => store.put(cid, bytes),
    ]) {
      await expect(call()).rejects.toMatchObject({ code: "FULA_KUBO_UNREACHABLE" });
    }
    await kubo(1).process.start();
    expect(await store.delete(createCid(RAW_CODEC, Buffer.from("was never here")))).toBe(false);
  });

  test("of a node that is frozen are given up after a while", async () => {
    const store = openKuboBlockStore(kubo(1).api, { answerMs: 300, fetchMs: 300 });
    kubo(1).process.freeze();
    const error = await until("it gives no answer", async () =>
      store.has(cid).then(
        () => null,
        (thrown: unknown) => thrown,
      ),
    );
    expect(error).toMatchObject({ code: "FULA_KUBO_UNREACHABLE" });
    kubo(1).process.thaw();
  });
});
