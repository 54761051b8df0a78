import { expect, test } from "vitest";
import { openKuboNetwork } from "../../../src/lib/blocks/kubo-network.ts";

const CID = "QmeEpLBnDRYTmdwP4PLTfoBsiD8bFizNuu8JGQTEQtBJSf";
const signal = new AbortController().signal;

function progress(size: number, more: object = {}): string {
  return `${JSON.stringify({ ...more, TotalSize: size, DagStats: [{ Cid: CID, Size: size, NumBlocks: 1 }] })}\n`;
}

/** A Kubo that answers with this text, in pieces of so many bytes. */
function kuboThatSays(text: string, pieceBytes: number): ReturnType<typeof openKuboNetwork> {
  const bytes = Buffer.from(text);
  const pieces = Array.from({ length: Math.ceil(bytes.length / pieceBytes) }, (_, at) =>
    bytes.subarray(at * pieceBytes, (at + 1) * pieceBytes),
  );
  return openKuboNetwork("http://kubo", async () => new Response(ReadableStream.from(pieces)));
}

const whole = progress(107) + progress(8_294) + progress(15_958, { UniqueBlocks: 3, Ratio: 1 });

test.each([7, 100, 10_000])(
  "a content's size is the one of the last line, in pieces of %i bytes",
  async (pieceBytes) => {
    expect(await kuboThatSays(whole, pieceBytes).measure(CID, signal)).toBe(15_958n);
  },
);

test.each([
  ["cut short after a block", progress(107) + progress(8_294)],
  ["cut short within a line", whole.slice(0, -20)],
  ["empty", ""],
])("an answer that is %s measures nothing", async (_, text) => {
  await expect(kuboThatSays(text, 50).measure(CID, signal)).rejects.toMatchObject({ code: "FULA_KUBO_UNREACHABLE" });
});

test("a content without a byte has none, which Kubo cannot say", async () => {
  const empty = "bafkreihdwdcefgh4dqkjv67uzcmw7ojee6xedzdetojuzjevtenxquvyku";
  expect(await kuboThatSays("", 1).measure(empty, signal)).toBe(0n);
});
