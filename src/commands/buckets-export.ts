import { formatBytes, formatCount } from "../lib/kernel/units.ts";
import { defineCommand } from "../lib/terminal/command.ts";

/** `fula-master buckets export`: a bucket as a CAR file. */
export const bucketsExportCommand = defineCommand<{ readonly root?: string; readonly contents: boolean }>({
  name: "export",
  summary: "write a bucket into a CAR file",
  description:
    "Writes the index of a bucket at its current root, what is kept of every object, and every content into one file that " +
    "every IPFS tool reads (CAR, version 1). The file is there wholly or not at all; nothing else is changed.",
  examples: [
    { command: "fula-master buckets export alice@example.com/photos photos.car", explains: "everything" },
    {
      command: "fula-master buckets export alice@example.com/photos index.car --no-contents",
      explains: "the index alone",
    },
  ],
  arguments: [
    { name: "bucket", description: "<owner>/<bucket>", required: true },
    { name: "file", description: "where to write it", required: true },
  ],
  options: [
    { flags: "--root <cid>", description: "an earlier root of the bucket (default: the current one)" },
    { flags: "--no-contents", description: "leave out what the objects consist of" },
  ],
  run: async (context, { root, contents }, [bucket = "", file = ""]) => {
    const { runBucketExport } = await import("../lib/stack/bucket-export-run.ts");
    const { parseBucketName } = await import("../lib/stack/bucket-name.ts");
    const report = await runBucketExport(context, parseBucketName(bucket), { file, root: root ?? null, contents });
    context.out.result(
      report,
      () =>
        `${formatCount(report.keys, "object")} in ${formatCount(report.blocks, "block")}, ${formatBytes(report.bytes)}\n${report.root}`,
    );
  },
});
