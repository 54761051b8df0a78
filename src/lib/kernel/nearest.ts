import { distance } from "fastest-levenshtein";

// Two edits mend any typing error (one letter wrong, missing, doubled, or two exchanged); long words take more.
const EDITS_MAX = 2;
const EDITS_SHARE_MAX = 0.4;
const PREFIX_LENGTH_MIN = 3;

function isNear(typed: string, candidate: string, edits: number): boolean {
  const longer = Math.max(typed.length, candidate.length);
  return edits < longer && edits <= Math.max(EDITS_MAX, Math.floor(longer * EDITS_SHARE_MAX));
}

/** The candidate that was probably meant: one that begins like what was typed, else the one that differs least; or null. */
export function nearest(typed: string, candidates: readonly string[]): string | null {
  const lower = typed.toLowerCase();
  const ranked = candidates
    .map((candidate) => ({ candidate, edits: distance(lower, candidate.toLowerCase()) }))
    .toSorted((a, b) => a.edits - b.edits);
  const longer = ranked.find(
    ({ candidate }) => typed.length >= PREFIX_LENGTH_MIN && candidate.toLowerCase().startsWith(lower),
  );
  const near = longer ?? ranked.find(({ candidate, edits }) => isNear(lower, candidate, edits));
  return near?.candidate ?? null;
}
