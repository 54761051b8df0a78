import { FulaError } from "../lib/kernel/errors.ts";
import type { ModeReport } from "../lib/stack/bucket-care-run.ts";
import { defineCommand } from "../lib/terminal/command.ts";

const MODES = ["cas", "single", "fleet"] as const;

function parseMode(text: string | undefined): (typeof MODES)[number] | null {
  if (text === undefined) return null;
  const mode = MODES.find((each) => each === text);
  if (mode !== undefined) return mode;
  throw new FulaError("FULA_USAGE", `There is no mode ${JSON.stringify(text)}.`, { hint: "cas, single or fleet." });
}

const EXPLAINED: Readonly<Record<(typeof MODES)[number], string>> = {
  cas: "cas: roots move by compare-and-swap; any number of masters may serve",
  single: "single: without an arbiter; one master alone may serve",
  fleet: "fleet: by gateways of the existing fleet",
};

function reportText({ dryRun, mode, changes, serving }: ModeReport): string {
  const how = mode === null ? "no master has served yet" : EXPLAINED[mode];
  const head = changes ? `${dryRun ? "would change to " : "changed to "}${how}` : how;
  return [head, ...serving.map(({ session, mode: own }) => `  ${session} serves (${own})`)].join("\n");
}

/** `fula-master buckets mode`: how all masters save buckets. */
export const bucketsModeCommand = defineCommand<{ readonly dryRun?: boolean }>({
  name: "mode",
  summary: "show or change how all masters save buckets",
  description:
    "Shows how buckets of this ledger are saved and which masters serve. With a mode it changes that for all masters; exits " +
    "3 while any serves in another mode. A master whose FULA_BUCKET_ROOT_CAS differs is refused at its start, and one that " +
    "starts alone changes the mode by itself.",
  examples: [
    { command: "fula-master buckets mode", explains: "which one, and who serves" },
    { command: "fula-master buckets mode cas", explains: "with every master stopped" },
  ],
  arguments: [{ name: "mode", description: "what to change it to", choices: MODES }],
  changes: true,
  requires: "operator",
  onlyLooks: (_options, args) => args.length === 0,
  run: async (context, { dryRun = false }, [text]) => {
    const { runBucketMode } = await import("../lib/stack/bucket-care-run.ts");
    const report = await runBucketMode(context, parseMode(text), dryRun);
    context.out.result(report, () => reportText(report));
  },
});
