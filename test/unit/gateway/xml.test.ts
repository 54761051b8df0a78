import { XMLParser } from "fast-xml-parser";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { element, errorDocument, escapeXml, s3Document } from "../../../src/lib/gateway/xml.ts";
import { property } from "../../support/property.ts";

describe("an XML answer", () => {
  test("gives any text back to who reads it", () => {
    const parser = new XMLParser({ parseTagValue: false, trimValues: false });
    fc.assert(
      fc.property(fc.string({ unit: "grapheme", minLength: 1 }), (text) => {
        const parsed: unknown = parser.parse(s3Document("R", element("K", text)));
        expect(parsed).toMatchObject({ R: { K: text } });
      }),
      property(),
    );
  });

  test("writes control characters as references", () => {
    expect(escapeXml("a\u0001\r\n<&>\"'")).toBe("a&#x1;&#xd;&#xa;&lt;&amp;&gt;&quot;&apos;");
  });

  test("of an error has code, message, its own fields and the request id", () => {
    const document = errorDocument({ code: "NoSuchKey", message: "<gone>", requestId: "R1", fields: { Key: "a&b" } });
    expect(document).toBe(
      '<?xml version="1.0" encoding="UTF-8"?>\n<Error><Code>NoSuchKey</Code><Message>&lt;gone&gt;</Message><Key>a&amp;b</Key><RequestId>R1</RequestId></Error>',
    );
  });
});
