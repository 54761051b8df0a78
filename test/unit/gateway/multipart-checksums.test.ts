import { createHash } from "node:crypto";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { type ChecksumName, startChecksum } from "../../../src/lib/gateway/checksums.ts";
import {
  joinedChecksum,
  joinedEtag,
  type SummedPart,
  uploadChecksumOf,
} from "../../../src/lib/gateway/multipart-checksums.ts";
import { RequestHeaders } from "../../../src/lib/identity/raw-request.ts";
import { property } from "../../support/property.ts";

async function checksumOf(name: ChecksumName, bytes: Uint8Array): Promise<string> {
  const checksum = await startChecksum(name);
  checksum.update(bytes);
  return checksum.digest();
}

async function partOf(name: ChecksumName, bytes: Uint8Array): Promise<SummedPart> {
  return { sizeBytes: bytes.byteLength, etag: "e", content: "c", checksums: { [name]: await checksumOf(name, bytes) } };
}

function uploadOf(headers: Readonly<Record<string, string>>): unknown {
  return uploadChecksumOf(new RequestHeaders(Object.entries(headers).flat()));
}

describe("the checksum of a joined object", () => {
  test.each(["crc32", "crc32c", "crc64nvme"] as const)("of type FULL_OBJECT is that of all bytes: %s", async (name) => {
    const pieces = fc.array(fc.uint8Array({ maxLength: 300 }), { minLength: 1, maxLength: 6 });
    await fc.assert(
      fc.asyncProperty(pieces, async (all) => {
        const parts = await Promise.all(all.map(async (bytes) => await partOf(name, bytes)));
        expect(await joinedChecksum({ name, type: "FULL_OBJECT" }, parts)).toBe(
          await checksumOf(name, Buffer.concat(all)),
        );
      }),
      property(60),
    );
  });

  test("of type COMPOSITE is that of the parts' checksums, with their number", async () => {
    const parts = [await partOf("sha256", Buffer.from("one")), await partOf("sha256", Buffer.from("two"))];
    const digests = ["one", "two"].map((text) => createHash("sha256").update(text).digest());
    const expected = createHash("sha256").update(Buffer.concat(digests)).digest("base64");
    expect(await joinedChecksum({ name: "sha256", type: "COMPOSITE" }, parts)).toBe(`${expected}-2`);
  });

  test("needs one of every part", async () => {
    const parts = [
      await partOf("crc32", Buffer.from("one")),
      { ...(await partOf("crc32", Buffer.from("two"))), checksums: {} },
    ];
    await expect(joinedChecksum({ name: "crc32", type: "COMPOSITE" }, parts)).rejects.toMatchObject({
      code: "InvalidPart",
    });
  });

  test("of ten thousand large parts takes no time to speak of", async () => {
    const part = await partOf("crc64nvme", Buffer.from("one"));
    const parts = Array.from({ length: 10_000 }, () => ({ ...part, sizeBytes: 5 * 1024 ** 3 }));
    const start = process.hrtime.bigint();
    await joinedChecksum({ name: "crc64nvme", type: "FULL_OBJECT" }, parts);
    expect(Number(process.hrtime.bigint() - start) / 1e6).toBeLessThan(20_000);
  });
});

describe("an upload", () => {
  test.each([
    [{}, null],
    [{ "x-amz-checksum-algorithm": "crc32" }, { name: "crc32", type: "COMPOSITE" }],
    [{ "x-amz-checksum-algorithm": "CRC64NVME" }, { name: "crc64nvme", type: "FULL_OBJECT" }],
    [
      { "x-amz-checksum-algorithm": "CRC32C", "x-amz-checksum-type": "FULL_OBJECT" },
      { name: "crc32c", type: "FULL_OBJECT" },
    ],
  ])("takes %j", (headers, expected) => {
    expect(uploadOf(headers)).toEqual(expected);
  });

  test.each([
    [{ "x-amz-checksum-algorithm": "MD5" }],
    [{ "x-amz-checksum-type": "COMPOSITE" }],
    [{ "x-amz-checksum-algorithm": "SHA256", "x-amz-checksum-type": "FULL_OBJECT" }],
    [{ "x-amz-checksum-algorithm": "CRC64NVME", "x-amz-checksum-type": "COMPOSITE" }],
    [{ "x-amz-checksum-algorithm": "CRC32", "x-amz-checksum-type": "WHATEVER" }],
  ])("refuses %j", (headers) => {
    expect(() => uploadOf(headers)).toThrow(expect.objectContaining({ code: "InvalidRequest" }));
  });
});

describe("the ETag of a joined object", () => {
  const md5s = ["one", "two"].map((text) => createHash("md5").update(text).digest("hex"));
  const parts = md5s.map((etag, index) => ({ sizeBytes: 3, etag, content: `bafkrei${index}`, checksums: {} }));

  test("is the fleet's: BLAKE3 of the parts' CIDs", () => {
    // printf bafkrei0bafkrei1 | b3sum
    expect(joinedEtag(parts, "cid")).toBe("2b5f3b00c245c48eac31b03f082a5f62-2");
    expect(joinedEtag(parts, "cid")).not.toBe(joinedEtag(parts.toReversed(), "cid"));
  });

  test("is S3's where the parts have MD5s and that is asked for", () => {
    const digest = createHash("md5")
      .update(Buffer.from(md5s.join(""), "hex"))
      .digest("hex");
    expect(joinedEtag(parts, "md5")).toBe(`${digest}-2`);
    const older = parts.map((part, index) => (index === 0 ? { ...part, etag: "bafkrei0" } : part));
    expect(joinedEtag(older, "md5")).toBe(joinedEtag(older, "cid"));
  });
});
