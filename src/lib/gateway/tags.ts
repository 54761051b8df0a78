import type { Texts } from "../buckets/tree/object-entry.ts";
import { parseQuery, type QueryParameter, utf8OrNull } from "../identity/raw-request.ts";
import { childrenOf, expectElement, requiredText, type XmlElement } from "./read-xml.ts";
import { S3Error } from "./s3-error.ts";
import { element, s3Document } from "./xml.ts";

// https://docs.aws.amazon.com/AmazonS3/latest/userguide/object-tagging.html
const KEY_CHARS_MAX = 128;
const VALUE_CHARS_MAX = 256;
/** Tags of an object at most. */
export const OBJECT_TAGS_MAX = 10;
/** Tags of a bucket at most. */
export const BUCKET_TAGS_MAX = 50;
/** A document of fifty tags, every character of them four bytes written as an entity. */
export const TAGGING_LIMITS = { bytesMax: 256 * 1024, elementsMax: 256 } as const;
/** What S3 takes in a tag: letters, digits and spaces of any script, and these signs. */
const TAG_TEXT = /^[\p{L}\p{Z}\p{N}_.:/=+\-@]*$/u;

function invalidTag(why: string, key: string): S3Error {
  return new S3Error("InvalidTag", why, { fields: { TagKey: key } });
}

function checkedTags(tags: readonly (readonly [string, string])[], max: number): Texts {
  if (tags.length > max) throw new S3Error("BadRequest", `There may be ${max} tags at most.`);
  const seen = new Set<string>();
  for (const [key, value] of tags) {
    if (key === "" || Array.from(key).length > KEY_CHARS_MAX || !TAG_TEXT.test(key)) {
      throw invalidTag("The TagKey you have provided is invalid.", key);
    }
    if (Array.from(value).length > VALUE_CHARS_MAX || !TAG_TEXT.test(value)) {
      throw invalidTag("The TagValue you have provided is invalid.", key);
    }
    if (seen.has(key)) throw invalidTag("Cannot provide multiple Tags with the same key.", key);
    seen.add(key);
  }
  // A key such as __proto__ is one like any other.
  return Object.fromEntries(tags);
}

function badHeader(cause?: unknown): S3Error {
  return new S3Error(
    "InvalidArgument",
    "The header 'x-amz-tagging' must be written as a query: UTF-8, percent-encoded.",
    {
      fields: { ArgumentName: "x-amz-tagging" },
      cause,
    },
  );
}

function parametersOf(value: string): readonly QueryParameter[] {
  try {
    return parseQuery(value);
  } catch (error) {
    throw badHeader(error);
  }
}

/** The tags in the header `x-amz-tagging`, written as a query; none where it is missing. @throws S3Error InvalidTag, InvalidArgument */
export function tagsOfHeader(value: string | null): Texts {
  if (value === null) return {};
  const tags = parametersOf(value).map((parameter) => {
    const [key, text] = [utf8OrNull(parameter.name), utf8OrNull(parameter.value)];
    if (key === null || text === null) throw badHeader();
    return [key, text] as const;
  });
  return checkedTags(tags, OBJECT_TAGS_MAX);
}

/** The tags of a `Tagging` document. @throws S3Error MalformedXML, InvalidTag */
export function tagsOfDocument(root: XmlElement, max: number): Texts {
  expectElement(root, "Tagging", ["TagSet"]);
  const tags = childrenOf(root, "TagSet").flatMap((set) => {
    expectElement(set, "TagSet", ["Tag"]);
    return childrenOf(set, "Tag");
  });
  return checkedTags(
    tags.map((tag) => {
      expectElement(tag, "Tag", ["Key", "Value"]);
      return [requiredText(tag, "Key"), requiredText(tag, "Value")] as const;
    }),
    max,
  );
}

/** The `Tagging` document of some tags. */
export function renderTags(tags: Texts): string {
  const rows = Object.entries(tags).map(([key, value]) => element("Tag", element("Key", key), element("Value", value)));
  return s3Document("Tagging", element("TagSet", ...rows));
}
