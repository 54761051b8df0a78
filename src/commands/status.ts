import { defineCommand } from "../lib/terminal/command.ts";

/** `status`: how this master is, on one screen. */
export const statusCommand = defineCommand<{ readonly scheduleRoot?: string }>({
  name: "status",
  summary: "show how this master is, on one screen",
  description:
    "Looks at serve, the ledger and its schema, pins, disk, the last good snapshot, the last sweep, schedules and the " +
    "snapshot key. Exits 1 where something is wrong or cannot be looked at. Changes nothing, and works when serve is down.",
  examples: [
    { command: "fula-master status", explains: "one screen; exit code 0 = healthy, 1 = not" },
    { command: "fula-master status --json", explains: "the same for a monitor; docs/status.md explains the fields" },
  ],
  options: [{ flags: "--schedule-root <dir>", description: "look for timers below this directory instead of /" }],
  run: async (context, { scheduleRoot }) => {
    const { readStatus } = await import("../lib/stack/status.ts");
    const { renderStatus } = await import("../lib/stack/status-text.ts");
    const { out } = context;
    const report = await readStatus(context, scheduleRoot);
    const style = { good: out.style.green, attention: out.style.yellow, bad: out.style.red };
    out.result(report, () => renderStatus(report, style));
    return report.healthy ? 0 : 1;
  },
});
