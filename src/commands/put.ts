import type { PutReport } from "../lib/stack/put-run.ts";
import { formatBytes } from "../lib/kernel/units.ts";
import { defineCommand } from "../lib/terminal/command.ts";

interface PutCommandOptions {
  readonly endpoint?: string;
  readonly tokenFile?: string;
  readonly keyFile?: string;
  readonly viaIngest?: readonly string[];
  readonly contentType?: string;
  readonly insecure?: boolean;
  readonly dryRun?: boolean;
}

function reportText({ dryRun, bucket, key, url, sizeBytes, outcome }: PutReport): string {
  const name = `s3://${bucket}/${key}`;
  if (dryRun || outcome === null) return `would put ${formatBytes(sizeBytes)} as ${name} (${url})`;
  const way = outcome.node === null ? "the gateway took the bytes" : `${outcome.node} took the bytes`;
  const lines = [`${name}  ${formatBytes(sizeBytes)}, ETag ${outcome.etag}; ${way}`];
  if (outcome.fellBack !== null) lines.push(`not by way of a storage node: ${outcome.fellBack.because}`);
  return lines.join("\n");
}

/** `fula-master put`: upload a file, by way of a storage node or not. */
export const putCommand = defineCommand<PutCommandOptions>({
  name: "put",
  summary: "upload a file to a gateway, by way of a storage node if you like",
  description:
    "Uploads a file as an object. With --via-ingest its bytes go to a storage node, which checks them, and the gateway " +
    "makes an object of their name; where any step of that is not possible, the gateway takes the bytes, and the result " +
    "says why. Needs no installation on this box: only the gateway's address and a credential. Writes one object.",
  examples: [
    {
      command:
        "fula-master put photo.jpg s3://photos/2026/photo.jpg --endpoint https://gateway.example.com --token-file token",
      explains: "the gateway takes the bytes",
    },
    {
      command:
        "fula-master put photo.jpg s3://photos/photo.jpg --endpoint https://gateway.example.com --token-file token --via-ingest https://node-1.example.com:3601",
      explains: "a storage node takes them",
    },
    {
      command: "fula-master key create --user alice@example.com --json > alice.key",
      explains: "a credential for --key-file",
    },
  ],
  arguments: [
    { name: "file", description: "what to upload", required: true },
    { name: "target", description: "s3://<bucket>/<key>; the bucket must be there", required: true },
  ],
  options: [
    { flags: "--endpoint <url>", description: "base URL of the gateway (default: AWS_ENDPOINT_URL_S3)" },
    { flags: "--token-file <file>", description: "file with a session token or a wallet token" },
    {
      flags: "--key-file <file>",
      description: "file with an access key, as key create prints it with --json or --env",
    },
    { flags: "--via-ingest <url...>", description: "storage nodes that may take the bytes, tried in this order" },
    { flags: "--content-type <type>", description: "media type that the object is given out with" },
    { flags: "--insecure", description: "allow http:// to other boxes: whoever is on the way could take the token" },
  ],
  changes: true,
  run: async (context, options, [file = "", target = ""]) => {
    const { runPut } = await import("../lib/stack/put-run.ts");
    const { out, clock, env, cwd, signal } = context;
    const progress = out.progress("Put", "bytes", () => clock.monotonicMs());
    try {
      const report = await runPut(
        {
          file,
          target,
          endpoint: options.endpoint,
          tokenFile: options.tokenFile,
          keyFile: options.keyFile,
          viaIngest: options.viaIngest ?? [],
          contentType: options.contentType,
          insecure: options.insecure === true,
          dryRun: options.dryRun === true,
        },
        { env, cwd, signal, onProgress: progress.update.bind(progress) },
      );
      progress.end();
      out.result(report, () => reportText(report));
    } finally {
      progress.end();
    }
  },
});
