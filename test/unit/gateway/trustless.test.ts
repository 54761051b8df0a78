import * as dagCbor from "@ipld/dag-cbor";
import * as dagPb from "@ipld/dag-pb";
import { CreateBucketCommand, GetObjectCommand, PutObjectCommand } from "@aws-sdk/client-s3";
import { UnixFS } from "ipfs-unixfs";
import { CID } from "multiformats/cid";
import { create as createMultihash } from "multiformats/hashes/digest";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { createCid, DAG_PB_CODEC, IDENTITY, RAW_CODEC } from "../../../src/lib/blocks/cid.ts";
import { createTrustlessGateway } from "../../../src/lib/gateway/trustless/answer-content.ts";
import { FulaError } from "../../../src/lib/kernel/errors.ts";
import { readCar, storeFileOver, storeFiles, type StoredFiles } from "../../support/content-dags.ts";
import { type Answer, sendHttp, sendSigned } from "../../support/http.ts";
import { MemoryBlocks } from "../../support/memory-blocks.ts";
import { type MemoryGateway, startMemoryGateway } from "../../support/memory-gateway.ts";

const CAR = "application/vnd.ipld.car";
const RAW = "application/vnd.ipld.raw";
/** Seven chunks of ten bytes each. */
const BIG = Array.from({ length: 7 }, (_, index) => `chunk #${index}! `).join("");

let gateway: MemoryGateway;
let blocks: MemoryBlocks;
let plain: StoredFiles;
let sharded: StoredFiles;
const blocked = new Set<string>();

beforeAll(async () => {
  blocks = new MemoryBlocks();
  plain = await storeFiles(blocks, { "sub/a.txt": "hello", "sub/b ü.txt": "hello", "sub/big.txt": BIG });
  const many = Array.from({ length: 300 }, (_, index) => [`${index}.txt`, `file ${index}`] as const);
  sharded = await storeFiles(blocks, Object.fromEntries(many), true);
  gateway = await startMemoryGateway({
    trustless: createTrustlessGateway({
      blocks,
      isBlocked: async (cids) => cids.some((cid) => blocked.has(cid.toString())),
    }),
  });
});

afterAll(async () => {
  await gateway[Symbol.asyncDispose]();
});

function cidOf(files: StoredFiles, path = ""): CID {
  const cid = files[path];
  if (cid === undefined) throw new Error(`Nothing was stored as ${path}`);
  return cid;
}

async function ask(path: string, headers: Readonly<Record<string, string>> = {}, method = "GET"): Promise<Answer> {
  const lines = Object.entries({ host: "localhost", ...headers });
  return await sendHttp(gateway.port, { method, target: `/ipfs/${path}`, headers: lines });
}

async function askCar(path: string, headers: Readonly<Record<string, string>> = {}): Promise<string[]> {
  const { status, body } = await ask(path, headers);
  if (status !== 200) throw new Error(`${status}: ${body.toString()}`);
  return (await readCar(body)).blocks;
}

/** What a raw block names. */
async function linksOf(cid: CID): Promise<CID[]> {
  return dagPb.decode(await blocks.get(cid)).Links.map(({ Hash }) => Hash);
}

describe("a block", () => {
  test.each([
    ["by the query", "?format=raw", {}],
    ["by the Accept header", "", { accept: `${RAW}, */*;q=0.1` }],
    ["by the query, whatever the header likes", "?format=raw", { accept: CAR }],
  ])("is given out as it is where it is asked for %s", async (_how, query, headers) => {
    const cid = cidOf(plain, "sub");
    const answer = await ask(`${cid.toString()}${query}`, headers);
    expect([answer.status, answer.headers["content-type"], answer.headers["content-length"]]).toEqual([
      200,
      RAW,
      String(answer.body.byteLength),
    ]);
    expect(answer.body.equals(await blocks.get(cid))).toBe(true);
  });

  test("tells caches that it never changes, and browsers not to look into it", async () => {
    const cid = cidOf(plain, "sub/a.txt").toString();
    const { headers } = await ask(cid, { accept: RAW, origin: "https://app.example.org" });
    expect(headers).toMatchObject({
      etag: `"${cid}.raw"`,
      "cache-control": "public, max-age=29030400, immutable",
      "content-disposition": `attachment; filename="${cid}.bin"`,
      "x-content-type-options": "nosniff",
      "x-ipfs-path": `/ipfs/${cid}`,
      "x-ipfs-roots": cid,
      "content-location": `/ipfs/${cid}?format=raw`,
      vary: "Accept, Origin",
      "access-control-allow-origin": "*",
    });
    const named = await ask(`${cid}?format=raw&filename=${encodeURIComponent('tä"st.bin')}`);
    expect(named.headers["content-disposition"]).toBe(
      `attachment; filename="t__st.bin"; filename*=UTF-8''t%C3%A4%22st.bin`,
    );
    expect(named.headers["content-location"]).toBeUndefined();
  });

  test("is not sent again to whoever has it, and not at all to a HEAD", async () => {
    const cid = cidOf(plain, "sub/a.txt").toString();
    const again = await ask(`${cid}?format=raw`, { "if-none-match": `W/"${cid}.raw"` });
    expect([again.status, again.body.byteLength, again.headers["etag"]]).toEqual([304, 0, `"${cid}.raw"`]);
    expect((await ask(`${cid}?format=raw`, { "if-none-match": '"other"' })).status).toBe(200);
    const head = await ask(`${cid}?format=raw`, {}, "HEAD");
    expect([head.status, head.headers["content-length"], head.body.byteLength]).toEqual([200, "5", 0]);
  });

  test("is answered from its CID where that is the content itself", async () => {
    const inline = CID.createV1(RAW_CODEC, createMultihash(IDENTITY, Buffer.from("inside")));
    expect((await ask(`${inline.toString()}?format=raw`)).body.toString()).toBe("inside");
    const probe = await ask("bafkqaaa?format=raw");
    expect([probe.status, probe.body.byteLength]).toEqual([200, 0]);
    const { roots, blocks: sent } = await readCar((await ask("bafkqaaa?format=car")).body);
    expect([roots, sent]).toEqual([["bafkqaaa"], []]);
    expect((await ask("bafkqaaa?format=car", {}, "HEAD")).status).toBe(200);
  });

  test("that no block is: nothing is fetched for whoever asks without a key", async () => {
    const absent = createCid(RAW_CODEC, Buffer.from("nobody has it")).toString();
    for (const query of ["?format=raw", "?format=car", "/a/b?format=car"]) {
      const answer = await ask(`${absent}${query}`);
      expect([answer.status, answer.headers["content-type"]]).toEqual([404, "text/plain; charset=utf-8"]);
      expect(answer.body.toString()).toContain(absent);
    }
    expect((await ask(`${absent}?format=car`, { "cache-control": "no-transform, only-if-cached" })).status).toBe(412);
    expect(gateway.exchanges.at(-1)).toMatchObject({ operation: "GetContent", code: "PreconditionFailed" });
  });
});

describe("what is asked for in another way than it can be answered", () => {
  const cid = "bafkqaaa";
  test.each([
    ["without a format", cid, {}, 406],
    ["in any format", cid, { accept: "*/*" }, 406],
    ["as a page", cid, { accept: "text/html,application/xhtml+xml,*/*;q=0.8" }, 406],
    ["as JSON", `${cid}?format=dag-json`, {}, 406],
    ["as a CAR file of version 2", cid, { accept: `${CAR}; version=2` }, 406],
    ["in an order that is none of ours", cid, { accept: `${CAR}; order=bfs` }, 406],
    ["as a CAR file that the header does not want", `${cid}?format=car`, { accept: `${CAR}; order=bfs` }, 406],
    ["not at all", cid, { accept: `${CAR}; q=0, ${RAW};q=0` }, 406],
    ["in an order of the query that is none of ours", `${cid}?format=car&car-order=bfs`, {}, 400],
    ["in a version of the query that is none of ours", `${cid}?format=car&car-version=2`, {}, 400],
    ["with a scope that there is not", `${cid}?format=car&dag-scope=half`, {}, 400],
    ["with bytes that are no range", `${cid}?format=car&entity-bytes=5`, {}, 400],
    ["with bytes of a fraction", `${cid}?format=car&entity-bytes=0.5:1`, {}, 400],
    ["by what is no CID", "hello?format=raw", {}, 400],
    ["by a CID in another spelling", `${cid.toUpperCase()}?format=raw`, {}, 400],
    ["as a single block on a path", `${cid}/a?format=raw`, {}, 400],
    ["on a path that is no UTF-8", `${cid}/%FF?format=car`, {}, 400],
    ["with a stray per cent sign", `${cid}/%G?format=car`, {}, 400],
    ["on an endless path", `${cid}/${"a/".repeat(65)}?format=car`, {}, 400],
    ["with a format twice", `${cid}?format=raw&format=car`, {}, 400],
    ["by a hash that nobody here can check", "bafkreaaa?format=raw", {}, 400],
  ])("%s is refused", async (_how, path, headers, status) => {
    const answer = await ask(path, headers);
    expect([answer.status, answer.headers["content-type"]]).toEqual([status, "text/plain; charset=utf-8"]);
    if (status === 406) expect(answer.body.toString()).toMatch(/format=raw or format=car/);
  });

  test.each([
    ["prefers the one that is liked more", `${CAR};q=0.5, ${RAW};q=0.9`, RAW],
    ["takes the first of two that are liked the same", `${CAR}, ${RAW}`, `${CAR}; version=1; order=dfs; dups=n`],
    [
      "passes over what it has not",
      `${CAR};order=bfs, ${CAR};order=dfs;dups=y;q=0.2`,
      `${CAR}; version=1; order=dfs; dups=y`,
    ],
    ["tells its order where any is good", `${CAR}; version=1; order=unk`, `${CAR}; version=1; order=dfs; dups=n`],
    [
      "reads quoted parameters, and names in capitals",
      `Application/VND.ipld.car; DUPS="y"`,
      `${CAR}; version=1; order=dfs; dups=y`,
    ],
  ])("of several formats %s", async (_what, accept, type) => {
    const { status, headers } = await ask(cid, { accept });
    expect([status, headers["content-type"]]).toEqual([200, type]);
  });
});

describe("a CAR file", () => {
  test("has every block of a directory, depth first, each once", async () => {
    const [root, sub] = [cidOf(plain), cidOf(plain, "sub")];
    const [a, , big] = await linksOf(sub);
    const chunks = await linksOf(cidOf(plain, "sub/big.txt"));
    const expected = [root, sub, a, big, ...chunks].map(String);
    expect(await askCar(`${root.toString()}?format=car`)).toEqual(expected);
    // The first two files are the same block.
    const twice = [root, sub, a, a, big, ...chunks].map(String);
    expect(await askCar(`${root.toString()}?format=car&car-dups=y`)).toEqual(twice);
    expect(await askCar(root.toString(), { accept: `${CAR}; dups=y` })).toEqual(twice);
  });

  test("shows the path that leads to what was asked for", async () => {
    const [root, sub, b] = [cidOf(plain), cidOf(plain, "sub"), cidOf(plain, "sub/b ü.txt")];
    const { status, headers, body } = await ask(`${root.toString()}/sub//b%20%C3%BC.txt/?format=car`);
    const car = await readCar(body);
    expect([status, car]).toEqual([200, { roots: [b.toString()], blocks: [root, sub, b].map(String) }]);
    expect(headers).toMatchObject({
      "x-ipfs-roots": [root, sub, b].join(","),
      "content-disposition": `attachment; filename="${root.toString()}.car"`,
      "accept-ranges": "none",
    });
    expect(String(headers["etag"])).toMatch(new RegExp(String.raw`^W/"${b.toString()}\.car\.all\.[0-9a-f]{16}"$`));
    const again = await ask(`${root.toString()}/sub/b%20%C3%BC.txt?format=car`, {
      "if-none-match": String(headers["etag"]),
    });
    expect(again.status).toBe(304);
  });

  test("has another ETag for every part of a content", async () => {
    const cid = cidOf(plain, "sub/big.txt").toString();
    const queries = [
      "",
      "&dag-scope=block",
      "&dag-scope=entity",
      "&entity-bytes=0:9",
      "&entity-bytes=0:*",
      "&car-dups=y",
    ];
    const tags = await Promise.all(
      queries.map(async (query) => (await ask(`${cid}?format=car${query}`)).headers["etag"]),
    );
    expect(new Set(tags).size).toBe(queries.length);
  });

  test("leads through shards of a directory, and through those of them alone that it needs", async () => {
    const root = cidOf(sharded);
    const direct = new Set((await linksOf(root)).map(String));
    const [name = ""] = Object.entries(sharded).find(([path, cid]) => path !== "" && !direct.has(cid.toString())) ?? [];
    const way = await askCar(`${root.toString()}/${name}?format=car`);
    expect([way[0], way.at(-1), way.length]).toEqual([root.toString(), cidOf(sharded, name).toString(), 3]);
    expect(direct).toContain(way[1]);
    expect((await ask(`${root.toString()}/300.txt?format=car`)).status).toBe(404);
  });

  test("leads through the links of dag-cbor, by names and places in lists", async () => {
    const file = cidOf(plain, "sub/a.txt");
    const bytes = dagCbor.encode({ files: [null, { first: file }], name: "x" });
    const doc = createCid(dagCbor.code, bytes);
    await blocks.put(doc, bytes);
    expect(await askCar(`${doc.toString()}/files/1/first?format=car`)).toEqual([doc, file].map(String));
    expect(await askCar(`${doc.toString()}?format=car`)).toEqual([doc, file].map(String));
    expect(await askCar(`${doc.toString()}?format=car&dag-scope=entity`)).toEqual([doc.toString()]);
    for (const path of ["name", "files/0", "files/0/x", "nothing", "files/1/first/deeper"]) {
      expect([path, (await ask(`${doc.toString()}/${path}?format=car`)).status]).toEqual([path, 404]);
    }
  });

  test.each(["sub/none.txt", "sub/a.txt/deeper", "sub/big.txt/deeper", "..", "sub%2Fa.txt"])(
    "is not made of a path that leads nowhere: %s",
    async (path) => {
      expect((await ask(`${cidOf(plain).toString()}/${path}?format=car`)).status).toBe(404);
    },
  );
});

describe("a part of a content", () => {
  test("is a block, an entity, or all below it", async () => {
    const [root, sub, big] = [cidOf(plain), cidOf(plain, "sub"), cidOf(plain, "sub/big.txt")];
    const chunks = await linksOf(big);
    const blocksOf = async (path: string, scope: string): Promise<string[]> =>
      await askCar(`${root.toString()}${path}?format=car&dag-scope=${scope}`);
    expect(await blocksOf("/sub", "block")).toEqual([root, sub].map(String));
    expect(await blocksOf("/sub", "entity")).toEqual([root, sub].map(String));
    expect(await blocksOf("/sub/big.txt", "block")).toEqual([root, sub, big].map(String));
    expect(await blocksOf("/sub/big.txt", "entity")).toEqual([root, sub, big, ...chunks].map(String));
  });

  test("of a sharded directory is its shards, without what they name", async () => {
    const root = cidOf(sharded);
    const entity = await askCar(`${root.toString()}?format=car&dag-scope=entity`);
    const all = await askCar(`${root.toString()}?format=car`);
    const files = new Set(
      Object.entries(sharded)
        .filter(([path]) => path !== "")
        .map(([, cid]) => cid.toString()),
    );
    expect(all.filter((cid) => files.has(cid)).length).toBe(300);
    expect(entity).toEqual(all.filter((cid) => !files.has(cid)));
  });

  test.each([
    ["0:*", [0, 1, 2, 3, 4, 5, 6]],
    ["0:0", [0]],
    ["9:10", [0, 1]],
    ["10:19", [1]],
    ["25:-25", [2, 3, 4]],
    ["-5:*", [6]],
    ["-9999:*", [0, 1, 2, 3, 4, 5, 6]],
    ["-9999:-61", [0]],
    ["60:999999999999", [6]],
    ["5:4", []],
    ["30:-60", []],
  ])("is no more than the blocks that hold bytes %s of a file", async (range, indices) => {
    const big = cidOf(plain, "sub/big.txt");
    const chunks = (await linksOf(big)).map(String);
    const expected = [big.toString(), ...indices.map((index) => chunks[index])];
    expect(await askCar(`${big.toString()}?format=car&entity-bytes=${range}`)).toEqual(expected);
  });

  test("is refused where it lies behind the end of a file, and is the entity where there are no bytes to count", async () => {
    const [big, small, sub] = [cidOf(plain, "sub/big.txt"), cidOf(plain, "sub/a.txt"), cidOf(plain, "sub")];
    for (const cid of [big, small]) {
      const answer = await ask(`${cid.toString()}?format=car&entity-bytes=70:*`);
      expect([answer.status, answer.body.toString()]).toEqual([400, expect.stringContaining("begins at 70")]);
    }
    expect(await askCar(`${small.toString()}?format=car&entity-bytes=1:2`)).toEqual([small.toString()]);
    expect(await askCar(`${sub.toString()}?format=car&entity-bytes=70:*`)).toEqual([sub.toString()]);
  });

  test("has what it needs of a node that stands in it twice, once at an edge and once within", async () => {
    const chunks = (await linksOf(cidOf(plain, "sub/big.txt"))).slice(0, 3);
    const inner = await storeFileOver(
      blocks,
      chunks.map((cid) => ({ cid, sizeBytes: 10 })),
    );
    const outer = await storeFileOver(
      blocks,
      [inner, inner, inner].map((cid) => ({ cid, sizeBytes: 30 })),
    );
    const needed = [outer, inner, ...chunks].map(String).toSorted();
    const sent = await askCar(`${outer.toString()}?format=car&entity-bytes=25:*`);
    expect(sent.toSorted()).toEqual(needed);
    expect(await askCar(`${outer.toString()}?format=car&entity-bytes=25:34`)).toEqual(
      [outer, inner, chunks[2], chunks[0]].map(String),
    );
  });

  test("of a file that holds itself over and over is walked once", async () => {
    let cid = await storeFileOver(blocks, [{ cid: cidOf(plain, "sub/a.txt"), sizeBytes: 5 }]);
    let sizeBytes = 5;
    for (let level = 0; level < 40; level += 1) {
      cid = await storeFileOver(
        blocks,
        [cid, cid].map((child) => ({ cid: child, sizeBytes })),
      );
      sizeBytes *= 2;
    }
    for (const query of ["", "&dag-scope=entity", "&entity-bytes=0:*", "&entity-bytes=1:-2"]) {
      expect([query, (await askCar(`${cid.toString()}?format=car${query}`)).length]).toEqual([query, 42]);
    }
  });
});

describe("a block that is missing", () => {
  test("below the root cuts the answer, so that nobody takes it for whole", async () => {
    const absent = createCid(RAW_CODEC, Buffer.from("lost!"));
    const file = await storeFileOver(blocks, [
      { cid: cidOf(plain, "sub/a.txt"), sizeBytes: 5 },
      { cid: absent, sizeBytes: 5 },
    ]);
    await expect(ask(`${file.toString()}?format=car`)).rejects.toThrow(/aborted|hang up/);
    expect(gateway.exchanges.at(-1)).toMatchObject({ status: 200, cutBy: "server", code: "NoSuchContent" });
    expect(await askCar(`${file.toString()}?format=car&entity-bytes=0:4`)).toHaveLength(2);
    expect((await ask(`${file.toString()}?format=car`, {}, "HEAD")).status).toBe(200);
  });

  test("on the path, or at its end, is told before anything is sent", async () => {
    const absent = createCid(DAG_PB_CODEC, Buffer.from("lost as well"));
    const data = new UnixFS({ type: "directory" }).marshal();
    const bytes = dagPb.encode(dagPb.createNode(data, [{ Name: "lost", Hash: absent, Tsize: 1 }]));
    const dir = createCid(DAG_PB_CODEC, bytes);
    await blocks.put(dir, bytes);
    expect((await ask(`${dir.toString()}/lost?format=car`)).status).toBe(404);
    expect((await ask(`${dir.toString()}/lost/deeper?format=car`)).status).toBe(404);
  });
});

describe("a content that somebody made on purpose", () => {
  async function keep(codec: number, bytes: Uint8Array): Promise<string> {
    const cid = createCid(codec, bytes);
    await blocks.put(cid, bytes);
    return cid.toString();
  }

  test.each([3n, 4n, 2n ** 20n, 2n ** 60n])("a table of %s shards is not made", async (fanout) => {
    const data = new UnixFS({ type: "hamt-sharded-directory", fanout, hashType: 0x22n, data: new Uint8Array([1]) });
    const link = { Name: "0Fa.txt", Hash: cidOf(plain, "sub/a.txt"), Tsize: 5 };
    const cid = await keep(DAG_PB_CODEC, dagPb.encode(dagPb.createNode(data.marshal(), [link])));
    const answer = await ask(`${cid}/b.txt?format=car`);
    expect([answer.status, answer.body.toString()]).toEqual([404, expect.stringContaining(`${fanout} shards`)]);
  });

  test("is refused where it cannot be walked, and its block is given out all the same", async () => {
    const broken = await keep(DAG_PB_CODEC, Buffer.from("no node"));
    const unknown = await keep(0x30_00, Buffer.from("of a codec that nobody knows"));
    for (const [cid, status] of [
      [broken, 404],
      [unknown, 400],
    ] as const) {
      expect((await ask(`${cid}?format=car`)).status).toBe(400);
      expect((await ask(`${cid}/a?format=car`)).status).toBe(status);
      expect((await ask(`${cid}?format=raw`)).status).toBe(200);
      expect(await askCar(`${cid}?format=car&dag-scope=block`)).toEqual([cid]);
    }
  });
});

describe("a content that was blocked", () => {
  test("is gone, also as the root or the end of a path", async () => {
    const cid = cidOf(plain, "sub");
    blocked.add(cid.toString());
    const asked = [
      `${cid.toString()}?format=raw`,
      `${cid.toString()}/a.txt?format=car`,
      `${cidOf(plain).toString()}/sub?format=car`,
    ];
    for (const path of asked) expect([path, (await ask(path)).status]).toEqual([path, 410]);
    blocked.clear();
    expect((await ask(asked[0] ?? "")).status).toBe(200);
  });

  test("is not in the CAR file of what names it, however deep; what else there is can be had", async () => {
    const cid = cidOf(plain, "sub");
    blocked.add(cid.toString());
    expect((await ask(`${cidOf(plain).toString()}?format=car`)).status).toBe(410);
    // A directory of one block is sent without what it names.
    expect(await askCar(`${cidOf(plain).toString()}?format=car&dag-scope=entity`)).toEqual([cidOf(plain).toString()]);
    blocked.clear();
    const [chunk] = await linksOf(cidOf(plain, "sub/big.txt"));
    blocked.add(chunk?.toString() ?? "");
    await expect(ask(`${cidOf(plain).toString()}?format=car`)).rejects.toThrow();
    expect((await ask(`${cid.toString()}/big.txt?format=car`)).status).toBe(410);
    await expect(ask(`${cid.toString()}/big.txt?format=car&entity-bytes=0:3`)).rejects.toThrow();
    expect((await ask(`${cid.toString()}/big.txt?format=car&entity-bytes=60:*`)).status).toBe(200);
    expect((await ask(`${cid.toString()}/a.txt?format=car`)).status).toBe(200);
    blocked.clear();
  });

  test("is given to nobody while nobody can say whether it is", async () => {
    const isBlocked = async (): Promise<boolean> => {
      throw new FulaError("FULA_DATABASE_UNREACHABLE", "The ledger does not answer.");
    };
    await using silent = await startMemoryGateway({ trustless: createTrustlessGateway({ blocks, isBlocked }) });
    const target = `/ipfs/${cidOf(plain).toString()}?format=raw`;
    const { status, headers } = await sendHttp(silent.port, { method: "GET", target, headers: [["host", "a"]] });
    expect([status, headers["retry-after"]]).toEqual([503, "1"]);
  });
});

describe("beside the buckets", () => {
  test("a bucket named ipfs is its owner's, and a signed request is about it", async () => {
    const { client, pair } = gateway.user("alice@example.com");
    await client.send(new CreateBucketCommand({ Bucket: "ipfs" }));
    const Key = cidOf(plain).toString();
    await client.send(new PutObjectCommand({ Bucket: "ipfs", Key, Body: "mine" }));
    const got = await client.send(new GetObjectCommand({ Bucket: "ipfs", Key }));
    expect(await got.Body?.transformToString()).toBe("mine");
    const signed = await sendSigned(gateway.port, pair, { method: "GET", path: `/ipfs/${Key}` });
    expect(signed.body.toString()).toBe("mine");
    expect((await ask(`${Key}?format=raw`)).body.equals(await blocks.get(cidOf(plain)))).toBe(true);
    const stranger = await ask(`${Key}?format=raw`, { authorization: "Bearer nobody" });
    expect(stranger.status).toBe(403);
    for (const method of ["PUT", "DELETE", "POST"]) expect((await ask(Key, {}, method)).status).toBe(403);
  });

  test("nothing is answered where it is off", async () => {
    await using closed = await startMemoryGateway();
    const { status } = await sendHttp(closed.port, {
      method: "GET",
      target: "/ipfs/bafkqaaa?format=raw",
      headers: [["host", "a"]],
    });
    expect(status).toBe(403);
  });
});
