import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { readDelete } from "../../../src/lib/gateway/delete-objects.ts";
import { copyRangeOf } from "../../../src/lib/gateway/multipart-copy.ts";
import { readUploadsPage } from "../../../src/lib/gateway/multipart-list.ts";
import { partsOfDocument, selectParts } from "../../../src/lib/gateway/multipart-parts.ts";
import type { ListedUpload } from "../../../src/lib/gateway/multipart-record.ts";
import { parseXml } from "../../../src/lib/gateway/read-xml.ts";
import { property } from "../../support/property.ts";

const key = fc.string({ unit: fc.constantFrom("a", "b", "/", "~"), minLength: 1, maxLength: 4 });

function compare(one: ListedUpload, other: ListedUpload): number {
  const [a, b] = [`${one.key}\0${one.uploadId}`, `${other.key}\0${other.uploadId}`];
  return a < b ? -1 : Number(a > b);
}

describe("pages of open uploads", () => {
  test("lose and repeat nothing at any border, whatever the size of a page, prefix and delimiter", async () => {
    const asked = fc.record({
      keys: fc.array(key, { maxLength: 12 }),
      prefix: fc.constantFrom("", "a", "a/"),
      delimiter: fc.constantFrom("", "/"),
      maxUploads: fc.integer({ min: 1, max: 5 }),
    });
    await fc.assert(
      fc.asyncProperty(asked, async ({ keys, prefix, delimiter, maxUploads }) => {
        const all = keys
          .map((name, index) => ({ key: name, uploadId: String(index).padStart(2, "0"), createdMs: 0, checksum: null }))
          .toSorted(compare);
        const matching = all.filter((upload) => upload.key.startsWith(prefix));
        const rest = (name: string): number => (delimiter === "" ? -1 : name.indexOf(delimiter, prefix.length));
        const expected = [
          ...new Set(
            matching.map((upload) => {
              const at = rest(upload.key);
              return at === -1 ? `${upload.key} ${upload.uploadId}` : upload.key.slice(0, at + 1);
            }),
          ),
        ];
        const found: string[] = [];
        let marker = { keyMarker: "", idMarker: "" };
        for (;;) {
          const page = await readUploadsPage(
            async (cursor, limit) =>
              matching
                .filter(
                  (upload) =>
                    upload.key > cursor.after || (upload.key === cursor.after && upload.uploadId > cursor.afterId),
                )
                .slice(0, limit),
            { prefix, delimiter, maxUploads, ...marker },
          );
          const shown = [...page.uploads.map((upload) => `${upload.key} ${upload.uploadId}`), ...page.prefixes];
          expect(shown.length).toBeLessThanOrEqual(maxUploads);
          found.push(...shown);
          if (page.next === null) break;
          marker = { keyMarker: page.next.key, idMarker: page.next.uploadId };
        }
        expect(found.toSorted()).toEqual(expected.toSorted());
      }),
      property(300),
    );
  });
});

describe("a list of parts", () => {
  const held = [1, 2, 3].map((partNumber) => ({
    partNumber,
    content: `c${partNumber}`,
    sizeBytes: partNumber,
    dagBytes: partNumber,
    etag: `e${partNumber}`,
    checksums: { crc32: `s${partNumber}` },
    modifiedMs: 0,
  }));
  const documentOf = (...parts: readonly string[]): string =>
    `<CompleteMultipartUpload>${parts.map((part) => `<Part>${part}</Part>`).join("")}</CompleteMultipartUpload>`;
  const selected = (bytesMin: number, ...parts: readonly string[]): readonly number[] =>
    selectParts(partsOfDocument(parseXml(documentOf(...parts), 100)), held, bytesMin).map(
      ({ partNumber }) => partNumber,
    );
  const one = "<PartNumber>1</PartNumber><ETag>&quot;e1&quot;</ETag>";
  const three = "<ETag>e3</ETag><PartNumber>3</PartNumber><ChecksumCRC32>s3</ChecksumCRC32>";

  test("names them by number and ETag, with quotes or without, and may leave some out", () => {
    expect(selected(0, one, three)).toEqual([1, 3]);
  });

  test.each([
    ["InvalidPart", 0, [one.replace("e1", "e2")]],
    ["InvalidPart", 0, [three.replace("s3", "s1")]],
    ["InvalidPart", 0, ["<PartNumber>4</PartNumber><ETag>e4</ETag>"]],
    ["InvalidPart", 0, ["<PartNumber>99999</PartNumber><ETag>e</ETag>"]],
    ["InvalidPartOrder", 0, [three, one]],
    ["InvalidPartOrder", 0, ["<PartNumber>0</PartNumber><ETag>e</ETag>"]],
    ["EntityTooSmall", 2, [one, three]],
    ["MalformedXML", 0, ["<PartNumber>-1</PartNumber><ETag>e</ETag>"]],
    ["MalformedXML", 0, ["<PartNumber>1</PartNumber>"]],
    ["MalformedXML", 0, ["<ETag>e1</ETag>"]],
    ["MalformedXML", 0, []],
  ] as const)("is refused with %s (smallest part %i): %j", (code, bytesMin, parts) => {
    expect(() => selected(bytesMin, ...parts)).toThrow(expect.objectContaining({ code }));
  });

  test("may end with a small one", () => {
    expect(selected(2, "<PartNumber>2</PartNumber><ETag>e2</ETag>", three)).toEqual([2, 3]);
  });
});

describe("a range of a copied part", () => {
  test.each([
    ["bytes=0-9", { start: 0, end: 9 }],
    ["bytes=9-9", { start: 9, end: 9 }],
    [null, null],
  ])("%s is taken", (header, expected) => {
    expect(copyRangeOf(header, 10)).toEqual(expected);
  });

  test.each([
    ["bytes=0-10", "InvalidRange"],
    ["bytes=5-4", "InvalidArgument"],
    ["bytes=5-", "InvalidArgument"],
    ["bytes=-5", "InvalidArgument"],
    ["0-5", "InvalidArgument"],
    ["bytes=0-1,3-4", "InvalidArgument"],
  ])("%s is refused", (header, code) => {
    expect(() => copyRangeOf(header, 10)).toThrow(expect.objectContaining({ code }));
  });
});

describe("a Delete document", () => {
  const read = (document: string): ReturnType<typeof readDelete> => readDelete(parseXml(document, 6_002));

  test("has keys, their versions and ETags, and may be quiet", () => {
    const object = "<Object><Key> a </Key><VersionId>null</VersionId><ETag>&quot;e&quot;</ETag></Object>";
    expect(read(`<Delete>${object}<Quiet>TRUE</Quiet></Delete>`)).toEqual({
      wanted: [{ key: " a ", versionId: "null", etag: "e" }],
      isQuiet: true,
    });
  });

  test.each([
    ["another root", "<Remove><Object><Key>a</Key></Object></Remove>", "MalformedXML"],
    ["no key", "<Delete><Object><ETag>e</ETag></Object></Delete>", "MalformedXML"],
    ["an empty key", "<Delete><Object><Key></Key></Object></Delete>", "MalformedXML"],
    ["nothing to delete", "<Delete><Quiet>true</Quiet></Delete>", "MalformedXML"],
    ["a Quiet of its own", "<Delete><Object><Key>a</Key></Object><Quiet>yes</Quiet></Delete>", "MalformedXML"],
    ["1,001 keys", `<Delete>${"<Object><Key>a</Key></Object>".repeat(1_001)}</Delete>`, "MalformedXML"],
    ["a condition that is not known", "<Delete><Object><Key>a</Key><Size>1</Size></Object></Delete>", "NotImplemented"],
  ])("is refused with %s", (_what, document, code) => {
    expect(() => read(document)).toThrow(expect.objectContaining({ code }));
  });
});
