import { defineCommand } from "../lib/terminal/command.ts";
import { countsText } from "./membership-export.ts";

/** `fula-master membership peer rescue`: on with the servers that are left. */
export const membershipRescueCommand = defineCommand<{ readonly dryRun?: boolean; readonly yes?: boolean }>({
  name: "rescue",
  summary: "go on with the servers that are left, when most are gone for good",
  description:
    "For a control plane that has lost more than half of its servers for good, so that no quorum comes back by waiting. On a " +
    "master that is left: starts the witness, has the servers that answer elect a leader without the others, takes out those " +
    "that do not answer, and reads every record. Never while one of those may start again with what is on its disk: together " +
    "they would be a control plane of their own. Takes about a minute; killed anywhere, it can be run again.",
  examples: [
    { command: "fula-master membership peer rescue --dry-run", explains: "which servers answer" },
    { command: "fula-master membership peer rescue", explains: "asks for the names of those that are left first" },
    { command: "fula-master membership peer rescue --yes --json", explains: "dryRun, removed, left and records" },
  ],
  changes: true,
  asks: true,
  run: async (context, { dryRun = false, yes = false }) => {
    const { rescueControlPlane } = await import("../lib/stack/membership-rescue.ts");
    const { out } = context;
    const report = await rescueControlPlane(context, {
      dryRun,
      confirm: async ({ servers }) => {
        const names = servers.map(({ name }) => name).join(",");
        const question = `Go on with ${names} alone? No other server may ever start again with what it holds.`;
        await out.confirmByName(question, names, yes);
      },
      report: (text) => out.note(text),
    });
    out.result(report, () => {
      const { removed, left, records } = report;
      if (records === null) return `These servers answer and would go on: ${left.join(", ")}.`;
      const gone = removed.length === 0 ? "" : ` Taken out: ${removed.join(", ")}.`;
      return `${left.join(", ")} ${left.length === 1 ? "goes" : "go"} on, with ${countsText(records)}.${gone}`;
    });
  },
});
