import { createHash } from "node:crypto";
import { mkdtemp, open, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { CID } from "multiformats/cid";
import { createCid, RAW_CODEC } from "../../src/lib/blocks/cid.ts";
import { type LocalBlockStore, openLocalBlockStore } from "../../src/lib/blocks/local.ts";
import { type Contestant, measureInTurns, printAgainstFirst } from "./measure.ts";

const BLOCK_BYTES = 262_144;
const BLOCKS = 200;
const ROUNDS = 7;

interface Block {
  readonly cid: CID;
  readonly bytes: Uint8Array;
}

/** Different bytes in every round, or a put would find its block there and write nothing. */
function makeBlocks(round: number): readonly Block[] {
  return Array.from({ length: BLOCKS }, (_, index) => {
    const bytes = new Uint8Array(BLOCK_BYTES).fill(index);
    new DataView(bytes.buffer).setUint32(0, round * BLOCKS + index);
    return { cid: createCid(RAW_CODEC, bytes), bytes };
  });
}

async function writePlain(path: string, bytes: Uint8Array): Promise<void> {
  const handle = await open(path, "wx");
  await handle.writeFile(bytes);
  await handle.sync();
  await handle.close();
}

function writers(dir: string, store: LocalBlockStore): readonly Contestant[] {
  const rounds = { plain: 0, ours: 0 };
  const prepared = Array.from({ length: ROUNDS + 1 }, (_, round) => makeBlocks(round));
  return [
    {
      name: "plain write + fsync",
      run: async () => {
        const round = rounds.plain++;
        for (const [index, { bytes }] of (prepared[round] ?? []).entries()) {
          await writePlain(join(dir, `${round}-${index}`), bytes);
        }
      },
    },
    {
      name: "put: hash, temp file, fsync, rename, fsync",
      run: async () => {
        for (const { cid, bytes } of prepared[rounds.ours++] ?? []) await store.put(cid, bytes);
      },
    },
  ];
}

function readers(dir: string, store: LocalBlockStore): readonly Contestant[] {
  const cids = makeBlocks(0).map(({ cid }) => cid);
  return [
    {
      name: "plain read + SHA-256",
      run: async () => {
        for (const index of cids.keys()) {
          createHash("sha256")
            .update(await readFile(join(dir, `0-${index}`)))
            .digest();
        }
      },
    },
    {
      name: "get: read and verify",
      run: async () => {
        for (const cid of cids) await store.get(cid);
      },
    },
  ];
}

/** The local block store against plain files of the same bytes, one block after the other. */
export async function bench(): Promise<void> {
  const dir = await mkdtemp(join(tmpdir(), "fula-bench-blocks-"));
  try {
    const store = await openLocalBlockStore(join(dir, "store"));
    console.log(`${BLOCKS} blocks of ${BLOCK_BYTES / 1024} KiB a round, ${ROUNDS} rounds\n`);
    printAgainstFirst(await measureInTurns(writers(dir, store), ROUNDS));
    console.log("");
    printAgainstFirst(await measureInTurns(readers(dir, store), ROUNDS));
  } finally {
    await rm(dir, { recursive: true, force: true });
  }
}
