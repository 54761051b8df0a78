import { defineCommand } from "../lib/terminal/command.ts";
import { bucketsCompactCommand } from "./buckets-compact.ts";
import { bucketsExportCommand } from "./buckets-export.ts";
import { bucketsGcCommand } from "./buckets-gc.ts";
import { bucketsImportCommand } from "./buckets-import.ts";
import { bucketsListCommand } from "./buckets-list.ts";
import { bucketsMergeCommand } from "./buckets-merge.ts";
import { bucketsModeCommand } from "./buckets-mode.ts";
import { bucketsRebuildCommand } from "./buckets-rebuild.ts";
import { bucketsShowCommand } from "./buckets-show.ts";
import { bucketsVerifyCommand } from "./buckets-verify.ts";

/** `fula-master buckets`: what users store through the S3 gateway. */
export const bucketsCommand = defineCommand({
  name: "buckets",
  summary: "buckets of the S3 gateway: look, verify, import, mend",
  description:
    "Shows the buckets of this ledger, proves that all that they refer to is there and kept, brings in those of an earlier " +
    "gateway, and does by hand what an operator may have to. docs/buckets.md explains what a bucket is.",
  examples: [
    { command: "fula-master buckets list", explains: "every bucket with its owner, objects and bytes" },
    {
      command: "fula-master buckets verify --all",
      explains: "exit code 0 = everything is there, 1 = something is not",
    },
  ],
  subcommands: [
    bucketsListCommand,
    bucketsShowCommand,
    bucketsVerifyCommand,
    bucketsImportCommand,
    bucketsGcCommand,
    bucketsCompactCommand,
    bucketsMergeCommand,
    bucketsRebuildCommand,
    bucketsExportCommand,
    bucketsModeCommand,
  ],
});
