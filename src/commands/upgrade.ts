import type { UpgradeOptions } from "../lib/stack/upgrade-plan.ts";
import { type CommandContext, defineCommand } from "../lib/terminal/command.ts";

async function runUpgrade(context: CommandContext, options: UpgradeOptions): Promise<number> {
  const { proposeUpgrade } = await import("../lib/stack/upgrade-plan.ts");
  const { applyUpgrade, isUpToDate, outcomeWithoutChange } = await import("../lib/stack/upgrade-run.ts");
  const text = await import("../lib/stack/upgrade-text.ts");
  const { runTasks } = await import("../lib/terminal/tasks.ts");
  const { logTo } = await import("../lib/terminal/log.ts");
  const { out } = context;
  const proposal = await proposeUpgrade({ ...context, log: logTo(out) }, options, (line) => {
    if (out.verbose) out.note(line);
  });
  const { items, remarks } = proposal;
  if (options.dryRun === true || isUpToDate(proposal)) {
    const outcome = outcomeWithoutChange(proposal);
    out.result({ outcome, items, remarks, upgraded: [], dump: null }, () => text.renderUpgradePlan(proposal));
    return outcome === "unknown" ? 4 : 0;
  }
  out.note(text.renderUpgradePlan(proposal));
  await out.confirm("Replace these containers?", options.yes === true);
  const done = await applyUpgrade(proposal, async (tasks) => {
    await runTasks(out, tasks);
  });
  out.result({ outcome: "upgraded", items, remarks, ...done }, () => text.renderUpgraded(done));
  return 0;
}

/** `upgrade`: newer images for the containers of this box. */
export const upgradeCommand = defineCommand<UpgradeOptions>({
  name: "upgrade",
  summary: "replace containers by ones of newer images, one after another",
  description:
    "Pulls the images that the settings name, and replaces each container whose image is another by now: PostgreSQL " +
    "first, after a dump, Kubo last. A container is replaced only by one that becomes healthy; otherwise its predecessor " +
    "runs on, nothing further is touched, and the exit code is 1. Volumes stay. Another major version of PostgreSQL is " +
    "refused (exit 3). Where a registry does not answer and nothing else is to be replaced, nobody knows whether there is " +
    "something newer: exit 4, unless --no-pull asks none. A run that was cut off is finished by running it again.",
  examples: [
    {
      command: "fula-master upgrade --dry-run",
      explains: "what would be replaced, by the images that are here already",
    },
    { command: "fula-master upgrade", explains: "pull, ask, replace" },
    {
      command: "fula-master upgrade --image kubo=ipfs/kubo:v0.43.0",
      explains: "another version of Kubo; the setting is put back where it does not become healthy",
    },
    {
      command: "fula-master upgrade --service cluster --no-pull",
      explains: "one service, by an image that was loaded",
    },
  ],
  options: [
    { flags: "--image <service=image...>", description: "image that the settings shall name from now on" },
    { flags: "--service <name...>", description: "only these: postgres, kubo, cluster, gateway" },
    { flags: "--no-pull", description: "take the images as they are on this box" },
  ],
  changes: true,
  asks: true,
  run: runUpgrade,
});
