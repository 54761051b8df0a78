import { FulaError } from "../lib/kernel/errors.ts";
import { defineCommand } from "../lib/terminal/command.ts";

const MODES = ["keyed", "unkeyed"] as const;

function parseMode(text: string | undefined): (typeof MODES)[number] | null {
  if (text === undefined) return null;
  const mode = MODES.find((each) => each === text);
  if (mode !== undefined) return mode;
  throw new FulaError("FULA_USAGE", `There is no mode ${JSON.stringify(text)}.`, { hint: "keyed or unkeyed." });
}

/** `fula-master billing mode`: how all masters bill. */
export const billingModeCommand = defineCommand<{ readonly dryRun?: boolean }>({
  name: "mode",
  summary: "show or change how all masters bill: by the hour's key, or not",
  description:
    "Shows how this ledger is billed. With a mode it changes that for all masters, from the next hour on that has no fee yet; " +
    "exits 3 while a master serves in the other mode. Masters whose BILLING_IDEMPOTENCY differs are refused at start.",
  examples: [
    { command: "fula-master billing mode", explains: "how, since when, by whom" },
    { command: "fula-master billing mode keyed", explains: "with every master stopped" },
  ],
  arguments: [{ name: "mode", description: "what to change it to", choices: MODES }],
  changes: true,
  requires: "operator",
  onlyLooks: (_options, args) => args.length === 0,
  run: async (context, { dryRun = false }, [text]) => {
    const { runMode } = await import("../lib/stack/billing-hours-run.ts");
    const { modeText } = await import("../lib/stack/billing-hours-text.ts");
    const wanted = parseMode(text);
    const report = await runMode(context, wanted, dryRun);
    context.out.result(report, () => modeText(report, wanted));
  },
});
