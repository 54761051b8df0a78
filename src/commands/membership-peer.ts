import { defineCommand } from "../lib/terminal/command.ts";
import { membershipRescueCommand } from "./membership-rescue.ts";

const removeCommand = defineCommand<{ readonly dryRun?: boolean; readonly yes?: boolean; readonly force?: boolean }>({
  name: "remove",
  aliases: ["rm"],
  summary: "take a dead server out of the control plane",
  description:
    "Takes a NATS server that will not come back out of the control plane's, so that it counts no more when the others " +
    "vote; what it held is copied to others where there are enough. Refuses for a server that runs, and where those that " +
    "are left could not agree. Changes the group of servers, not who belongs to the federation.",
  examples: [
    { command: "fula-master membership peer remove master-3 --dry-run", explains: "who would be left" },
    { command: "fula-master membership peer remove master-3", explains: "asks first" },
    { command: "fula-master membership peer remove master-3 --yes --json", explains: "dryRun, server and left" },
  ],
  arguments: [{ name: "server", description: "its name, as membership status shows it", required: true }],
  options: [{ flags: "--force", description: "also a server that runs; it is back at its next start" }],
  changes: true,
  asks: true,
  requires: "admin",
  run: async (context, { dryRun = false, yes = false, force = false }, [name = ""]) => {
    const { removeServer } = await import("../lib/stack/membership-peer.ts");
    const report = await removeServer(context, {
      name,
      force,
      dryRun,
      confirm: async (left) =>
        await context.out.confirm(
          `Take ${name} out of the control plane's servers, and leave ${left.join(", ")}?`,
          yes,
        ),
    });
    context.out.result(
      report,
      () =>
        `${dryRun ? "Would take" : "Took"} ${name} out; ${report.left.join(", ")} ${dryRun ? "would be" : "are"} left.`,
    );
  },
});

/** `fula-master membership peer`: the control plane's servers. */
export const membershipPeerCommand = defineCommand({
  name: "peer",
  summary: "servers: the NATS servers that keep the control plane",
  description:
    "Takes servers out of the control plane that will not come back, and goes on where most are gone; membership status " +
    "shows them all.",
  examples: [
    { command: "fula-master membership peer remove master-3", explains: "a box that burned" },
    { command: "fula-master membership peer rescue", explains: "two of three that burned" },
  ],
  subcommands: [removeCommand, membershipRescueCommand],
});
