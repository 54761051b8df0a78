import type { AlertKind } from "./alerts.ts";

/** What a person does about an alert of each kind. */
const ADVICE: Readonly<Record<AlertKind, string>> = {
  "amount-differs":
    "other software charged that hour, and another amount: fula-master billing verify names the fees; see that every master bills by the same settings, then fula-master billing alerts resolve <id>.",
  "hours-skipped":
    "fula-master billing backfill charges those hours; fula-master billing waive lets them go. Either resolves it.",
  "index-missing": "fula-master migrate up builds the index; nobody is charged before.",
  "reorg-too-deep":
    "compare the chain with a block explorer before anything is credited again: fula-master billing chains; docs/deposits.md.",
  "chain-stands-still": "see what its endpoints answer: fula-master billing chains; docs/deposits.md.",
  "endpoints-disagree": "find out which endpoint is right and take the other one out of chains.<name>.rpcUrls.",
};

/** What to do about an alert; kinds that a newer build raises are told by that build. */
export function adviceOn(kind: string): string {
  const known = Object.entries(ADVICE).find(([name]) => name === kind);
  return known?.[1] ?? "a newer fula-master raised it: run fula-master billing status there.";
}
