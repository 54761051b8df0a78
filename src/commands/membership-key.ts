import { InvalidArgumentError } from "commander";
import { FulaError } from "../lib/kernel/errors.ts";
import { defineCommand } from "../lib/terminal/command.ts";

const POOL = { name: "pool", description: "the pool's id, as pool list shows it", required: true };

function parseEpoch(text: string): number {
  const epoch = Number(text);
  if (/^[1-9]\d{0,14}$/.test(text)) return epoch;
  throw new InvalidArgumentError("It must be a whole number from 1 on.");
}

const EPOCH_OPTION = {
  flags: "--epoch <number>",
  description: "an earlier epoch (default: the newest)",
  parse: parseEpoch,
};

const endpointCommand = defineCommand({
  name: "endpoint",
  summary: "print this box's public identity",
  description: "Prints the endpoint of this box: what others seal secrets to. It is no secret. Reads only.",
  examples: [{ command: "fula-master membership key endpoint", explains: "for membership member add on another box" }],
  run: async (context) => {
    const { loadConfig } = await import("../lib/config/load.ts");
    const { requireBoxKey } = await import("../lib/stack/membership-run.ts");
    const { paths } = await loadConfig(context);
    const { endpoint } = await requireBoxKey(paths);
    context.out.result({ endpoint }, () => endpoint);
  },
});

const listCommand = defineCommand({
  name: "list",
  aliases: ["ls"],
  summary: "list the epochs of a pool's secret, and who has each",
  description: "Lists every epoch of a pool's secret, newest first, with the members it was sealed to. Reads only.",
  examples: [
    { command: "fula-master membership key list masters", explains: "who can read what" },
    { command: "fula-master membership key list masters --json", explains: "epochs, each with epoch and sealedTo" },
  ],
  arguments: [POOL],
  run: async (context, _options, [pool = ""]) => {
    const { listEpochs } = await import("../lib/stack/membership-keys.ts");
    const epochs = await listEpochs(context, pool);
    context.out.result({ epochs }, () => {
      if (epochs.length === 0) return `The pool ${pool} has no secret.`;
      return context.out.table(
        [{ title: "EPOCH", align: "right" }, { title: "SEALED TO" }],
        epochs.map(({ epoch, sealedTo }) => [String(epoch), sealedTo.join(", ")]),
      );
    });
  },
});

const showCommand = defineCommand<{ readonly epoch?: number }>({
  name: "show",
  summary: "print a member's sealed key, which opens on its box alone",
  description:
    "Prints a pool's secret as it is stored: sealed to one member. Only that box can open it, with membership key open. " +
    "Reads only.",
  examples: [
    { command: "fula-master membership key show cluster", explains: "that of this box" },
    {
      command: "fula-master membership key show cluster master-2 --json > sealed.json",
      explains: "pool, epoch, member and sealed, for key open --sealed-file on master-2",
    },
  ],
  arguments: [POOL, { name: "member", description: "a box's name or endpoint (default: this box)" }],
  options: [EPOCH_OPTION],
  run: async (context, { epoch }, [pool = "", member]) => {
    const { showSealedKey } = await import("../lib/stack/membership-keys.ts");
    const record = await showSealedKey(context, { pool, member: member ?? null, epoch: epoch ?? null });
    context.out.result(record, () => record.sealed);
  },
});

interface OpenCommandOptions {
  readonly epoch?: number;
  readonly sealedFile?: string;
  readonly output?: string;
  readonly reveal?: boolean;
}

const openCommand = defineCommand<OpenCommandOptions>({
  name: "open",
  summary: "open a sealed key with this box's key",
  description:
    "Opens a pool's secret that was sealed to this box, and writes it to a file of mode 0600 or to standard output; a " +
    "terminal gets it with --reveal alone. With --sealed-file it works where the control plane does not answer. Reads " +
    "only, beside the file that --output names.",
  examples: [
    { command: "fula-master membership key open cluster --output cluster-secret", explains: "into a file" },
    { command: "fula-master membership key open cluster --reveal", explains: "on the screen" },
    {
      command: "fula-master membership key open cluster --sealed-file sealed.json --reveal",
      explains: "from what key show --json printed on another box",
    },
    {
      command: "fula-master membership key open cluster --output cluster-secret --json",
      explains: "pool, epoch, member and file; secret where there is no --output",
    },
  ],
  arguments: [POOL],
  options: [
    EPOCH_OPTION,
    { flags: "--sealed-file <file>", description: "a sealed key from this file instead of the control plane" },
    { flags: "--output <file>", description: "write the secret to this file" },
    { flags: "--reveal", description: "print the secret on a terminal" },
  ],
  run: async (context, { epoch, sealedFile, output, reveal = false }, [pool = ""]) => {
    const { openSealedKey } = await import("../lib/stack/membership-keys.ts");
    const { out } = context;
    if (output === undefined && out.stdout.isTTY === true && !reveal) {
      throw new FulaError("FULA_USAGE", "A secret is not shown on a terminal, whose lines others may read later.", {
        hint: "write it to a file with --output, or add --reveal if you mean it.",
      });
    }
    const opened = await openSealedKey(context, {
      pool,
      epoch: epoch ?? null,
      sealedFile: sealedFile ?? null,
      output: output ?? null,
    });
    const { secret, ...rest } = opened;
    const plain = secret?.reveal();
    out.result(
      { ...rest, ...(plain === undefined ? {} : { secret: plain }) },
      () => plain ?? `Wrote the secret of epoch ${opened.epoch} of ${pool} to ${opened.file}.`,
    );
  },
});

/** `fula-master membership key`: sealed secrets. */
export const membershipKeyCommand = defineCommand({
  name: "key",
  summary: "sealed keys: the pools' secrets",
  description: "Lists, shows and opens the secrets of pools, which are sealed to each member.",
  examples: [
    { command: "fula-master membership key list masters", explains: "who can read what" },
    { command: "fula-master membership key open cluster --output cluster-secret", explains: "this box's own" },
  ],
  subcommands: [endpointCommand, listCommand, showCommand, openCommand],
});
