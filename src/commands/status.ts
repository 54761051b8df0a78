import type { StatusStyle } from "../lib/stack/status-text.ts";
import type { WatchedStatus } from "../lib/stack/status-watch.ts";
import { type CommandContext, defineCommand } from "../lib/terminal/command.ts";

interface StatusOptions {
  readonly watch?: string | true;
  readonly scheduleRoot?: string;
}

function styleOf({ out }: CommandContext): StatusStyle {
  return { good: out.style.green, attention: out.style.yellow, bad: out.style.red };
}

async function watch(context: CommandContext, options: StatusOptions): Promise<void> {
  const { parseInterval, watchStatus } = await import("../lib/stack/status-watch.ts");
  const { renderStatus } = await import("../lib/stack/status-text.ts");
  const { openScreen } = await import("../lib/terminal/screen.ts");
  const { out, env } = context;
  const style = styleOf(context);
  const textOf = (look: WatchedStatus): string =>
    "error" in look ? `${style.bad(look.error.code)}: ${look.error.message}` : renderStatus(look.report, style);
  const intervalMs = parseInterval(options.watch ?? true);
  const live = out.stdout.isTTY === true && !out.json && env["TERM"] !== "dumb";
  const screen = live ? openScreen(out.stdout) : null;
  let text = "";
  try {
    await watchStatus(context, { intervalMs, scheduleRoot: options.scheduleRoot }, (look, changed) => {
      text = textOf(look);
      if (screen !== null) {
        screen.draw(text);
      } else if (changed) {
        const value = "error" in look ? { error: { code: look.error.code, message: look.error.message } } : look.report;
        out.record(value, () => `${text}\n`);
      }
    });
  } finally {
    screen?.close();
  }
  // The screen is gone with its terminal; what it last said stays.
  if (screen !== null) out.result(null, () => text);
}

/** `status`: how this box is, on one screen. */
export const statusCommand = defineCommand<StatusOptions>({
  name: "status",
  summary: "show how this box is, on one screen",
  description:
    "Looks at serve, the ledger and its schema, the control plane, containers, Kubo, the cluster and its peers, pins, " +
    "disks, the last good snapshot, the last sweep and its alerts, schedules and the snapshot key, all at the same time, " +
    "so that it answers within seconds whatever hangs. Exits 1 where something is wrong or cannot be looked at. Changes " +
    "nothing, and works when serve is down.",
  examples: [
    { command: "fula-master status", explains: "one screen; exit code 0 = healthy, 1 = not" },
    { command: "fula-master status --watch 5s", explains: "the same, drawn again every five seconds until Ctrl-C" },
    { command: "fula-master status --json", explains: "the same for a monitor; docs/status.md explains the fields" },
    { command: "fula-master status --watch --json", explains: "one line whenever something has changed" },
  ],
  options: [
    {
      flags: "--watch [interval]",
      description: "look again and again until Ctrl-C (default: 2s); on a pipe only what has changed is printed",
    },
    { flags: "--schedule-root <dir>", description: "look for timers below this directory instead of /" },
  ],
  run: async (context, options) => {
    if (options.watch !== undefined) {
      await watch(context, options);
      return 0;
    }
    const { readStatus } = await import("../lib/stack/status.ts");
    const { renderStatus } = await import("../lib/stack/status-text.ts");
    const report = await readStatus(context, options.scheduleRoot);
    context.out.result(report, () => renderStatus(report, styleOf(context)));
    return report.healthy ? 0 : 1;
  },
});
