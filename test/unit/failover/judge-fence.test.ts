import { expect, test } from "vitest";
import { type FenceEvidence, judgeFence } from "../../../src/lib/failover/judge-fence.ts";

function saw(what: FenceEvidence["what"], state: FenceEvidence["state"]): FenceEvidence {
  return { what, state, seen: `${what} ${state}` };
}

test.each<[string, readonly FenceEvidence[], string]>([
  [
    "its own word that it stopped is enough",
    [saw("primary-stopped", "proven"), saw("services-refuse", "unknown")],
    "fenced",
  ],
  [
    "a fence command that ended well is enough",
    [saw("fence-command", "proven"), saw("ledger-refuses", "unknown")],
    "fenced",
  ],
  [
    "ledger and services that refuse are enough together",
    [saw("ledger-refuses", "proven"), saw("services-refuse", "proven")],
    "fenced",
  ],
  [
    "a ledger that refuses is not enough beside services that say nothing",
    [saw("ledger-refuses", "proven"), saw("services-refuse", "unknown")],
    "unproven",
  ],
  ["silence proves nothing", [saw("ledger-refuses", "unknown"), saw("services-refuse", "unknown")], "unproven"],
  ["nothing looked at proves nothing", [], "unproven"],
  [
    "an operator's word stands for what cannot be seen",
    [saw("operator", "proven"), saw("ledger-refuses", "unknown")],
    "fenced",
  ],
  [
    "an operator's word does not stand against what is seen",
    [saw("operator", "proven"), saw("ledger-refuses", "refuted")],
    "refuted",
  ],
  [
    "a fence command does not stand against a service that answers",
    [saw("fence-command", "proven"), saw("services-refuse", "refuted")],
    "refuted",
  ],
])("of the old master, %s", (_title, evidence, expected) => {
  expect(judgeFence(evidence).kind).toBe(expected);
});
