import { InvalidArgumentError } from "commander";
import { formatBytes, formatCount } from "../lib/kernel/units.ts";
import type { PinJobView, PinRequestView } from "../lib/pinning/queue/look.ts";
import type { PinShow, PinsRetry } from "../lib/stack/pins-run.ts";
import { defineCommand } from "../lib/terminal/command.ts";

const LIMIT_MAX = 10_000;

function parseLimit(text: string): number {
  const limit = /^\d{1,5}$/.test(text) ? Number(text) : 0;
  if (limit >= 1 && limit <= LIMIT_MAX) return limit;
  throw new InvalidArgumentError(`It must be a whole number from 1 to ${LIMIT_MAX}.`);
}

function stateOf({ state, claimedBy, dueAt }: PinJobView): string {
  if (state === "claimed") return `claimed by ${claimedBy ?? "a master"}`;
  return state === "waiting" ? `waits until ${dueAt ?? "later"}` : state;
}

const pinsQueueCommand = defineCommand<{ readonly dead?: boolean; readonly limit: number }>({
  name: "queue",
  summary: "what users asked for and is not done yet",
  description:
    "Shows how the pin queue of all masters stands, and its jobs, those that have waited longest first. A job is one " +
    "content: its pin is to be made or, where no request wants it any more, handed to the collector. Reads only.",
  examples: [
    { command: "fula-master pins queue", explains: "what waits" },
    { command: "fula-master pins queue --dead", explains: "what was given up, and why" },
    {
      command: "fula-master pins queue --json",
      explains: "waiting, claimed, failing, dead, oldestSeconds, overdueSeconds, jobs",
    },
  ],
  options: [
    { flags: "--dead", description: "those that were given up" },
    { flags: "--limit <count>", description: "jobs at most", default: 50, parse: parseLimit },
  ],
  run: async (context, { dead = false, limit }) => {
    const { runPinsQueue } = await import("../lib/stack/pins-run.ts");
    const listing = await runPinsQueue(context, { dead, limit });
    context.out.result(listing, () => {
      const { waiting, claimed, failing, dead: deadCount, jobs } = listing;
      const head = `${waiting} waiting (${claimed} claimed, ${failing} failing), ${deadCount} given up`;
      if (jobs.length === 0) return head;
      const table = context.out.table(
        [
          { title: "CID", cut: "middle" },
          { title: "REQUESTS", align: "right" },
          { title: "SINCE" },
          { title: "STATE" },
          { title: "TRIES", align: "right" },
          { title: "LAST ERROR", cut: "end" },
        ],
        jobs.map((job) => [
          job.cid,
          String(job.requests),
          job.queuedAt,
          stateOf(job),
          String(job.attempts),
          job.lastError ?? "-",
        ]),
      );
      const total = dead ? deadCount : waiting;
      const rest = jobs.length < total ? `\n${jobs.length} of ${total}; --limit shows more.` : "";
      return `${head}\n\n${table}${rest}`;
    });
  },
});

function requestLine({ requestId, userId, status, name, sizeBytes }: PinRequestView): string {
  const size = sizeBytes === null ? "size not known" : formatBytes(Number(sizeBytes));
  return `  ${requestId}  ${status}, ${size}, account ${userId?.slice(0, 12) ?? "unknown"}${name === "" ? "" : `, named ${name}`}`;
}

/** What it means that a content has no job. */
function jobless(requests: readonly PinRequestView[]): string {
  const waits = requests.some(({ status }) => status === "queued" || status === "pinning");
  return waits ? "none yet: masters that serve look for such requests once a minute" : "none: nothing is to be done";
}

function showText({ cid, requests, job, pin }: PinShow): string {
  const lines = [`content   ${cid ?? "none that can be read"}`, `requests  ${requests.length}`];
  lines.push(...requests.map(requestLine));
  const error = job?.lastError === null || job === null ? "" : `; last error: ${job.lastError}`;
  lines.push(`job       ${job === null ? jobless(requests) : `${stateOf(job)}${error}`}`);
  if (pin === null) return [...lines, "pin       none in the pinset"].join("\n");
  const whose = pin.source === null ? "an operator's" : `of the ${pin.source}`;
  lines.push(`pin       ${pin.mode}, ${whose}, held by ${pin.held} of ${pin.needed}`);
  lines.push(...pin.peers.map(({ peer, status, error: why }) => `  ${peer}  ${status}${why === "" ? "" : `: ${why}`}`));
  return lines.join("\n");
}

const pinsShowCommand = defineCommand({
  name: "show",
  summary: "everything that is known of a request or a content",
  description:
    "Shows the requests of users for a content, its job on the queue, and where its pin stands at each peer. Reads only.",
  examples: [
    { command: "fula-master pins show 7d4b3f0e-4c5a-4f6e-9d2b-1a2b3c4d5e6f", explains: "by a request id" },
    {
      command: "fula-master pins show bafybeigdyrzt5sfp7udm7hu76uh7y26nf3efuylqabf3oclgtqy55fbzdi",
      explains: "by a CID",
    },
  ],
  arguments: [{ name: "request-or-cid", description: "a request id, or a CID", required: true }],
  run: async (context, _options, [text = ""]) => {
    const { runPinsShow } = await import("../lib/stack/pins-run.ts");
    const shown = await runPinsShow(context, text);
    context.out.result(shown, () => showText(shown));
  },
});

function retryText({ dryRun, jobs }: PinsRetry): string {
  if (jobs.length === 0) return "Nothing was given up.";
  return `${formatCount(jobs.length, "content")} ${dryRun ? "would be" : jobs.length === 1 ? "is" : "are"} tried again at once.`;
}

const pinsRetryCommand = defineCommand<{ readonly allDead?: boolean; readonly dryRun?: boolean }>({
  name: "retry",
  summary: "try a content again at once",
  description:
    "Has a content, or all that were given up, done at once, as if users had just asked for it: requests that failed " +
    "wait again. Serving masters do it; the audit log keeps who asked.",
  examples: [
    { command: "fula-master pins retry --all-dead --dry-run", explains: "what would be tried again" },
    { command: "fula-master pins retry --all-dead", explains: "after what was wrong was mended" },
  ],
  arguments: [{ name: "cid", description: "a CID on the queue", required: false }],
  options: [{ flags: "--all-dead", description: "all that were given up" }],
  changes: true,
  requires: "operator",
  run: async (context, { allDead = false, dryRun = false }, [cid]) => {
    const { runPinsRetry } = await import("../lib/stack/pins-run.ts");
    const run = await runPinsRetry(context, { cid: cid ?? null, allDead, dryRun });
    context.out.result(run, () => retryText(run));
  },
});

/** `fula-master pins`: what users of the pinning service asked for. */
export const pinsCommand = defineCommand({
  name: "pins",
  summary: "requests of the pinning service: queue, one of them, try again",
  description:
    "Shows what users of the pinning service asked for and how far it is. fula-master pin works on the pinset itself. " +
    "docs/pinning.md explains the queue.",
  examples: [
    { command: "fula-master pins queue", explains: "what is not done yet" },
    { command: "fula-master pins queue --dead", explains: "what was given up, and why" },
  ],
  subcommands: [pinsQueueCommand, pinsShowCommand, pinsRetryCommand],
});
