import { type CommandContext, defineCommand } from "../lib/terminal/command.ts";
import { ledgerContext } from "./failover-talk.ts";

interface RemoveOptions {
  readonly dryRun?: boolean;
  readonly yes?: boolean;
  readonly force?: boolean;
}

async function runAdd(context: CommandContext, { dryRun = false }: { readonly dryRun?: boolean }): Promise<void> {
  const { addStandby } = await import("../lib/stack/standby-add.ts");
  const { renderStandbyAdd } = await import("../lib/stack/standby-text.ts");
  const { runTasks } = await import("../lib/terminal/tasks.ts");
  const { out } = context;
  const show = async (tasks: Parameters<typeof runTasks>[1]): Promise<void> => {
    await runTasks(out, tasks);
  };
  const report = await addStandby(await ledgerContext(context), dryRun ? null : show);
  out.result(report, () => renderStandbyAdd(report));
}

const addCommand = defineCommand<{ readonly dryRun?: boolean }>({
  name: "add",
  summary: "copy the ledger onto this master, and keep the copy current",
  description:
    "Makes this master, whose ledger is another one's, carry a standby of it: asks the primary's box through the control " +
    "plane for a role and a slot, copies the data, verifies them, streams over TLS, and waits until commits wait for it. " +
    "postgres.announce has to be set on both boxes. Killed anywhere, it goes on when it is run again.",
  examples: [
    { command: "fula-master standby add --dry-run", explains: "what it needs, and what it would do" },
    { command: "fula-master standby add", explains: "minutes for a small ledger; the primary goes on meanwhile" },
    { command: "fula-master standby add --json", explains: "outcome, node, kind, steps, changed and journal" },
  ],
  changes: true,
  requires: "admin",
  awaitsElection: true,
  run: runAdd,
});

const removeCommand = defineCommand<RemoveOptions>({
  name: "remove",
  aliases: ["rm"],
  summary: "take a standby out",
  description:
    "Has the primary's box wait for the standby no more, and take its role and slot away; on the standby's own box its " +
    "server is stopped, too. Its data stay. Refuses where it is the only one that commits wait for and standby.sync is " +
    "strict, and for the primary.",
  examples: [
    { command: "fula-master standby remove", explains: "this box's; asks first" },
    { command: "fula-master standby remove master-2 --yes", explains: "that of a box which is gone" },
    { command: "fula-master standby remove --dry-run --json", explains: "dryRun, outcome, node and stopped" },
  ],
  arguments: [{ name: "node", description: "name of the standby's box (default: this one)", required: false }],
  options: [{ flags: "--force", description: "also the last one where standby.sync is strict" }],
  changes: true,
  asks: true,
  requires: "admin",
  awaitsElection: true,
  run: async (context, { dryRun = false, yes = false, force = false }, [name]) => {
    const { removeStandby } = await import("../lib/stack/standby-remove.ts");
    const { renderStandbyRemove } = await import("../lib/stack/standby-text.ts");
    const { out } = context;
    const report = await removeStandby(await ledgerContext(context), {
      node: name ?? null,
      force,
      dryRun,
      confirm: async (node) => await out.confirm(`Take the standby of ${node} out?`, yes),
    });
    out.result(report, () => renderStandbyRemove(report));
  },
});

const statusCommand = defineCommand({
  name: "status",
  summary: "show the ledger's servers",
  description:
    "Shows the ledger's epoch and primary, each standby with how far it is behind, in bytes and seconds, whether commits " +
    "wait for it, what its slot keeps, and what a failover would lose at this moment. The primary's box sees most. Exits 1 " +
    "where something is wrong or cannot be looked at. Reads only.",
  examples: [
    { command: "fula-master standby status", explains: "exit code 0 = as it should be, 1 = not" },
    {
      command: "fula-master standby status --json",
      explains: "node, epoch, own, standbys, wouldLoseBytes, failover, attestations and problems",
    },
  ],
  run: async (context) => {
    const { openStandbyBox } = await import("../lib/stack/standby-box.ts");
    const { readStandbyStatus } = await import("../lib/stack/standby-status.ts");
    const { renderStandbyStatus } = await import("../lib/stack/standby-text.ts");
    await using box = await openStandbyBox(await ledgerContext(context));
    const status = await readStandbyStatus(box);
    context.out.result(status, () => renderStandbyStatus(status));
    return status.problems.some(({ severity }) => severity === "bad") ? 1 : 0;
  },
});

/** `fula-master standby`: copies of the ledger's PostgreSQL on other masters. */
export const standbyCommand = defineCommand({
  name: "standby",
  summary: "copies of the ledger's PostgreSQL on other masters",
  description:
    "A standby is a second PostgreSQL server that has everything the primary has acknowledged: what failover and " +
    "switchover hand the ledger to. docs/standby.md explains the modes.",
  examples: [
    { command: "fula-master standby add", explains: "on a second master" },
    { command: "fula-master standby status", explains: "how far it is behind" },
  ],
  subcommands: [addCommand, removeCommand, statusCommand],
});
