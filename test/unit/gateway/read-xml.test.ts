import { describe, expect, test } from "vitest";
import { childText, expectElement, parseXml, requiredText } from "../../../src/lib/gateway/read-xml.ts";
import { element, s3Document } from "../../../src/lib/gateway/xml.ts";

const ELEMENTS_MAX = 100;

function keyOf(inner: string): string {
  return requiredText(parseXml(`<Delete><Key>${inner}</Key></Delete>`, ELEMENTS_MAX), "Key");
}

describe("a document of a request", () => {
  test("gives its elements in order, without declaration, namespace and comments", () => {
    const root = parseXml(
      '<?xml version="1.0" encoding="UTF-8"?>\n<Delete xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><!-- two -->\n' +
        "  <Object><Key>b</Key></Object><Quiet>true</Quiet><Object><Key>a</Key></Object></Delete>",
      ELEMENTS_MAX,
    );
    expect(root).toEqual({
      name: "Delete",
      text: "",
      children: [
        { name: "Object", text: "", children: [{ name: "Key", text: "b", children: [] }] },
        { name: "Quiet", text: "true", children: [] },
        { name: "Object", text: "", children: [{ name: "Key", text: "a", children: [] }] },
      ],
    });
  });

  test.each([
    ["the five entities", "&amp;&lt;&gt;&quot;&apos;", `&<>"'`],
    ["an entity that was escaped once more", "&amp;amp;", "&amp;"],
    ["numbers, in hex and not", "&#65;&#x42;&#x1F600;", "AB😀"],
    ["control characters, as our listings write them", "&#x1;&#x1f;&#xD;&#xA;&#x9;", "\u0001\u001f\r\n\t"],
    ["spaces at both ends", "  a b ", "  a b "],
    ["a key of spaces alone", " ", " "],
    ["a CDATA section, in which nothing is an entity", "a<![CDATA[<b>&amp;]]>c", "a<b>&amp;c"],
    ["digits that are no number to anybody", "0012.50", "0012.50"],
    ["a word of JavaScript", "__proto__", "__proto__"],
  ])("keeps %s in a text", (_what, inner, expected) => {
    expect(keyOf(inner)).toBe(expected);
  });

  test("that our own writer made comes back as it was, whatever the text", () => {
    const text = Array.from({ length: 0x300 }, (_, code) => String.fromCodePoint(code + 1)).join("") + "\ud83d\ude00";
    expect(childText(parseXml(s3Document("Delete", element("Key", text)), ELEMENTS_MAX), "Key")).toBe(text);
  });

  test.each([
    ["entities that expand", '<!DOCTYPE a [<!ENTITY b "bb"><!ENTITY c "&b;&b;">]><a>&c;</a>'],
    ["an entity from a file", '<!DOCTYPE a [<!ENTITY b SYSTEM "file:///etc/passwd">]><a>&b;</a>'],
    ["an entity that nobody declared", "<a>&nbsp;</a>"],
    ["a bare ampersand", "<a>b & c</a>"],
    ["a number that is no character", "<a>&#xD800;</a>"],
    ["NUL", "<a>&#0;</a>"],
    ["a control character as it is", "<a>\u0001</a>"],
    ["an element that never ends", "<a><b></a>"],
    ["two roots", "<a></a><b></b>"],
    ["nothing but a comment", "<!-- a -->"],
    ["text between elements", "<a><b></b>c</a>"],
    ["no XML at all", '{"Delete": []}'],
    ["nesting without end", `${"<a>".repeat(60)}${"</a>".repeat(60)}`],
    ["a name that would reach into objects", "<a><__proto__><b>1</b></__proto__>"],
    ["more elements than the operation can have", `<a>${"<b/>".repeat(300)}</a>`],
  ])("is refused for %s", (_what, document) => {
    expect(() => parseXml(document, ELEMENTS_MAX)).toThrow(expect.objectContaining({ code: "MalformedXML" }));
  });

  test("of a million elements is refused before it is parsed", () => {
    const bomb = `<a>${"<b/>".repeat(1_000_000)}</a>`;
    const before = process.memoryUsage().heapUsed;
    expect(() => parseXml(bomb, ELEMENTS_MAX)).toThrow(/more than 100 elements/);
    expect(process.memoryUsage().heapUsed - before).toBeLessThan(16 * 1024 * 1024);
  });
});

test("an element is refused where it has another name, other children, or one child twice", () => {
  const root = parseXml("<a><b>1</b><b>2</b></a>", ELEMENTS_MAX);
  expect(() => {
    expectElement(root, "c", ["b"]);
  }).toThrow(/a instead of c/);
  expect(() => {
    expectElement(root, "a", []);
  }).toThrow(/b in a/);
  expect(() => childText(root, "b")).toThrow(/b in a/);
  expect(() => requiredText(root, "c")).toThrow(/no c in a/);
});
