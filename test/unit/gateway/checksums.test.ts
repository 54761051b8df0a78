import fc from "fast-check";
import { expect, test } from "vitest";
import { type ChecksumName, startChecksum } from "../../../src/lib/gateway/checksums.ts";
import { property } from "../../support/property.ts";

// Check values of the CRC RevEng catalogue (https://reveng.sourceforge.io/crc-catalogue/all.htm) for "123456789":
// CRC-32/ISO-HDLC, CRC-32/ISCSI, CRC-64/NVME; SHA-1 and SHA-256 as sha1sum and sha256sum print them.
const CHECKS: readonly (readonly [ChecksumName, string])[] = [
  ["crc32", "cbf43926"],
  ["crc32c", "e3069283"],
  ["crc64nvme", "ae8b14860a799888"],
  ["sha1", "f7c3bc1d808e04732adf679965ccc34ca7ae3441"],
  ["sha256", "15e2b0d3c33891ebb0f1ef609ec419420c20e320ce94c65fbc8c3312448eb225"],
];

test.each(CHECKS)("%s of 123456789 is its published check value, however it arrives", async (name, hex) => {
  const bytes = Buffer.from("123456789");
  for (const cut of [0, 1, 5, 9]) {
    const checksum = await startChecksum(name);
    checksum.update(bytes.subarray(0, cut));
    checksum.update(bytes.subarray(cut));
    expect(Buffer.from(checksum.digest(), "base64").toString("hex")).toBe(hex);
  }
});

test("checksums that run at the same time do not disturb one another", async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.uint8Array({ minLength: 1 }),
      fc.constantFrom("crc32", "crc32c", "crc64nvme"),
      async (bytes, name) => {
        const alone = await startChecksum(name);
        alone.update(bytes);
        const [one, two] = [await startChecksum(name), await startChecksum(name)];
        one.update(bytes.subarray(0, 1));
        two.update(Buffer.from("something else"));
        one.update(bytes.subarray(1));
        expect(one.digest()).toBe(alone.digest());
      },
    ),
    property(50),
  );
});
