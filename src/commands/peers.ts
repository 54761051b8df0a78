import type { ExportReport, ForgetReport, NodeListing } from "../lib/stack/peers-run.ts";
import { defineCommand } from "../lib/terminal/command.ts";

function secretsText({ sameSecrets }: NodeListing): string {
  if (sameSecrets === null) return "-";
  return sameSecrets ? "same" : "DIFFERENT";
}

const peersShowCommand = defineCommand({
  name: "show",
  aliases: ["list", "ls"],
  summary: "list the boxes of the federation",
  description:
    "Lists every box that has written itself down in the ledger, with its peer ids, when it was seen last, and whether " +
    "it has the same shared secrets as this one. Exits 1 where a master has others. Reads only.",
  examples: [
    { command: "fula-master peers show", explains: "who belongs to this federation" },
    {
      command: "fula-master peers show --json",
      explains: "nodes, each with name, role, peer ids, addresses, version, joinedAt, seenAt, isSelf and sameSecrets",
    },
  ],
  run: async (context) => {
    const { showPeers } = await import("../lib/stack/peers-run.ts");
    const nodes = await showPeers(context);
    context.out.result({ nodes }, () => {
      if (nodes.length === 0) return "No box has written itself down yet: fula-master join does it.";
      return context.out.table(
        ["NAME", "ROLE", "CLUSTER PEER", "SEEN", "SECRETS", "VERSION"].map((title) => ({ title })),
        nodes.map((node) => [
          node.isSelf ? `${node.name} (this box)` : node.name,
          node.role,
          node.clusterPeerId ?? "-",
          node.seenAt.slice(0, 16).replace("T", " "),
          secretsText(node),
          node.version,
        ]),
      );
    });
    return nodes.some(({ sameSecrets }) => sameSecrets === false) ? 1 : 0;
  },
});

interface ExportCommandOptions {
  readonly expires: string;
  readonly output?: string;
  readonly dryRun?: boolean;
}

function exportedText({ file, dryRun, signed }: ExportReport, rendered: string): string {
  const { document, key } = signed;
  if (file === null) return rendered;
  return [
    `${dryRun ? "Would write" : "Wrote"} ${file}: ${document.masters.map(({ name }) => name).join(", ")}, good until ${document.expiresAt}.`,
    `Signed by ${key}. Read this key to whoever runs the storage node; the document alone proves nothing.`,
  ].join("\n");
}

const peersExportCommand = defineCommand<ExportCommandOptions>({
  name: "export",
  summary: "sign the list of masters for storage nodes",
  description:
    "Writes a document that names the masters with their peer ids and addresses, signed with this master's key. There is " +
    "no secret in it; a storage node takes it only with the key that must have signed it. Pins the small probe block by " +
    "which storage nodes see that they replicate, where it is not pinned yet.",
  examples: [
    { command: "fula-master peers export --output peers.json", explains: "for a web server, or to copy by hand" },
    { command: "fula-master peers export --expires 90d", explains: "to standard output, good for 90 days" },
    { command: "fula-master peers export --json", explains: "document, key and signature" },
  ],
  options: [
    { flags: "--expires <duration>", description: "how long it is good, 365d at most", default: "30d" },
    { flags: "--output <file>", description: "write it to this file instead of standard output" },
  ],
  changes: true,
  requires: "operator",
  run: async (context, { expires, output, dryRun = false }) => {
    const { exportPeers, renderSignedPeers } = await import("../lib/stack/peers-run.ts");
    const report = await exportPeers(context, { expires, output: output ?? null, dryRun });
    const value = report.file === null && !dryRun ? report.signed : report;
    context.out.result(value, () => exportedText(report, renderSignedPeers(report.signed)));
  },
});

function forgottenText({ node }: ForgetReport): string {
  const done = `Forgot ${node.name}.`;
  if (node.clusterPeerId === null) return done;
  return `${done} Its peer ${node.clusterPeerId} is trusted until you take it out of cluster.trustedPeers on every box and run join there again.`;
}

const peersForgetCommand = defineCommand<{ readonly dryRun?: boolean; readonly yes?: boolean }>({
  name: "forget",
  summary: "take a box out of the list that will not come back",
  description:
    "Removes a box's row from the ledger. Its cluster peer stays trusted by each box until it is taken out of " +
    "cluster.trustedPeers there, and what it knows of the shared secrets it still knows.",
  examples: [{ command: "fula-master peers forget master-2", explains: "its disk is gone for good" }],
  arguments: [{ name: "name", description: "the box's name, as peers show prints it", required: true }],
  changes: true,
  asks: true,
  requires: "admin",
  run: async (context, { dryRun = false, yes = false }, [name = ""]) => {
    const { forgetPeer } = await import("../lib/stack/peers-run.ts");
    if (!dryRun) await context.out.confirm(`Forget the box ${name}?`, yes);
    const report = await forgetPeer(context, name, dryRun);
    context.out.result(report, () => (dryRun ? `Would forget ${name}.` : forgottenText(report)));
  },
});

/** `fula-master peers`: who belongs to the federation. */
export const peersCommand = defineCommand({
  name: "peers",
  summary: "the boxes of the federation",
  description: "Shows the boxes of this federation, and signs the list of its masters for storage nodes.",
  examples: [
    { command: "fula-master peers show", explains: "who belongs to it" },
    { command: "fula-master peers export --output peers.json", explains: "what a storage node joins with" },
  ],
  subcommands: [peersShowCommand, peersExportCommand, peersForgetCommand],
});
