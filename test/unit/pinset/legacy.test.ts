import { execFileSync } from "node:child_process";
import { readFileSync, truncateSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import type { Pin } from "../../../src/lib/cluster/pins.ts";
import type { KeyId } from "../../../src/lib/pinset/keys.ts";
import { readLegacyPins, toPin } from "../../../src/lib/pinset/legacy.ts";
import { readSnapshotPins } from "../../../src/lib/pinset/reader.ts";
import { ensureSigningKey, signingKeyFiles } from "../../../src/lib/pinset/signing.ts";
import { type Verification, verifySnapshot } from "../../../src/lib/pinset/verify.ts";
import { FakeClock } from "../../support/clock.ts";
import { collect, fullPin } from "../../support/pins.ts";
import { fullPins } from "../../support/snapshots.ts";
import { tempDir } from "../../support/temp-dir.ts";

/** As `ipfs-cluster-ctl --enc=json pin ls` prints it: four blanks, one object after the other. */
const asListed = (pins: readonly unknown[]): string => pins.map((pin) => `${JSON.stringify(pin, null, 4)}\n`).join("");

interface LegacySnapshot {
  readonly file: string;
  readonly keyId: KeyId;
  verify(trusted?: readonly KeyId[]): Promise<Verification>;
  pins(): Promise<readonly Pin[]>;
}

/** Signs with the very command that the old fleet used. */
async function legacySnapshot(content: string | Uint8Array): Promise<LegacySnapshot> {
  const dir = tempDir();
  const key = await ensureSigningKey(join(dir, "keys"));
  const file = join(dir, "pinset-20261101T060000Z.json");
  writeFileSync(file, content);
  const { private: privateKey } = signingKeyFiles(join(dir, "keys"));
  execFileSync("openssl", ["pkeyutl", "-sign", "-rawin", "-inkey", privateKey, "-in", file, "-out", `${file}.sig`]);
  return {
    file,
    keyId: key.keyId,
    verify: async (trusted = [key.keyId]) =>
      verifySnapshot(file, {
        trustedKeys: trusted.map((keyId) => ({ keyId, source: "settings" })),
        clusterId: "here",
        clock: new FakeClock(Date.UTC(2026, 10, 1, 7)),
      }),
    pins: async () => collect(readSnapshotPins(file, { tempDir: dir })),
  };
}

const codes = ({ problems }: Verification): string[] => problems.map(({ code }) => code);

describe("a snapshot of the existing fleet", () => {
  test.each([
    ["as the tool listed it", asListed],
    ["as an array", (pins: readonly unknown[]) => JSON.stringify(pins, null, 2)],
    ["as one line a pin", (pins: readonly unknown[]) => pins.map((pin) => JSON.stringify(pin)).join("\n")],
    ["without blanks between", (pins: readonly unknown[]) => pins.map((pin) => JSON.stringify(pin)).join("")],
  ])("verifies and gives every pin with every option, in order, written %s", async (_how, write) => {
    const pins = fullPins(300);
    const snapshot = await legacySnapshot(write(pins));
    expect(await snapshot.verify()).toMatchObject({
      ok: true,
      format: "legacy",
      file: snapshot.file,
      manifest: null,
      signedBy: snapshot.keyId,
      pinCount: 300,
      time: "2026-11-01T06:00:00Z",
      ageMs: 3_600_000,
      remarks: [expect.stringContaining("old format")],
    });
    expect(await snapshot.pins()).toEqual(pins.toSorted((a, b) => (a.cid < b.cid ? -1 : 1)));
  });

  test("is accepted only under a key that this box was told to trust", async () => {
    const snapshot = await legacySnapshot(asListed(fullPins(2)));
    const stranger = (await ensureSigningKey(join(tempDir(), "keys"))).keyId;
    const found = await snapshot.verify([stranger]);
    expect(codes(found)).toEqual(["FULA_SNAPSHOT_SIGNATURE"]);
    expect(found.problems[0]?.hint).toContain("fula-master key trust");
    expect(found.pinCount).toBeNull();
    expect(codes(await snapshot.verify([]))).toEqual(["FULA_SNAPSHOT_SIGNATURE"]);
    expect((await snapshot.verify([stranger, snapshot.keyId])).ok).toBe(true);
  });

  test("is refused when any byte of it or of its signature was changed, or it was cut short anywhere", async () => {
    const snapshot = await legacySnapshot(asListed([{ cid: "bafya" }]));
    for (const path of [snapshot.file, `${snapshot.file}.sig`]) {
      const original = readFileSync(path);
      const accepted: string[] = [];
      for (let at = 0; at < original.length; at += 1) {
        const changed = Buffer.from(original);
        changed[at] = (changed[at] ?? 0) ^ 0x01;
        writeFileSync(path, changed);
        if ((await snapshot.verify()).ok) accepted.push(`byte ${at} of ${path}`);
        writeFileSync(path, original);
        truncateSync(path, at);
        if ((await snapshot.verify()).ok) accepted.push(`${at} bytes of ${path}`);
      }
      expect(accepted).toEqual([]);
      writeFileSync(path, original);
    }
    expect((await snapshot.verify()).ok).toBe(true);
  });

  test("without any pin is refused: that is what was signed when the source had failed", async () => {
    for (const content of ["", "\n", "[]"]) {
      const snapshot = await legacySnapshot(content === "" ? " " : content);
      expect(codes(await snapshot.verify())).toEqual(["FULA_SNAPSHOT_COUNT"]);
    }
  });

  test.each([
    ["text that is no pin", '{"cid":"bafya"}\nError: connection refused\n'],
    ["a pin that was cut short", '{"cid":"bafya"}\n{"cid":"baf'],
    ["an array without an end", '[{"cid":"bafya"}'],
    ["an array with a comma too much", '[{"cid":"bafya"},]'],
    ["an array with a comma too few", '[{"cid":"bafya"}{"cid":"bafyb"}]'],
    ["something after the array", '[{"cid":"bafya"}]{"cid":"bafyb"}'],
    ["an object without a CID", '{"name":"x"}'],
    ["a CID that is a number", '{"cid":1}'],
    ["a mode that there is not", '{"cid":"bafya","mode":"sideways"}'],
    ["brackets that do not match", '{"cid":"bafya"]'],
    ["an array of arrays", "[[]]"],
    ["a time that is none", '{"cid":"bafya","timestamp":"yesterday"}'],
    ["a pin of 2 MiB", `{"cid":"bafya","name":"${"n".repeat(2 << 20)}"}`],
    [
      "bytes that are not UTF-8",
      Buffer.concat([Buffer.from('{"cid":"bafya","name":"'), Buffer.of(0xff), Buffer.from('"}')]),
    ],
  ])("with %s is refused, although it is signed", async (_what, content) => {
    const snapshot = await legacySnapshot(content);
    expect(codes(await snapshot.verify())).toEqual(["FULA_SNAPSHOT_RECORD"]);
    await expect(snapshot.pins()).rejects.toMatchObject({ code: "FULA_SNAPSHOT_RECORD" });
  });

  test("that holds a CID twice gives the same record once, and different ones next to each other", async () => {
    const [first, second] = fullPins(2);
    if (first === undefined || second === undefined) throw new Error("no pins");
    const other = { ...first, name: "another" };
    const snapshot = await legacySnapshot(asListed([first, second, first, other]));
    const pins = await snapshot.pins();
    expect(pins).toHaveLength(3);
    expect(pins.filter(({ cid }) => cid === first.cid)).toEqual(expect.arrayContaining([first, other]));
  });

  test("is read however it is cut into pieces, with braces and quotes inside of names", async () => {
    const name = String.raw`}{"]["\\" { [ ] }`;
    const pins = Array.from({ length: 3_000 }, (_, index) => fullPin(index, { name: `${name} ${index}` }));
    const snapshot = await legacySnapshot(asListed(pins));
    expect(await collect(readLegacyPins(snapshot.file))).toEqual(pins);
  });
});

describe("an entry of the existing fleet", () => {
  test("that names only its CID gets the defaults of IPFS Cluster", () => {
    expect(toPin({ cid: "bafya" })).toEqual({
      cid: "bafya",
      type: "pin",
      mode: "recursive",
      name: "",
      replication_factor_min: -1,
      replication_factor_max: -1,
      shard_size: 0,
      user_allocations: [],
      allocations: [],
      expire_at: null,
      metadata: {},
      origins: [],
      max_depth: -1,
      reference: null,
      timestamp: "1970-01-01T00:00:00Z",
    });
  });

  test.each([
    ["a link for a CID", { cid: { "/": "bafya" } }, { cid: "bafya" }],
    ["Cid in upper case", { Cid: "bafya" }, { cid: "bafya" }],
    ["Cid as a link", { Cid: { "/": "bafya" } }, { cid: "bafya" }],
    ["the type as a number", { cid: "bafya", type: 4 }, { type: "meta-pin" }],
    ["the mode as a number", { cid: "bafya", mode: 1 }, { mode: "direct", max_depth: 0 }],
    [
      "nulls for what is empty",
      { cid: "bafya", allocations: null, metadata: null, origins: null, name: null },
      { allocations: [], metadata: {} },
    ],
    ["Go's zero time for never", { cid: "bafya", expire_at: "0001-01-01T00:00:00Z" }, { expire_at: null }],
    [
      "a time with an offset",
      { cid: "bafya", timestamp: "2026-01-01T02:00:00+02:00" },
      { timestamp: "2026-01-01T00:00:00Z" },
    ],
    [
      "nine digits of a second",
      { cid: "bafya", timestamp: "2026-01-01T00:00:00.123456789Z" },
      { timestamp: "2026-01-01T00:00:00.123456789Z" },
    ],
    ["a reference as a link", { cid: "bafya", reference: { "/": "bafyb" } }, { reference: "bafyb" }],
    ["fields that nobody knows", { cid: "bafya", novelty: [1] }, { cid: "bafya" }],
  ])("with %s is read", (_what, entry, expected) => {
    expect(toPin(entry)).toMatchObject(expected);
  });
});
