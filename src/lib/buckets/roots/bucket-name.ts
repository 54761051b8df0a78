import type { BucketName } from "./root-pointer.ts";

/** A bucket's name with its owner, as keys of maps and messages have it. */
export function nameText({ ownerId, bucket }: BucketName): string {
  return `${ownerId}/${bucket}`;
}
