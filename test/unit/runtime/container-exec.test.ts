import { expect, test } from "vitest";
import { framesOf } from "../../../src/lib/runtime/container-exec.ts";
import { collect } from "../../support/pins.ts";

function frame(stream: number, text: string): Buffer {
  const head = Buffer.from([stream, 0, 0, 0, 0, 0, 0, 0]);
  head.writeUInt32BE(Buffer.byteLength(text), 4);
  return Buffer.concat([head, Buffer.from(text)]);
}

async function* inPieces(bytes: Buffer, size: number): AsyncGenerator<Buffer> {
  for (let at = 0; at < bytes.length; at += size) yield bytes.subarray(at, at + size);
}

const BYTES = Buffer.concat([frame(1, "first"), frame(2, "oh"), frame(1, ""), frame(1, "last")]);

test.each([1, 3, 1_000])("the frames of a container's output are found in pieces of %i bytes", async (size) => {
  const frames = await collect(framesOf(inPieces(BYTES, size)));
  expect(frames.map(({ isError, piece }) => [isError, piece.toString()])).toEqual([
    [false, "first"],
    [true, "oh"],
    [false, ""],
    [false, "last"],
  ]);
});

test.each([1, 4, 9])("output that was cut %i bytes before its end is never taken for all of it", async (missing) => {
  await expect(collect(framesOf(inPieces(BYTES.subarray(0, -missing), 7)))).rejects.toThrow("was cut off");
});
