import type { TrustReport } from "../lib/stack/trust-run.ts";
import { type CommandContext, defineCommand } from "../lib/terminal/command.ts";

interface ChangeOptions {
  readonly dryRun?: boolean;
}

function report({ out }: CommandContext, result: TrustReport, verb: string): void {
  out.result(result, () => {
    if (!result.changed) return `Already so: ${result.configFile} was not changed.`;
    return `${result.dryRun ? "Would " : ""}${verb} ${result.keyId} (${result.configFile}).`;
  });
}

/** `key trust`: snapshots that this key signed are good here. */
export const keyTrustCommand = defineCommand<ChangeOptions>({
  name: "trust",
  summary: "accept snapshots that another box's key signed",
  description:
    "Adds a public key to snapshot.trustedKeys in fula-master.yaml, so that verify and restore accept what it signed. " +
    "Compare the key with what its own box prints before you trust it.",
  examples: [
    { command: "fula-master key trust ed25519:9f3c...", explains: "as fula-master key trusted prints it there" },
    { command: "fula-master key trust snapshot-ed25519.pub.pem", explains: "from a PEM file, the old fleet's too" },
    { command: "fula-master key trust snapshot-minisign.pub", explains: "from a minisign public key" },
  ],
  arguments: [
    { name: "file", description: "ed25519:<hex>, a PEM or minisign file, or a minisign key", required: true },
  ],
  changes: true,
  run: async (context, { dryRun = false }, [key = ""]) => {
    const { trustKey } = await import("../lib/stack/trust-run.ts");
    report(context, await trustKey(context, key, dryRun), dryRun ? "trust" : "Trusted");
  },
});

/** `key untrust`: the way back. */
export const keyUntrustCommand = defineCommand<ChangeOptions>({
  name: "untrust",
  summary: "no longer accept snapshots that a key signed",
  description: "Takes a public key out of snapshot.trustedKeys in fula-master.yaml. This box's own key always counts.",
  examples: [{ command: "fula-master key untrust ed25519:9f3c...", explains: "its private half was lost or stolen" }],
  arguments: [
    { name: "file", description: "ed25519:<hex>, a PEM or minisign file, or a minisign key", required: true },
  ],
  changes: true,
  run: async (context, { dryRun = false }, [key = ""]) => {
    const { untrustKey } = await import("../lib/stack/trust-run.ts");
    report(context, await untrustKey(context, key, dryRun), dryRun ? "no longer trust" : "No longer trusted:");
  },
});

/** `key trusted`: whose signatures count. */
export const keyTrustedCommand = defineCommand({
  name: "trusted",
  aliases: ["list-trusted"],
  summary: "list the keys whose snapshots are accepted",
  description:
    "Lists this box's own snapshot key and those of snapshot.trustedKeys, also in minisign's form. Reads only.",
  examples: [{ command: "fula-master key trusted", explains: "read the own key to whoever must trust this box" }],
  run: async (context) => {
    const { listTrusted } = await import("../lib/stack/trust-run.ts");
    const keys = await listTrusted(context);
    context.out.result({ keys }, () => {
      if (keys.length === 0) return "No key yet: fula-master join makes this box's own.";
      return keys
        .map(
          ({ keyId, source, minisign }) =>
            `${keyId}  ${source === "own" ? "this box" : "snapshot.trustedKeys"}\n  minisign: ${minisign}`,
        )
        .join("\n");
    });
  },
});
