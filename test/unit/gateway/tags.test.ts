import { describe, expect, test } from "vitest";
import { parseXml } from "../../../src/lib/gateway/read-xml.ts";
import { S3Error } from "../../../src/lib/gateway/s3-error.ts";
import { OBJECT_TAGS_MAX, renderTags, tagsOfDocument, tagsOfHeader } from "../../../src/lib/gateway/tags.ts";

function outcome(call: () => unknown): unknown {
  try {
    return call();
  } catch (error) {
    if (error instanceof S3Error) return error.code;
    throw error;
  }
}

function documentOf(tags: readonly (readonly [string, string])[]): string {
  const rows = tags.map(([key, value]) => `<Tag><Key>${key}</Key><Value>${value}</Value></Tag>`);
  return `<Tagging xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><TagSet>${rows.join("")}</TagSet></Tagging>`;
}

const MANY = Array.from({ length: OBJECT_TAGS_MAX + 1 }, (_, index) => [`k${index}`, "v"] as const);

describe("tags in a document", () => {
  test.each([
    [[], {}],
    [
      [
        ["color", "blue green"],
        ["größe", "a:b/c=d+e-f@g"],
        ["empty", ""],
      ],
      { color: "blue green", größe: "a:b/c=d+e-f@g", empty: "" },
    ],
    [[["k".repeat(128), "v".repeat(256)]], { ["k".repeat(128)]: "v".repeat(256) }],
    [[["k".repeat(129), ""]], "InvalidTag"],
    [[["k", "v".repeat(257)]], "InvalidTag"],
    [[["", "v"]], "InvalidTag"],
    [[["k", "&lt;"]], "InvalidTag"],
    [
      [
        ["k", "1"],
        ["k", "2"],
      ],
      "InvalidTag",
    ],
    [MANY, "BadRequest"],
  ] as const)("%j", (tags, expected) => {
    expect(outcome(() => tagsOfDocument(parseXml(documentOf(tags), 256), OBJECT_TAGS_MAX))).toEqual(expected);
  });

  test.each(["<Other/>", "<Tagging><Tag/></Tagging>", "<Tagging><TagSet><Tag><Key>a</Key></Tag></TagSet></Tagging>"])(
    "%s is not one of tags",
    (document) => {
      expect(outcome(() => tagsOfDocument(parseXml(document, 256), OBJECT_TAGS_MAX))).toBe("MalformedXML");
    },
  );

  test("come back as they were", () => {
    const tags = { a: "1", "b c": "", ä: "x=y" };
    expect(tagsOfDocument(parseXml(renderTags(tags), 256), OBJECT_TAGS_MAX)).toEqual(tags);
  });
});

describe("tags in the header x-amz-tagging", () => {
  test.each([
    [null, {}],
    ["", {}],
    ["a=1&b=two%20words&c", { a: "1", b: "two words", c: "" }],
    ["a=1+2", { a: "1 2" }],
    ["a=%ff", "InvalidArgument"],
    ["a=%", "InvalidArgument"],
    ["a=1&a=2", "InvalidTag"],
    [MANY.map(([key, value]) => `${key}=${value}`).join("&"), "BadRequest"],
  ] as const)("%j", (value, expected) => {
    expect(outcome(() => tagsOfHeader(value))).toEqual(expected);
  });
});
