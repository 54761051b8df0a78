import { defineCommand } from "../lib/terminal/command.ts";
import { printableLine } from "../lib/terminal/printable.ts";

interface DrillOptions {
  readonly dangerous?: boolean;
  readonly dryRun?: boolean;
}

const drillListCommand = defineCommand({
  name: "list",
  aliases: ["ls"],
  summary: "list the drills and what they claim",
  description: "Lists every drill with what it disturbs. Reads only.",
  examples: [
    { command: "fula-master drill list", explains: "one drill after the other" },
    { command: "fula-master drill list --json", explains: "with every claim of each" },
  ],
  run: async ({ out }) => {
    const { DRILLS } = await import("../lib/stack/drill-catalog.ts");
    const { listingLine } = await import("../lib/stack/drill-text.ts");
    const drills = DRILLS.map(({ id, title, disturbs, claims }) => ({ id, title, disturbs, claims }));
    out.result({ drills }, () => DRILLS.map(listingLine).join("\n"));
  },
});

const drillRunCommand = defineCommand<DrillOptions>({
  name: "run",
  summary: "carry out drills on this box",
  description:
    "Carries out the drills that are named, or every one that this box can carry out, and says of each claim whether it " +
    "holds and what was seen. Works with pins, blocks, users, a database and masters of its own, which it removes again, also when it is " +
    "interrupted. Exits 1 where a claim does not hold, or a drill that was named could not be carried out.",
  examples: [
    { command: "fula-master drill run", explains: "everything that disturbs nobody" },
    { command: "fula-master drill run D6 D7", explains: "snapshot, restore and sweep alone" },
    { command: "fula-master drill run --dangerous", explains: "also what others notice" },
  ],
  arguments: [{ name: "drill", description: "D1, D2, …: which ones", variadic: true }],
  options: [{ flags: "--dangerous", description: "also carry out what disturbs a stack that others use" }],
  changes: true,
  run: async (context, options, ids) => {
    const { loadConfig } = await import("../lib/config/load.ts");
    const { planDrills, runDrills } = await import("../lib/stack/drill-run.ts");
    const { planLines, runLines } = await import("../lib/stack/drill-text.ts");
    const { out } = context;
    const loaded = await loadConfig(context);
    const chosen = { ids, dangerous: options.dangerous === true };
    if (options.dryRun === true) {
      const planned = planDrills(loaded, chosen);
      const drills = planned.map(({ drill: { id, title, claims }, because }) => ({ id, title, claims, because }));
      out.result({ dryRun: true, drills }, () => planLines(planned).map(printableLine).join("\n"));
      return 0;
    }
    const report = await runDrills(loaded, chosen, {
      ...context,
      onDrill: (id, title) => out.note(`> ${id}  ${title}`),
    });
    out.result(report, () => runLines(report).map(printableLine).join("\n"));
    return report.ok ? 0 : 1;
  },
});

/** `fula-master drill`: proof, on this very box, that what must work does. */
export const drillCommand = defineCommand({
  name: "drill",
  summary: "prove on this box that what must work does",
  description:
    "Drills do what must work on a bad day (a pin that is lost, a snapshot that was tampered with) with things of their " +
    "own, and say what they saw.",
  examples: [
    { command: "fula-master drill run", explains: "everything that disturbs nobody" },
    { command: "fula-master drill list", explains: "what there is" },
  ],
  subcommands: [drillListCommand, drillRunCommand],
});
