import type { BucketState, Move } from "./root-pointer.ts";

/** Whether a bucket (null: there is none) is what a move expects, so that it may be made. */
export function isAsExpected(state: BucketState | null, { expected, next }: Pick<Move, "expected" | "next">): boolean {
  if (expected.kind === "absent") return state === null && next.kind === "content";
  if (state === null || state.version !== expected.version || !state.root.equals(expected.root)) return false;
  // Only an empty bucket can go.
  return next.kind === "content" || state.objectCount === 0n;
}
