import { afterAll, beforeAll, expect, test } from "vitest";
import { openKuboHolds } from "../../../src/lib/blocks/kubo-holds.ts";
import type { BlockStore } from "../../../src/lib/blocks/block-store.ts";
import { openKuboBlockStore } from "../../../src/lib/blocks/kubo.ts";
import { keepFetched } from "../../../src/lib/gateway/fetch-content.ts";
import { type ContentPiece, dagBytesOf, joinContents } from "../../../src/lib/gateway/join-content.ts";
import { storeContent } from "../../../src/lib/gateway/unixfs.ts";
import { cutAt } from "../../support/aws-chunks.ts";
import { type KuboProcess, startKubos } from "../../support/kubo-process.ts";

const PART_BYTES = 270_000;

let kubos: AsyncDisposable & { readonly nodes: readonly KuboProcess[] };

beforeAll(async () => {
  kubos = await startKubos(2);
});
afterAll(async () => {
  await kubos?.[Symbol.asyncDispose]();
});

// 180 parts, so that one node cannot hold them all; a few are large, so that they have nodes of their own.
const parts = Array.from({ length: 180 }, (_, index) =>
  Buffer.alloc(index % 60 === 0 ? PART_BYTES : 100 + index, `part ${index}, `),
);

function kubo(index: number): KuboProcess {
  const node = kubos.nodes[index];
  if (node === undefined) throw new Error(`There is no Kubo ${index}`);
  return node;
}

const blocksOf = (index: number): BlockStore =>
  openKuboBlockStore(kubo(index).api, { answerMs: 60_000, fetchMs: 60_000 });

async function join(bodies: readonly Buffer[]): Promise<ContentPiece> {
  const blocks = blocksOf(0);
  const pieces: ContentPiece[] = [];
  for (const body of bodies) {
    const { root, sizeBytes } = await storeContent(cutAt(body, []), blocks);
    pieces.push({ root, sizeBytes, dagBytes: await dagBytesOf(root, sizeBytes, blocks) });
  }
  return await joinContents(pieces, blocks);
}

test("Kubo reads a file that was joined from parts: all of it, ranges across borders, its sizes", async () => {
  const joined = await join(parts);
  const whole = Buffer.concat(parts);
  const cid = joined.root.toString();
  expect(kubo(0).ipfs("cat", "--offline", cid)).toBe(whole.toString());
  const border = PART_BYTES + 100 + 1;
  const across = kubo(0).ipfs("cat", "--offline", `--offset=${border - 50}`, "--length=100", cid);
  expect(across).toBe(whole.subarray(border - 50, border + 50).toString());
  const stat = kubo(0).ipfs("files", "stat", "--format=<size> <cumulsize>", `/ipfs/${cid}`);
  expect(stat.trim().split(" ").map(Number)).toEqual([whole.byteLength, joined.dagBytes]);
});

test("parts that another master's node alone has are fetched before the whole is held", async () => {
  const joined = await join([Buffer.alloc(PART_BYTES, "there, "), Buffer.from("not here")]);
  const holds = openKuboHolds(kubo(1).api);
  await expect(holds.hold(joined.root, "recursive")).rejects.toMatchObject({ code: "FULA_BLOCK_MISSING" });
  await keepFetched({ content: joined.root, sizeBytes: joined.sizeBytes }, blocksOf(1), async () => {
    await holds.hold(joined.root, "recursive");
  });
  expect(kubo(1).ipfs("cat", "--offline", joined.root.toString())).toMatch(/not here$/);
});
