import { expect, test } from "vitest";
import { outcomeWithoutChange } from "../../../src/lib/stack/upgrade-run.ts";
import type { UpgradeProposal } from "../../../src/lib/stack/upgrade-plan.ts";

function proposal(isDue: boolean, remarks: readonly string[]): UpgradeProposal {
  // oxlint-disable-next-line typescript/no-unsafe-type-assertion -- the outcome rests on these two alone
  return { items: [{ isDue }], remarks } as unknown as UpgradeProposal;
}

test("images are only called current where every registry that was asked has answered", () => {
  expect(outcomeWithoutChange(proposal(false, []))).toBe("current");
  expect(outcomeWithoutChange(proposal(false, ["kubo:1 could not be pulled"]))).toBe("unknown");
  expect(outcomeWithoutChange(proposal(true, ["kubo:1 could not be pulled"]))).toBe("planned");
});
