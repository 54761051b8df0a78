import { createHash } from "node:crypto";
import fc from "fast-check";
import { expect, test } from "vitest";
import { isFulaError } from "../../../src/lib/kernel/errors.ts";
import { type TarFile, TarReader } from "../../../src/lib/recovery/backup/tar-reader.ts";
import { tarEnd, tarHeader, tarPadding } from "../../../src/lib/recovery/backup/tar-writer.ts";
import { property } from "../../support/property.ts";

const anyFile = fc.record({
  path: fc.stringMatching(/^[a-z0-9_.]{1,90}$/),
  content: fc.uint8Array({ maxLength: 3_000 }),
});

function archiveOf(files: readonly { readonly path: string; readonly content: Uint8Array }[]): Buffer {
  const parts = files.flatMap(({ path, content }) => [
    tarHeader(path, content.length),
    Buffer.from(content),
    tarPadding(content.length),
  ]);
  return Buffer.concat([...parts, tarEnd()]);
}

function readInPieces(archive: Buffer, pieceBytes: number): readonly TarFile[] {
  const found: TarFile[] = [];
  const reader = new TarReader((file) => found.push(file));
  for (let at = 0; at < archive.length; at += pieceBytes) reader.add(archive.subarray(at, at + pieceBytes));
  reader.end();
  return found;
}

test("whatever is written is read again, in pieces of any size", () => {
  fc.assert(
    fc.property(fc.array(anyFile, { maxLength: 6 }), fc.integer({ min: 1, max: 2_000 }), (files, pieceBytes) => {
      const wanted = files.map(({ path, content }) => ({
        path: path.replace(/^\.\//, ""),
        bytes: content.length,
        sha256: createHash("sha256").update(content).digest("hex"),
      }));
      expect(readInPieces(archiveOf(files), pieceBytes)).toEqual(wanted);
    }),
    property(100),
  );
});

test("an archive that breaks off anywhere is refused", () => {
  const archive = archiveOf([
    { path: "PG_VERSION", content: Buffer.from("15\n") },
    { path: "base", content: Buffer.alloc(700) },
  ]);
  // The second of the two records at the end says nothing that the first has not said.
  for (let bytes = 0; bytes < archive.length - 1_024; bytes += 97) {
    let refusal: unknown = null;
    try {
      readInPieces(archive.subarray(0, bytes), 64);
    } catch (error) {
      refusal = error;
    }
    expect(isFulaError(refusal, "FULA_BASE_BACKUP_DAMAGED"), `${bytes} bytes`).toBe(true);
  }
});

test("a link in an archive is refused: unpacked, it would lead out of the directory", () => {
  const header = tarHeader("link", 0);
  header.write("2", 156, "latin1");
  expect(() => readInPieces(Buffer.concat([header, tarEnd()]), 512)).toThrow(/neither file nor directory/);
});
