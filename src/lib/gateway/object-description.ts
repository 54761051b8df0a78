import type { Texts } from "../buckets/tree/object-entry.ts";
import type { RequestHeaders } from "../identity/raw-request.ts";
import { keptHeaders, userMetadata } from "./object-headers.ts";
import { tagsOfHeader } from "./tags.ts";

/** What a request says of an object beside its bytes. */
export interface ObjectDescription {
  readonly headers: Texts;
  readonly metadata: Texts;
  readonly tags: Texts;
}

/** Headers of a request that describe the object which it makes. */
export const DESCRIPTION_HEADERS = ["x-amz-acl", "x-amz-storage-class", "x-amz-tagging", "x-amz-meta-*"] as const;

/** @throws S3Error MetadataTooLarge, InvalidTag, InvalidArgument */
export function describeObject(headers: RequestHeaders): ObjectDescription {
  return {
    headers: keptHeaders(headers),
    metadata: userMetadata(headers),
    tags: tagsOfHeader(headers.single("x-amz-tagging")),
  };
}
