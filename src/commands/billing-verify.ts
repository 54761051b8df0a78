import { FulaError } from "../lib/kernel/errors.ts";
import { defineCommand } from "../lib/terminal/command.ts";

interface VerifyOptions {
  readonly hours?: string;
  readonly since?: string;
}

const HOURS_MAX = 87_600;

function parseHours(text: string | undefined): number | null {
  if (text === undefined) return null;
  const hours = /^\d{1,5}$/.test(text) ? Number(text) : 0;
  if (hours >= 1 && hours <= HOURS_MAX) return hours;
  throw new FulaError("FULA_USAGE", `--hours ${text} is no number of hours.`, {
    hint: `give a whole number from 1 to ${HOURS_MAX}.`,
  });
}

/** `fula-master billing verify`: whether the books are right. */
export const billingVerifyCommand = defineCommand<VerifyOptions>({
  name: "verify",
  summary: "prove that the books are right, or say what is not",
  description:
    "Looks through the whole ledger in one snapshot: that every balance is the sum of its entries, no hour is missing or " +
    "charged twice, each fee is that of the bytes at its hour's end, every deposit is credited once, nothing belongs to " +
    "nobody, and what refuses duplicates is in force. Exits 1 where anything is wrong, 4 where the ledger could not be " +
    "read. What it did not look at stands in the report. Reads only, and holds up nobody.",
  examples: [
    { command: "fula-master billing verify", explains: "everything; exit code 0 = the books are right" },
    { command: "fula-master billing verify --hours 48", explains: "the last two days of a big ledger" },
    { command: "fula-master billing verify --json", explains: "checks, each with name, ok, count and examples" },
  ],
  options: [
    { flags: "--hours <count>", description: "look at the newest hours alone, and at what was written since" },
    { flags: "--since <hour>", description: "look at hours from this one on, such as 2026-06-12T14 (UTC)" },
  ],
  run: async (context, options) => {
    const { runBillingVerify } = await import("../lib/stack/billing-run.ts");
    const { renderVerdict } = await import("../lib/billing/verify-text.ts");
    const { out } = context;
    const verdict = await runBillingVerify(context, { hours: parseHours(options.hours), since: options.since ?? null });
    out.result(verdict, () => renderVerdict(verdict, { good: out.style.green, bad: out.style.red }));
    return verdict.ok ? 0 : 1;
  },
});
