import type { Member } from "../lib/membership/records.ts";
import { defineCommand } from "../lib/terminal/command.ts";
import { formatCount } from "../lib/kernel/units.ts";

const POOL = { name: "pool", description: "the pool's id, as pool list shows it", required: true };

const listCommand = defineCommand({
  name: "list",
  aliases: ["ls"],
  summary: "list the pools",
  description: "Lists every pool with the epoch of its secret and how many boxes belong to it. Reads only.",
  examples: [
    { command: "fula-master membership pool list", explains: "masters, cluster, swarm and any others" },
    {
      command: "fula-master membership pool list --json",
      explains: "pools, each with id, name, encrypted, owner, epoch, createdAt and members",
    },
  ],
  run: async (context) => {
    const { listAllPools } = await import("../lib/stack/membership-pools.ts");
    const pools = await listAllPools(context);
    context.out.result({ pools }, () => {
      if (pools.length === 0) return "No pools yet: fula-master join makes them.";
      return context.out.table(
        [
          { title: "POOL" },
          { title: "NAME" },
          { title: "EPOCH", align: "right" },
          { title: "MEMBERS", align: "right" },
          { title: "SINCE" },
        ],
        pools.map(({ id, name, encrypted, epoch, members, createdAt }) => [
          id,
          name,
          encrypted ? String(epoch) : "no secret",
          String(members),
          createdAt.slice(0, 10),
        ]),
      );
    });
  },
});

/** Which epoch of the pool's secret a box says it has put to use; those of pools of your own never do. */
export function appliedText({ appliedEpoch }: Member, epoch: number): string {
  if (appliedEpoch === 0) return "-";
  return appliedEpoch === epoch ? `${epoch}` : `${appliedEpoch} of ${epoch}`;
}

const showCommand = defineCommand({
  name: "show",
  summary: "show one pool and who belongs to it",
  description: "Shows a pool, its members, and which epoch of the secret each of them has put to use. Reads only.",
  examples: [
    { command: "fula-master membership pool show masters", explains: "the masters, and who lags" },
    { command: "fula-master membership pool show masters --json", explains: "pool and members" },
  ],
  arguments: [POOL],
  run: async (context, _options, [id = ""]) => {
    const { showOnePool } = await import("../lib/stack/membership-pools.ts");
    const { pool, members } = await showOnePool(context, id);
    context.out.result({ pool, members }, () => {
      const secret = pool.encrypted ? `secret of epoch ${pool.epoch}` : "no secret";
      const table = context.out.table(
        ["MEMBER", "ENDPOINT", "ROLE", "APPLIED", "JOINED"].map((title) => ({ title })),
        members.map((member) => [
          member.name,
          member.endpoint,
          member.role,
          appliedText(member, pool.epoch),
          member.joinedAt.slice(0, 10),
        ]),
      );
      return `${pool.name} (${pool.id}): ${secret}, ${formatCount(members.length, "member")}\n\n${table}`;
    });
  },
});

const createCommand = defineCommand<{ readonly name: string; readonly dryRun?: boolean }>({
  name: "create",
  summary: "make a pool with a secret of its own",
  description:
    "Makes a pool whose owner and only member is this box, with a random secret of 32 bytes that is sealed to it: the " +
    "control plane never has it in the clear. Writes the pool, one member and one sealed key.",
  examples: [
    { command: 'fula-master membership pool create backups --name "Backup boxes"', explains: "a pool of your own" },
    { command: "fula-master membership pool create backups --dry-run --json", explains: "dryRun and pool" },
  ],
  arguments: [
    { name: "pool", description: "its id: lower-case letters, digits and dashes, at most 63", required: true },
  ],
  options: [{ flags: "--name <text>", description: "what people call it (default: its id)", default: "" }],
  changes: true,
  requires: "admin",
  run: async (context, { name, dryRun = false }, [id = ""]) => {
    const { createOnePool } = await import("../lib/stack/membership-pools.ts");
    const report = await createOnePool(context, id, { name, dryRun });
    context.out.result(
      report,
      () => `${dryRun ? "Would make" : "Made"} the pool ${report.pool.id} with this box as its owner.`,
    );
  },
});

const deleteCommand = defineCommand<{ readonly dryRun?: boolean; readonly yes?: boolean }>({
  name: "delete",
  summary: "take a pool away with its members and sealed keys",
  description:
    "Takes a pool out of the control plane, with its members and every sealed key of every epoch: what was encrypted with " +
    "its secrets can then only be read by who has kept them. The pools of the federation itself cannot be deleted.",
  examples: [{ command: "fula-master membership pool delete backups", explains: "asks for the name first" }],
  arguments: [POOL],
  changes: true,
  asks: true,
  requires: "admin",
  run: async (context, { dryRun = false, yes = false }, [id = ""]) => {
    const { deleteOnePool } = await import("../lib/stack/membership-pools.ts");
    const report = await deleteOnePool(context, id, {
      dryRun,
      confirm: async ({ pool, members }) => {
        const question = `Delete the pool ${pool.id} with ${formatCount(members.length, "member")} and ${formatCount(pool.epoch, "epoch")} of its secret?`;
        await context.out.confirmByName(question, pool.id, yes);
      },
    });
    context.out.result(report, () => `${dryRun ? "Would delete" : "Deleted"} the pool ${report.pool.id}.`);
  },
});

/** `fula-master membership pool`: those who share a secret. */
export const membershipPoolCommand = defineCommand({
  name: "pool",
  summary: "pools: those who share a secret",
  description: "Lists, shows, makes and deletes pools.",
  examples: [
    { command: "fula-master membership pool list", explains: "which there are" },
    { command: "fula-master membership pool show masters", explains: "who belongs to one" },
  ],
  subcommands: [listCommand, showCommand, createCommand, deleteCommand],
});
