import { chmod, mkdir, mkdtemp, readdir, readFile, rm, stat, truncate, utimes, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { createCid, RAW_CODEC } from "../../../src/lib/blocks/cid.ts";
import { type LocalBlockStore, openLocalBlockStore } from "../../../src/lib/blocks/local.ts";
import { describeBlockStore } from "../../contract/block-store.contract.ts";

let dir: string;
let store: LocalBlockStore;

beforeEach(async () => {
  dir = join(await mkdtemp(join(tmpdir(), "fula-blocks-")), "blocks");
  store = await openLocalBlockStore(dir);
});
afterEach(async () => {
  await rm(dirname(dir), { recursive: true, force: true });
});

describeBlockStore("LocalBlockStore", async () => {
  const own = await mkdtemp(join(tmpdir(), "fula-blocks-contract-"));
  return {
    store: await openLocalBlockStore(join(own, "blocks")),
    close: async () => {
      await rm(own, { recursive: true, force: true });
    },
  };
});

async function files(): Promise<string[]> {
  const found = await readdir(dir, { recursive: true });
  return found.filter((name) => name.endsWith(".data")).toSorted();
}

async function putText(text: string): Promise<ReturnType<typeof createCid>> {
  const bytes = Buffer.from(text);
  const cid = createCid(RAW_CODEC, bytes);
  await store.put(cid, bytes);
  return cid;
}

async function onlyFile(): Promise<string> {
  const [name, ...more] = await files();
  expect(more).toEqual([]);
  return join(dir, name ?? "");
}

async function corrupt(change: (path: string) => Promise<void>): Promise<ReturnType<typeof createCid>> {
  const cid = await putText("precious bytes");
  const path = await onlyFile();
  await chmod(path, 0o600);
  await change(path);
  return cid;
}

async function firstFile(): Promise<string> {
  const [name] = await files();
  return join(dir, name ?? "");
}

describe("layout", () => {
  test("is that of Kubo's flatfs, so that a Kubo node can take the directory over", async () => {
    // The key: printf 'hello world\n' | sha256sum | cut -c1-64 | sed s/^/1220/ | xxd -r -p | base32 | tr -d =
    // The shard is the two characters before the key's last one, as in blocks/ of a Kubo repository.
    await putText("hello world\n");
    expect(await files()).toEqual(["IR/CIQKSSEQJ4XQ6R43R6AZO2KLGAMEWDJO2HA42KQ6YD5YLUUZUGJKIRY.data"]);
    expect(await readFile(join(dir, "SHARDING"), "utf8")).toBe("/repo/flatfs/shard/v1/next-to-last/2\n");
  });

  test("a block is readable by its owner alone", async () => {
    await putText("private");
    expect((await stat(await onlyFile())).mode & 0o777).toBe(0o600);
    expect((await stat(dir)).mode & 0o777).toBe(0o700);
  });

  test("nothing is left in the temp directory by puts, refused ones included", async () => {
    await putText("whole");
    await expect(store.put(createCid(RAW_CODEC, Buffer.from("x")), Buffer.from("y"))).rejects.toThrow();
    expect(await readdir(join(dir, ".temp"))).toEqual([]);
  });
});

describe("opening", () => {
  test("removes temp files that a crash left an hour ago, and leaves those of a running put", async () => {
    const [old, fresh] = [join(dir, ".temp", "old"), join(dir, ".temp", "fresh")];
    await writeFile(old, "half a block");
    await writeFile(fresh, "half a block");
    const past = new Date(Date.now() - 2 * 3_600_000);
    await utimes(old, past, past);
    await openLocalBlockStore(dir);
    expect(await readdir(join(dir, ".temp"))).toEqual(["fresh"]);
  });

  test("refuses a directory that is sharded in another way, and leaves it as it is", async () => {
    await writeFile(join(dir, "SHARDING"), "/repo/flatfs/shard/v1/prefix/2\n");
    await expect(openLocalBlockStore(dir)).rejects.toMatchObject({ code: "FULA_BLOCK_STORE_FORMAT" });
    expect(await readFile(join(dir, "SHARDING"), "utf8")).toBe("/repo/flatfs/shard/v1/prefix/2\n");
  });

  test("refuses a directory with somebody's files in it, and writes nothing there", async () => {
    const foreign = join(dirname(dir), "foreign");
    await mkdir(foreign);
    await writeFile(join(foreign, "thesis.txt"), "mine");
    await expect(openLocalBlockStore(foreign)).rejects.toMatchObject({ code: "FULA_BLOCK_STORE_FORMAT" });
    expect(await readdir(foreign)).toEqual(["thesis.txt"]);
  });

  test("finds the blocks of an earlier run", async () => {
    const cid = await putText("still here");
    const again = await openLocalBlockStore(dir);
    expect(Buffer.from(await again.get(cid)).toString()).toBe("still here");
  });
});

describe("a block that the disk changed", () => {
  test.each([
    ["one flipped bit", async (path: string) => writeFile(path, "precious bytez")],
    ["a cut file", async (path: string) => truncate(path, 3)],
    ["an empty file", async (path: string) => truncate(path, 0)],
    ["a file that grew", async (path: string) => writeFile(path, "precious bytes and more")],
    ["a file far above the limit", async (path: string) => truncate(path, 5_000_000)],
  ])("%s is never given out, is moved aside, and can be stored anew", async (_what, change) => {
    const cid = await corrupt(change);
    await expect(store.get(cid)).rejects.toMatchObject({ code: "FULA_BLOCK_CORRUPT" });
    expect(await store.has(cid)).toBe(false);
    expect(await readdir(join(dir, ".corrupt"))).toHaveLength(1);
    expect(await store.usage()).toMatchObject({ blocks: 0, corrupt: 1 });
    await store.put(cid, Buffer.from("precious bytes"));
    expect(Buffer.from(await store.get(cid)).toString()).toBe("precious bytes");
  });

  test("what was moved aside still has the bytes that were found", async () => {
    const cid = await corrupt(async (path) => writeFile(path, "precious bytez"));
    await expect(store.get(cid)).rejects.toThrow();
    const [name] = await readdir(join(dir, ".corrupt"));
    expect(await readFile(join(dir, ".corrupt", name ?? ""), "utf8")).toBe("precious bytez");
  });

  test("a file that a crash cut short is replaced by the next put, without a get in between", async () => {
    const cid = await corrupt(async (path) => truncate(path, 3));
    await store.put(cid, Buffer.from("precious bytes"));
    expect(Buffer.from(await store.get(cid)).toString()).toBe("precious bytes");
  });
});

describe("list, stat and usage", () => {
  test("tell every block once, with its size, and nothing else", async () => {
    const cids = await Promise.all(["a", "bb", "ccc"].map(putText));
    await writeFile(join(dir, "README"), "left by a person");
    await writeFile(join(dirname(await firstFile()), "notes.data"), "not a key");
    const listed: string[] = [];
    for await (const cid of store.list()) listed.push(cid.toString());
    expect(listed.toSorted()).toEqual(cids.map((cid) => cid.toString()).toSorted());
    expect(await Promise.all(cids.map(async (cid) => store.stat(cid)))).toEqual(
      [1, 2, 3].map((sizeBytes) => ({ sizeBytes })),
    );
    expect(await store.usage()).toEqual({ blocks: 3, bytes: 6, corrupt: 0 });
  });

  test("an empty store has nothing", async () => {
    expect(await store.usage()).toEqual({ blocks: 0, bytes: 0, corrupt: 0 });
    expect(await store.stat(createCid(RAW_CODEC, Buffer.from("a")))).toBeNull();
  });

  test("a listing ends with its signal", async () => {
    await putText("a");
    const listing = store.list(AbortSignal.abort(new Error("stop")));
    await expect(listing[Symbol.asyncIterator]().next()).rejects.toThrow("stop");
  });
});

describe("a block that was added and not wanted after all", () => {
  const bytes = Buffer.from("second thoughts");
  const cid = createCid(RAW_CODEC, bytes);

  test("is taken back, and leaves no file behind", async () => {
    const added = await store.add(cid, bytes);
    await added?.takeBack();
    expect(await store.has(cid)).toBe(false);
    expect(await readdir(join(dir, ".temp"))).toEqual([]);
  });

  test("stays where another process has put it meanwhile, which wrote nothing", async () => {
    const added = await store.add(cid, bytes);
    const other = await openLocalBlockStore(dir);
    expect(await other.add(cid, bytes)).toBeNull();
    await added?.takeBack();
    expect(await store.has(cid)).toBe(true);
  });

  test("is there for whoever puts it at the same time, however the two meet", async () => {
    const other = await openLocalBlockStore(dir);
    for (let round = 0; round < 40; round += 1) {
      const added = await store.add(cid, bytes);
      await Promise.all([added?.takeBack(), other.put(cid, bytes)]);
      expect(await other.has(cid)).toBe(true);
      await other.delete(cid);
    }
  });
});
