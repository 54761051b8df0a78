import { createHash, randomBytes } from "node:crypto";
import { chmodSync, copyFileSync, mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { basename, dirname, join } from "node:path";
import { zstdCompressSync } from "node:zlib";
import { createBLAKE3 } from "hash-wasm";
import { describe, expect, test } from "vitest";
import { canonicalJson, canonicalPin } from "../../../src/lib/pinset/canonical.ts";
import {
  filesOf,
  parseManifest,
  renderManifest,
  type SnapshotFiles,
  type SnapshotManifest,
} from "../../../src/lib/pinset/format.ts";
import { renderMinisig } from "../../../src/lib/pinset/minisign.ts";
import { ensureSigningKey } from "../../../src/lib/pinset/signing.ts";
import type { Verification } from "../../../src/lib/pinset/verify.ts";
import { fullPins, openBox, type SnapshotBox } from "../../support/snapshots.ts";

const codes = ({ problems }: Verification): string[] => [...new Set(problems.map(({ code }) => code))];

/** Writes a manifest with other content and signs it with the box's own key, as a wrong program of ours would. */
async function resign(box: SnapshotBox, files: SnapshotFiles, change: Partial<SnapshotManifest>): Promise<void> {
  const key = await ensureSigningKey(box.paths.keysDir);
  const before = parseManifest(readFileSync(files.manifest));
  const bytes = Buffer.from(canonicalJson({ ...before, ...change }));
  writeFileSync(files.manifest, bytes);
  writeFileSync(files.signature, key.sign(bytes));
  const manifest: SnapshotManifest = { ...before, ...change };
  writeFileSync(
    files.minisign,
    renderMinisig(bytes, manifest, key.publicKey, (message) => key.sign(message)),
  );
}

/** Puts other records into a snapshot, everything signed as it should be. */
async function replaceRecords(
  box: SnapshotBox,
  files: SnapshotFiles,
  records: Uint8Array,
  change: Partial<SnapshotManifest> = {},
): Promise<void> {
  const compressed = zstdCompressSync(records);
  writeFileSync(files.data, compressed);
  const blake3 = await createBLAKE3();
  await resign(box, files, {
    streamBytes: records.length,
    sha256: createHash("sha256").update(records).digest("hex"),
    blake3: blake3.init().update(records).digest("hex"),
    fileBytes: compressed.length,
    fileSha256: createHash("sha256").update(compressed).digest("hex"),
    ...change,
  });
}

async function snapshotted(count = 3): Promise<{ readonly box: SnapshotBox; readonly files: SnapshotFiles }> {
  const box = openBox(fullPins(count));
  return { box, files: filesOf((await box.take()).file) };
}

function renameAll(from: SnapshotFiles, name: string): SnapshotFiles {
  const to = filesOf(join(dirname(from.data), name));
  for (const part of ["data", "manifest", "signature", "minisign"] as const) renameSync(from[part], to[part]);
  return to;
}

describe("a good snapshot", () => {
  test("verifies under the path of any of its files and under its bare name", async () => {
    const { box, files } = await snapshotted();
    const bare = join(dirname(files.data), files.name);
    for (const path of [files.data, files.manifest, files.signature, files.minisign, bare]) {
      expect(await box.verify(path)).toMatchObject({ ok: true, file: files.data, format: "snapshot", pinCount: 3 });
    }
  });

  test("reports progress by pins", async () => {
    const { box, files } = await snapshotted(5_000);
    const seen: [number, number | null][] = [];
    await box.verify(files.data, { onProgress: (done, total) => seen.push([done, total]) });
    expect(seen.at(-1)).toEqual([5_000, 5_000]);
  });

  test("stops when it is told to", async () => {
    const { box, files } = await snapshotted();
    await expect(box.verify(files.data, { signal: AbortSignal.abort(new Error("enough")) })).rejects.toThrow("enough");
  });
});

describe("keys", () => {
  test("a snapshot of another box is refused until its key is trusted, and its records are not read before", async () => {
    const { box, files } = await snapshotted();
    const other = openBox();
    await other.take();
    const stranger = await other.verify(files.data);
    const { keyId } = await ensureSigningKey(box.paths.keysDir);
    expect(stranger).toMatchObject({ ok: false, signedBy: keyId, pinCount: null });
    expect(codes(stranger)).toEqual(["FULA_SNAPSHOT_KEY_UNKNOWN"]);
    expect(stranger.problems[0]?.hint).toContain(`fula-master key trust ${keyId}`);
    const trusted = await other.verify(files.data, { trustedKeys: [{ keyId, source: "settings" }] });
    expect(trusted).toMatchObject({ ok: true, pinCount: 3 });
  });

  test("without any trusted key nothing verifies", async () => {
    const { box, files } = await snapshotted();
    expect(codes(await box.verify(files.data, { trustedKeys: [] }))).toEqual(["FULA_SNAPSHOT_KEY_UNKNOWN"]);
  });

  test("a manifest that names one key and is signed by another is refused, even where both are trusted", async () => {
    const { box, files } = await snapshotted();
    const other = await ensureSigningKey(join(box.baseDir, "other-keys"));
    writeFileSync(files.signature, other.sign(readFileSync(files.manifest)));
    const trustedKeys = [...(await box.trusted()), { keyId: other.keyId, source: "settings" as const }];
    expect(codes(await box.verify(files.data, { trustedKeys }))).toEqual(["FULA_SNAPSHOT_SIGNATURE"]);
  });

  test("the second signature counts too: one by another key is a problem", async () => {
    const { box, files } = await snapshotted();
    const other = await ensureSigningKey(join(box.baseDir, "other-keys"));
    const bytes = readFileSync(files.manifest);
    writeFileSync(
      files.minisign,
      renderMinisig(bytes, parseManifest(bytes), other.publicKey, (message) => other.sign(message)),
    );
    expect(codes(await box.verify(files.data))).toEqual(["FULA_SNAPSHOT_SIGNATURE"]);
  });
});

describe("a snapshot that is not what or where it says", () => {
  test("renamed to another time is refused", async () => {
    const { box, files } = await snapshotted();
    const renamed = renameAll(files, "pinset-20261231T235959Z");
    const found = await box.verify(renamed.data);
    expect(codes(found)).toEqual(["FULA_SNAPSHOT_RENAMED"]);
    expect(found.problems[0]?.message).toContain("pinset-20261120T040000Z");
  });

  test("an old one in the place of the newest is told from it", async () => {
    const box = openBox();
    const old = filesOf((await box.take()).file);
    const { manifestFile, sequence, file } = await box.take();
    const newest = { sequence, manifestSha256: createHash("sha256").update(readFileSync(manifestFile)).digest("hex") };
    expect(codes(await box.verify(file, { newest }))).toEqual([]);
    for (const path of Object.values(filesOf(file)).slice(1)) rmSync(path);
    // Everything in it is signed and right; only this box's own memory knows better.
    expect(codes(await box.verify(old.data))).toEqual([]);
    expect(codes(await box.verify(old.data, { newest }))).toEqual(["FULA_SNAPSHOT_REPLAYED"]);
    // And under the newest one's name the signed time gives it away as well.
    const renamed = renameAll(old, filesOf(file).name);
    expect(codes(await box.verify(renamed.data, { newest }))).toEqual([
      "FULA_SNAPSHOT_RENAMED",
      "FULA_SNAPSHOT_REPLAYED",
    ]);
  });

  test("of another cluster is refused unless any cluster will do", async () => {
    const { box, files } = await snapshotted();
    expect(codes(await box.verify(files.data, { clusterId: "another" }))).toEqual(["FULA_SNAPSHOT_CLUSTER"]);
    expect((await box.verify(files.data, { clusterId: null })).ok).toBe(true);
  });

  test("older than allowed is stale, and of any age is good where no limit was given", async () => {
    const { box, files } = await snapshotted();
    box.clock.step(26 * 3_600_000);
    expect((await box.verify(files.data, { maxAgeMs: 26 * 3_600_000 })).ok).toBe(true);
    box.clock.step(1);
    expect(codes(await box.verify(files.data, { maxAgeMs: 26 * 3_600_000 }))).toEqual(["FULA_SNAPSHOT_STALE"]);
    expect((await box.verify(files.data)).ok).toBe(true);
  });

  test("dated in the future is never fresh", async () => {
    const { box, files } = await snapshotted();
    box.clock.step(-86_400_000);
    expect(await box.verify(files.data)).toMatchObject({ ok: true, remarks: ["It is dated 1d in the future."] });
    expect(codes(await box.verify(files.data, { maxAgeMs: 1 }))).toEqual(["FULA_SNAPSHOT_STALE"]);
    box.clock.step(86_400_000 - 60_000);
    expect((await box.verify(files.data, { maxAgeMs: 3_600_000 })).ok).toBe(true);
  });

  test("that is not there at all has every part missing", async () => {
    const box = openBox();
    await box.take();
    const found = await box.verify(join(box.paths.snapshotsDir, "pinset-20200101T000000Z.json"), { maxAgeMs: 1_000 });
    expect(codes(found)).toEqual(["FULA_SNAPSHOT_INCOMPLETE", "FULA_SNAPSHOT_STALE"]);
    expect(found.problems).toHaveLength(4);
  });

  test("every problem is told, not only the first", async () => {
    const { box, files } = await snapshotted();
    await box.take();
    const renamed = renameAll(files, "pinset-20261231T235959Z");
    writeFileSync(renamed.data, "x");
    writeFileSync(renamed.signature, randomBytes(64));
    box.clock.step(30 * 86_400_000);
    expect(codes(await box.verify(renamed.data, { clusterId: "another", maxAgeMs: 1_000 }))).toEqual([
      "FULA_SNAPSHOT_SIGNATURE",
      "FULA_SNAPSHOT_RENAMED",
      "FULA_SNAPSHOT_CLUSTER",
      "FULA_SNAPSHOT_TRUNCATED",
      "FULA_SNAPSHOT_STALE",
    ]);
  });
});

describe("the chain", () => {
  test("breaks when the predecessor was changed, and for a restore that is only a remark", async () => {
    const box = openBox();
    const first = filesOf((await box.take()).file);
    const second = await box.take();
    await resign(box, first, { pinCount: 4 });
    expect(codes(await box.verify(second.file))).toEqual(["FULA_SNAPSHOT_CHAIN"]);
    const lenient = await box.verify(second.file, { chain: "remark" });
    expect(lenient.ok).toBe(true);
    expect(lenient.remarks).toEqual([expect.stringContaining("It follows a manifest with SHA-256")]);
  });

  test("breaks when two snapshots have one number", async () => {
    const box = openBox();
    const first = filesOf((await box.take()).file);
    const second = filesOf((await box.take()).file);
    await resign(box, second, { sequence: 1, previousManifestSha256: null });
    expect(codes(await box.verify(first.data))).toEqual(["FULA_SNAPSHOT_CHAIN"]);
    expect(codes(await box.verify(second.data))).toEqual(["FULA_SNAPSHOT_CHAIN"]);
  });

  test("breaks when the number does not grow", async () => {
    const box = openBox();
    await box.take();
    await box.take();
    const third = filesOf((await box.take()).file);
    await resign(box, third, { sequence: 1 });
    expect(codes(await box.verify(third.data))).toEqual(["FULA_SNAPSHOT_CHAIN"]);
  });

  test("may have gaps, and may begin anywhere", async () => {
    const box = openBox();
    const first = filesOf((await box.take()).file);
    const second = filesOf((await box.take()).file);
    await resign(box, second, { sequence: 9 });
    expect((await box.verify(second.data)).ok).toBe(true);
    for (const path of Object.values(first).slice(1)) rmSync(path);
    expect(await box.verify(second.data)).toMatchObject({
      ok: true,
      remarks: ["The snapshot before it is not here any more."],
    });
  });

  test("of another federation in the same directory is none of ours", async () => {
    const { box, files } = await snapshotted();
    const stranger = openBox();
    stranger.clock.step(60_000);
    const theirs = filesOf((await stranger.take()).file);
    for (const part of ["data", "manifest", "signature", "minisign"] as const) {
      copyFileSync(theirs[part], join(box.paths.snapshotsDir, basename(theirs[part])));
    }
    expect(await box.verify(files.data)).toMatchObject({ ok: true, remarks: [] });
  });
});

describe("records that a trusted key signed and that are wrong all the same", () => {
  const [a, b, c] = fullPins(3)
    .toSorted((left, right) => (left.cid < right.cid ? -1 : 1))
    .map(canonicalPin);

  test.each([
    ["one too few", `${a}\n${b}\n`, {}, ["FULA_SNAPSHOT_COUNT"]],
    ["one twice", `${a}\n${b}\n${b}\n`, {}, ["FULA_SNAPSHOT_ORDER"]],
    ["another order", `${a}\n${c}\n${b}\n`, {}, ["FULA_SNAPSHOT_ORDER"]],
    ["no last newline", `${a}\n${b}\n${c}`, {}, ["FULA_SNAPSHOT_RECORD", "FULA_SNAPSHOT_COUNT"]],
    ["a line that is no record", `${a}\n${b}\n{}\n`, {}, ["FULA_SNAPSHOT_RECORD"]],
    ["an empty line", `${a}\n${b}\n\n`, {}, ["FULA_SNAPSHOT_RECORD"]],
    ["another digest", `${a}\n${b}\n${c}\n`, { sha256: "0".repeat(64) }, ["FULA_SNAPSHOT_DIGEST"]],
    ["another BLAKE3", `${a}\n${b}\n${c}\n`, { blake3: "0".repeat(64) }, ["FULA_SNAPSHOT_DIGEST"]],
    ["another count", `${a}\n${b}\n${c}\n`, { pinCount: 4 }, ["FULA_SNAPSHOT_COUNT"]],
    ["more bytes than signed", `${a}\n${b}\n${c}\n`, { streamBytes: 10 }, ["FULA_SNAPSHOT_TRUNCATED"]],
    ["fewer bytes than signed", `${a}\n${b}\n${c}\n`, { streamBytes: 99_999 }, ["FULA_SNAPSHOT_TRUNCATED"]],
  ])("%s", async (_what, records, change, expected) => {
    const { box, files } = await snapshotted();
    await replaceRecords(box, files, Buffer.from(records), change);
    expect(codes(await box.verify(files.data))).toEqual(expected);
  });

  test("half a gigabyte that unpacks from 50 KiB is not unpacked further than was signed", async () => {
    const { box, files } = await snapshotted();
    const bomb = zstdCompressSync(Buffer.alloc(512 << 20, "x"));
    writeFileSync(files.data, bomb);
    const fileSha256 = createHash("sha256").update(bomb).digest("hex");
    await resign(box, files, { fileBytes: bomb.length, fileSha256 });
    let chunks = 0;
    const found = await box.verify(files.data, { onProgress: () => (chunks += 1) });
    expect(codes(found)).toContain("FULA_SNAPSHOT_TRUNCATED");
    expect(chunks).toBe(0);
  });

  test("bytes that are not zstd", async () => {
    const { box, files } = await snapshotted();
    const noise = Buffer.from("this was never compressed");
    writeFileSync(files.data, noise);
    await resign(box, files, { fileBytes: noise.length, fileSha256: createHash("sha256").update(noise).digest("hex") });
    expect(codes(await box.verify(files.data))).toEqual(["FULA_SNAPSHOT_DIGEST"]);
  });
});

describe("a manifest", () => {
  test.each([
    ["of a newer format", { formatVersion: 2 }, /format version 2, this build reads version 1/],
    ["with a field too much", { extra: 1 }, /not one that fula-master wrote/],
    ["with a sequence of 0", { sequence: 0 }, /sequence/],
    ["with a time that does not exist", { time: "2026-02-30T00:00:00Z" }, /no time/],
    ["with a negative count", { pinCount: -1 }, /pinCount/],
    ["with an upper-case digest", { sha256: "A".repeat(64) }, /sha256/],
    ["with a file elsewhere", { file: "../pinset-20261120T040000Z.jsonl.zst" }, /file/],
  ])("%s is refused, although it is signed", async (_what, change, message) => {
    const { box, files } = await snapshotted();
    const key = await ensureSigningKey(box.paths.keysDir);
    const bytes = Buffer.from(canonicalJson({ ...parseManifest(readFileSync(files.manifest)), ...change }));
    writeFileSync(files.manifest, bytes);
    writeFileSync(files.signature, key.sign(bytes));
    rmSync(files.minisign);
    const found = await box.verify(files.data);
    expect(codes(found)).toEqual(["FULA_SNAPSHOT_MANIFEST"]);
    expect(found.problems[0]?.message).toMatch(message);
  });

  test("in another form than the canonical one is refused, although it is signed", async () => {
    const { box, files } = await snapshotted();
    const key = await ensureSigningKey(box.paths.keysDir);
    const manifest: unknown = JSON.parse(readFileSync(files.manifest, "utf8"));
    const bytes = Buffer.from(JSON.stringify(manifest, null, 2));
    writeFileSync(files.manifest, bytes);
    writeFileSync(files.signature, key.sign(bytes));
    expect(codes(await box.verify(files.data))).toContain("FULA_SNAPSHOT_MANIFEST");
  });

  test("reads back as it was written", async () => {
    const { files } = await snapshotted();
    const bytes = readFileSync(files.manifest);
    expect(renderManifest(parseManifest(bytes))).toBe(bytes.toString("utf8"));
  });

  test("that is about another file is refused", async () => {
    const { box, files } = await snapshotted();
    await resign(box, files, { file: "pinset-20200101T000000Z.jsonl.zst" });
    expect(codes(await box.verify(files.data))).toEqual(["FULA_SNAPSHOT_RENAMED"]);
  });
});

describe("files that cannot be read", () => {
  test("a neighbour that cannot be read says nothing about a good snapshot", async () => {
    const { box, files } = await snapshotted();
    mkdirSync(join(box.paths.snapshotsDir, "pinset-20261120T030000Z.json"));
    expect((await box.verify(files.data)).ok).toBe(true);
  });

  test("a directory in the place of a file is a problem, not a crash", async () => {
    for (const part of ["data", "manifest", "signature", "minisign"] as const) {
      const { box, files } = await snapshotted();
      rmSync(files[part]);
      mkdirSync(files[part]);
      chmodSync(files[part], 0o700);
      expect((await box.verify(files.data)).ok).toBe(false);
    }
  });
});
