import { UnixFS } from "ipfs-unixfs";
import { describe, expect, test } from "vitest";
import { mendUnixFsMarshal } from "../../../src/lib/gateway/unixfs-marshal.ts";

mendUnixFsMarshal();

function hexOf(blockSizes: bigint[]): string {
  return Buffer.from(new UnixFS({ type: "file", blockSizes }).marshal()).toString("hex");
}

describe("the node of a file", () => {
  // Protocol Buffers: type 2, then the size of the file and that of each child, as varints.
  test.each([
    [2n ** 31n - 1n, "ffffffff07"],
    [2n ** 31n, "8080808008"],
    [3n * 2n ** 30n, "808080800c"],
    [2n ** 32n - 1n, "ffffffff0f"],
    [2n ** 32n, "8080808010"],
    [2n ** 40n, "808080808020"],
  ])("says sizes of %s bytes as every IPFS tool reads them", (size, varint) => {
    expect(hexOf([size])).toBe(`080218${varint}20${varint}`);
  });

  test("that is larger than its children is read back as it was written", () => {
    const blockSizes = [2n ** 30n, 2n ** 30n, 2n ** 30n - 1n, 5n];
    const file = new UnixFS({ type: "file", data: Buffer.from("head"), blockSizes });
    const back = UnixFS.unmarshal(file.marshal());
    expect([back.type, back.blockSizes, back.fileSize()]).toEqual(["file", blockSizes, 3n * 2n ** 30n + 8n]);
    expect(Buffer.from(back.data ?? []).toString()).toBe("head");
  });

  test("of a size that was written right is written as before", () => {
    const file = { type: "file", data: Buffer.from("x"), blockSizes: [1n, 2n ** 33n], mode: 0o600 } as const;
    const written = new UnixFS({ ...file, blockSizes: [...file.blockSizes] }).marshal();
    expect(UnixFS.unmarshal(written)).toMatchObject({ mode: 0o600, blockSizes: [1n, 2n ** 33n] });
  });
});
