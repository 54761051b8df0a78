import type { CID } from "multiformats/cid";
import type { BucketName, BucketState, Move } from "../../src/lib/buckets/roots/root-pointer.ts";
import { parseCid } from "../../src/lib/blocks/cid.ts";
import { rawCid } from "./pins.ts";

/** A bucket of a test's. */
export function bucketNamed(bucket: string, owner = 1): BucketName {
  return { ownerId: owner.toString(16).padStart(32, "0"), bucket };
}

/** The `index`th of some CIDs that stand for roots of an index. */
export function rootCid(index: number): CID {
  // As a store reads it, so that states can be compared.
  return parseCid(rawCid(`root ${index}`).toString());
}

let commits = 0;

/** A move from what is expected to a root with that many objects of 100 bytes. */
export function moveTo(
  expected: BucketState | { readonly version: bigint; readonly root: CID } | null,
  root: CID,
  more: Partial<Pick<Move, "claims" | "garbage" | "commitId" | "deadlineMs">> & {
    readonly objects?: number;
    readonly userId?: string;
  } = {},
): Move {
  const { objects = 1, userId = null, ...rest } = more;
  commits += 1;
  return {
    expected: expected === null ? { kind: "absent" } : { kind: "at", version: expected.version, root: expected.root },
    next: {
      kind: "content",
      content: {
        root,
        objectCount: BigInt(objects),
        totalBytes: BigInt(objects) * 100n,
        metadata: { tags: { objects: String(objects) } },
      },
      userId,
    },
    commitId: `commit-${commits}`,
    claims: [],
    garbage: [],
    deadlineMs: null,
    ...rest,
  };
}

/** A move that deletes a bucket. */
export function deletionOf(expected: BucketState): Move {
  return { ...moveTo(expected, expected.root), next: { kind: "deleted" } };
}
