import { defineCommand } from "../lib/terminal/command.ts";

interface VerifyOptions {
  readonly all?: boolean;
  readonly maxAge?: string | true;
  readonly anyCluster?: boolean;
}

/** `fula-master verify`: is this snapshot what a box that we trust once wrote? */
export const verifyCommand = defineCommand<VerifyOptions>({
  name: "verify",
  summary: "check a snapshot: signature, chain, digests, every record",
  description:
    "Checks the newest snapshot, or the named one: both signatures and whether the key is a trusted one, name, cluster, " +
    "chain to the one before it, sizes, digests, number and order of the pins, and the form of every record. Lists " +
    "everything that is wrong and exits 1. Reads only. Old-format files (pinset-*.json) are checked too.",
  examples: [
    { command: "fula-master verify", explains: "check the newest snapshot" },
    { command: "fula-master verify --max-age", explains: "and exit 1 if it is older than snapshot.maxAge" },
    { command: "fula-master verify --all", explains: "check every snapshot of this box" },
    {
      command: "fula-master verify /mnt/copy/pinset-20261120T030000Z.json --any-cluster",
      explains: "check a copy of another federation's",
    },
  ],
  arguments: [{ name: "file", description: "any file of the snapshot, or its name (default: the newest)" }],
  options: [
    { flags: "--all", description: "check every snapshot in snapshots/" },
    {
      flags: "--max-age [duration]",
      description: "the newest must not be older than this (default: snapshot.maxAge)",
    },
    { flags: "--any-cluster", description: "accept a snapshot of another cluster" },
  ],
  run: async (context, options, [file]) => {
    const { FulaError } = await import("../lib/kernel/errors.ts");
    const { keepYoungGenerationSmall } = await import("../lib/kernel/heap.ts");
    const { loadConfig } = await import("../lib/config/load.ts");
    const { parseMaxAge, runVerify } = await import("../lib/stack/verify-run.ts");
    const { verificationText } = await import("../lib/stack/snapshot-text.ts");
    const { out, clock, signal, cwd } = context;
    if (options.all === true && file !== undefined) {
      throw new FulaError("FULA_USAGE", `verify takes a file or --all, not both.`, {
        hint: "fula-master verify --help",
      });
    }
    keepYoungGenerationSmall();
    const loaded = await loadConfig(context);
    const progress = out.progress("Verify", "pins", () => clock.monotonicMs());
    try {
      const results = await runVerify(
        loaded,
        {
          file: file ?? null,
          all: options.all === true,
          anyCluster: options.anyCluster === true,
          maxAgeMs: parseMaxAge(options.maxAge, loaded.config.snapshot.maxAge),
        },
        { clock, signal, cwd, onProgress: progress.update.bind(progress) },
      );
      progress.end();
      const ok = results.every((result) => result.ok);
      const value = options.all === true ? { ok, snapshots: results } : results[0];
      out.result(value, () => results.map(verificationText).join("\n"));
      return ok ? 0 : 1;
    } finally {
      progress.end();
    }
  },
});
