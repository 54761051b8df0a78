import type { RemovedMaster } from "../lib/stack/membership-rekey.ts";
import { defineCommand } from "../lib/terminal/command.ts";
import { appliedText } from "./membership-pool.ts";

const POOL = { name: "pool", description: "the pool's id, as pool list shows it", required: true };

const listCommand = defineCommand({
  name: "list",
  aliases: ["ls"],
  summary: "list who belongs to a pool",
  description:
    "Lists the members of one pool, or of all, and which epoch of the secret each has put to use; 1 of 2 lags behind and " +
    "needs membership sync on that box. Reads only.",
  examples: [
    { command: "fula-master membership member list", explains: "of every pool" },
    {
      command: "fula-master membership member list masters --json",
      explains: "members, each with pool, endpoint, name, role, joinedAt, appliedEpoch and poolEpoch",
    },
  ],
  arguments: [{ name: "pool", description: "the pool's id (default: every pool)" }],
  run: async (context, _options, [pool]) => {
    const { listAllMembers } = await import("../lib/stack/membership-members.ts");
    const members = await listAllMembers(context, pool ?? null);
    context.out.result({ members }, () => {
      if (members.length === 0) return "No members.";
      return context.out.table(
        ["POOL", "MEMBER", "ENDPOINT", "ROLE", "APPLIED", "JOINED"].map((title) => ({ title })),
        members.map((member) => [
          member.pool,
          member.name,
          member.endpoint,
          member.role,
          appliedText(member, member.poolEpoch),
          member.joinedAt.slice(0, 10),
        ]),
      );
    });
  },
});

const addCommand = defineCommand<{ readonly name?: string; readonly dryRun?: boolean }>({
  name: "add",
  summary: "admit a box to a pool",
  description:
    "Admits a box by its endpoint and seals to it what this box has of the pool's secrets, of every epoch. This box must " +
    "be a member itself. Masters admit themselves when they join; this is for pools of your own, and for a box whose key " +
    "was replaced. Writes one member and its sealed keys.",
  examples: [
    {
      command: "fula-master membership member add backups x25519:<64 hex digits> --name backup-1",
      explains: "membership key endpoint prints it on the other box",
    },
    {
      command: "fula-master membership member add backups x25519:<64 hex digits> --name backup-1 --dry-run --json",
      explains: "dryRun, member and pool",
    },
  ],
  arguments: [POOL, { name: "endpoint", description: "the box's public identity, x25519:…", required: true }],
  options: [{ flags: "--name <text>", description: "what people call the box (default: its endpoint)" }],
  changes: true,
  requires: "admin",
  run: async (context, { name, dryRun = false }, [pool = "", endpoint = ""]) => {
    const { addOneMember } = await import("../lib/stack/membership-members.ts");
    const report = await addOneMember(context, { pool, endpoint, name: name ?? endpoint, dryRun });
    context.out.result(report, () => `${dryRun ? "Would admit" : "Admitted"} ${report.member.name} to ${pool}.`);
  },
});

function removedText({ dryRun, name, pools, next }: RemovedMaster): string {
  const where = pools.map(({ pool, epoch }) => `${pool} (new secret of epoch ${epoch})`).join(", ");
  return [
    `${dryRun ? "Would take" : "Took"} ${name} out of ${where}.`,
    "What the box knew it still knows; a new secret counts where it was put to use.",
    ...(next.length === 0 ? [] : ["Next:", ...next.map((line) => `  ${line}`)]),
  ].join("\n");
}

const removeCommand = defineCommand<{ readonly dryRun?: boolean; readonly yes?: boolean }>({
  name: "remove",
  aliases: ["rm"],
  summary: "take a box out of a pool, which gets a new secret",
  description:
    "Gives the pool a new secret, sealed to all members but this one, and then takes the member out; cut off anywhere, it " +
    "can be run again. Of a master it is all three pools of the federation. Each box that stays takes the new secrets up " +
    "with membership sync.",
  examples: [
    { command: "fula-master membership member remove masters master-2 --dry-run", explains: "what it would mean" },
    { command: "fula-master membership member remove masters master-2", explains: "asks first" },
    {
      command: "fula-master membership member remove backups backup-1 --yes --json",
      explains: "dryRun, name, endpoint, pools and next",
    },
  ],
  arguments: [POOL, { name: "member", description: "the box's name or endpoint", required: true }],
  changes: true,
  asks: true,
  requires: "admin",
  run: async (context, { dryRun = false, yes = false }, [pool = "", who = ""]) => {
    const { removeOneMember } = await import("../lib/stack/membership-members.ts");
    const report = await removeOneMember(context, {
      pool,
      who,
      dryRun,
      confirm: async (member) =>
        await context.out.confirm(`Take ${member.name} out of ${pool} and give the others a new secret?`, yes),
    });
    context.out.result(report, () => removedText(report));
  },
});

/** `fula-master membership member`: who belongs. */
export const membershipMemberCommand = defineCommand({
  name: "member",
  summary: "members: the boxes that belong to a pool",
  description: "Lists, admits and removes the boxes that share a pool's secret.",
  examples: [
    { command: "fula-master membership member list", explains: "who belongs where" },
    { command: "fula-master membership member remove masters master-2", explains: "a master that was stolen" },
  ],
  subcommands: [listCommand, addCommand, removeCommand],
});
