/** One thing that was looked at to find out whether the old master still takes writes. */
export interface FenceEvidence {
  readonly what: "primary-stopped" | "ledger-refuses" | "services-refuse" | "fence-command" | "operator";
  /** `proven`: it takes none; `refuted`: it does, or may at once; `unknown`: nothing can be said. */
  readonly state: "proven" | "refuted" | "unknown";
  /** What was seen, in words. */
  readonly seen: string;
}

/** Whether the old master is fenced, and why. */
export type FenceVerdict =
  | { readonly kind: "fenced"; readonly by: readonly FenceEvidence["what"][]; readonly why: string }
  | { readonly kind: "refuted" | "unproven"; readonly why: string };

function seenOf(evidence: readonly FenceEvidence[]): string {
  return evidence.map(({ seen }) => seen).join("; ");
}

/**
 * Judges what was seen of the old master. One that was seen to take writes is never fenced, whatever anybody attests.
 * Ledger and services are asked over the network: both have to refuse, for each alone may be down by accident.
 */
export function judgeFence(evidence: readonly FenceEvidence[]): FenceVerdict {
  const refuted = evidence.filter(({ state }) => state === "refuted");
  if (refuted.length > 0) return { kind: "refuted", why: seenOf(refuted) };
  const proven = new Set(evidence.filter(({ state }) => state === "proven").map(({ what }) => what));
  const both = proven.has("ledger-refuses") && proven.has("services-refuse");
  const alone = (["primary-stopped", "fence-command", "operator"] as const).filter((what) => proven.has(what));
  if (alone.length === 0 && !both) return { kind: "unproven", why: seenOf(evidence) };
  const by = both ? [...alone, "ledger-refuses" as const, "services-refuse" as const] : alone;
  const reasons = evidence.filter(({ what }) => by.some((each) => each === what));
  return { kind: "fenced", by, why: seenOf(reasons) };
}
