import { distance } from "fastest-levenshtein";

/** A word that shares less than this part of its letters with what was typed is no help to name. */
const DISTANCE_SHARE_MAX = 0.5;

/** The candidate that differs least from what was typed, or null where none is near enough to be meant. */
export function nearest(typed: string, candidates: readonly string[]): string | null {
  let best: string | null = null;
  let bestDistance = Number.POSITIVE_INFINITY;
  for (const candidate of candidates) {
    const edits = distance(typed.toLowerCase(), candidate.toLowerCase());
    const longer = Math.max(typed.length, candidate.length);
    // A beginning of a word is meant even where much of it is missing: "snap" for "snapshot".
    const isPrefix = typed.length >= 3 && candidate.startsWith(typed);
    if (edits < bestDistance && (isPrefix || edits <= longer * DISTANCE_SHARE_MAX)) {
      best = candidate;
      bestDistance = edits;
    }
  }
  return best;
}
