import type { StorageOptions } from "../lib/stack/storage-options.ts";
import { type CommandContext, defineCommand } from "../lib/terminal/command.ts";

/** A box that has a master's base directory as well keeps the two apart. */
function placed(context: CommandContext, baseDir: string): CommandContext {
  const isSaid = context.globals.baseDir !== undefined || (context.env["FULA_MASTER_BASE_DIR"] ?? "") !== "";
  return isSaid ? context : { ...context, globals: { ...context.globals, baseDir } };
}

async function runStorageJoin(given: CommandContext, options: StorageOptions): Promise<void> {
  const { applyStorage, isStorageNode, proposeStorage } = await import("../lib/stack/storage-join.ts");
  const { STORAGE_BASE_DIR } = await import("../lib/stack/storage-options.ts");
  const { readTokenText } = await import("../lib/stack/token-source.ts");
  const { renderStorageSummary, summarizeStorage } = await import("../lib/stack/storage-text.ts");
  const text = await import("../lib/stack/join-text.ts");
  const { runTasks } = await import("../lib/terminal/tasks.ts");
  const { logTo } = await import("../lib/terminal/log.ts");
  const { out } = given;
  const context = {
    ...placed(given, STORAGE_BASE_DIR),
    log: logTo(out),
    readInput: async () => await out.readInput("the join token"),
  };
  const token = await readTokenText(options, context);
  const proposal = await proposeStorage(context, options, token);
  const { plan, preflight, resumes } = proposal;
  for (const line of text.renderPreflight(preflight, out.verbose)) out.note(line);
  if (options.dryRun === true) {
    out.result({ outcome: "planned", plan, preflight, resumes }, () => text.renderPlan(plan, "Storage node"));
    return;
  }
  if (isStorageNode(proposal)) {
    out.note(text.renderPlan(plan, "Storage node"));
    const summary = summarizeStorage(proposal.box, proposal.look);
    out.result({ outcome: "already", plan, preflight, changed: [], summary }, () =>
      renderStorageSummary(summary, "already"),
    );
    return;
  }
  if (resumes !== null) out.note(text.renderResume(resumes));
  out.note(text.renderPlan(plan, "Storage node"));
  await out.confirm(`Make this box a storage node in ${plan.baseDir}?`, options.yes === true);
  const { box, changed, look, journal } = await applyStorage(proposal, token, async (tasks) => {
    await runTasks(out, tasks);
  });
  const summary = summarizeStorage(box, look);
  const outcome = changed.length === 0 ? "already" : "joined";
  out.result({ outcome, plan, preflight, resumes, changed, journal, summary }, () =>
    renderStorageSummary(summary, outcome),
  );
}

/** `join-as-storage-node`: makes this box replicate what the masters pin. */
export const joinAsStorageNodeCommand = defineCommand<StorageOptions>({
  name: "join-as-storage-node",
  summary: "make this box a storage node",
  description:
    "Sets up Kubo and an IPFS Cluster follower in containers: they replicate what the masters pin, and may change nothing. " +
    "Who the masters are comes with a join token, or with a signed peers document and the key that must have signed it. " +
    "Shows a plan, asks, does it, and then proves it: a master and this node see one another, it trusts the masters alone, " +
    "it refuses to pin, and it holds the probe that the masters pin everywhere. Exits 1 where one of these does not come " +
    "true in time. Needs Docker and root; halts on containers, volumes and ports of others.",
  examples: [
    {
      command: "fula-master join-as-storage-node --token-file token --announce node-7.example.org",
      explains: "with a token of a master (fula-master token create --role storage)",
    },
    {
      command:
        "fula-master join-as-storage-node --peers https://example.org/peers.json --peers-key ed25519:9f3c... --dry-run",
      explains: "with a signed list of the masters and CLUSTER_SECRET in the environment; shows the plan alone",
    },
    {
      command: "fula-master join-as-storage-node --base-dir /opt/fula-storage --yes",
      explains: "again, later: look at everything and mend what is not so",
    },
  ],
  options: [
    { flags: "--token <token>", description: "join token of a master; - reads it from standard input" },
    {
      flags: "--token-file <file>",
      description: "file that holds it; FULA_JOIN_TOKEN in the environment does as well",
    },
    { flags: "--peers <file|url>", description: "signed peers document: a file or an https:// address" },
    { flags: "--peers-key <key>", description: "ed25519:<hex> that must have signed token or document" },
    {
      flags: "--announce <host>",
      description: "host name or IP address under which other nodes reach this box",
    },
    { flags: "--node-name <name>", description: "name of this box (default: the host name)" },
    { flags: "--project <name>", description: "Compose project of the containers (default: fula-storage)" },
    { flags: "--storage-api <url>", description: "API of a master: clients may bring blocks to this node then" },
    { flags: "--ingest-port <port>", description: "port that this node takes them on (default: 3601)" },
    { flags: "--set <key=value...>", description: "further settings, such as cluster.swarmPort=9196" },
    {
      flags: "--wait <duration>",
      description: "how long it may take to join and to replicate, an hour at most",
      default: "3m",
    },
    { flags: "--no-start", description: "do not start serve, which restarts containers that are not well" },
    { flags: "--no-schedules", description: "do not start serve after a reboot" },
    {
      flags: "--schedule-root <dir>",
      description: "install the start after a reboot below this directory instead of /, as for an image",
    },
    { flags: "--skip-preflight <check...>", description: "leave these preflight checks out" },
  ],
  changes: true,
  asks: true,
  run: runStorageJoin,
});
