import { formatCount, formatBytes } from "../lib/kernel/units.ts";
import { defineCommand } from "../lib/terminal/command.ts";

/** `fula-master buckets list`: every bucket of the ledger. */
export const bucketsListCommand = defineCommand<{ readonly owner?: string }>({
  name: "list",
  summary: "list the buckets of this ledger",
  description:
    "Lists every bucket with the owner's id, its version, objects and bytes; one JSON object a line with --json. A bucket " +
    "of the existing fleet that nobody has imported yet is marked. Reads only.",
  examples: [
    { command: "fula-master buckets list", explains: "all of them, as they are found" },
    { command: "fula-master buckets list --owner alice@example.com --json", explains: "those of one user" },
  ],
  options: [{ flags: "--owner <owner>", description: "an owner id, a user id, or an e-mail address" }],
  run: async (context, { owner }) => {
    const { runBucketList } = await import("../lib/stack/bucket-show-run.ts");
    const { parseOwner } = await import("../lib/stack/bucket-name.ts");
    const { out } = context;
    const count = await runBucketList(context, owner === undefined ? null : parseOwner(owner), async (line) => {
      await out.recordSlowly(line, () => {
        const what = line.imported
          ? `version ${line.version}  ${formatCount(Number(line.objects), "object")}  ${formatBytes(Number(line.bytes))}`
          : "not imported";
        return `${line.ownerId}/${line.bucket}  ${what}`;
      });
    });
    out.note(formatCount(count, "bucket"));
  },
});
