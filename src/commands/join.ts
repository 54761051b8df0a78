import type { JoinOptions } from "../lib/stack/join-options.ts";
import { type CommandContext, defineCommand } from "../lib/terminal/command.ts";

async function runJoin(context: CommandContext, options: JoinOptions): Promise<void> {
  const { applyJoin, isJoined, proposeJoin } = await import("../lib/stack/join.ts");
  const { summarizeJoin } = await import("../lib/stack/join-summary.ts");
  const text = await import("../lib/stack/join-text.ts");
  const { runTasks } = await import("../lib/terminal/tasks.ts");
  const { logTo } = await import("../lib/terminal/log.ts");
  const { out } = context;
  const given = { ...context, log: logTo(out), readInput: async () => await out.readInput("the join token") };
  const proposal = await proposeJoin(given, options);
  const { plan, preflight, resumes } = proposal;
  for (const line of text.renderPreflight(preflight, out.verbose)) out.note(line);
  if (options.dryRun === true) {
    out.result({ outcome: "planned", plan, preflight, resumes }, () => text.renderPlan(plan));
    return;
  }
  if (isJoined(proposal)) {
    out.note(text.renderPlan(plan));
    const summary = await summarizeJoin(proposal.box);
    out.result({ outcome: "already", plan, preflight, changed: [], summary }, () =>
      text.renderSummary(summary, "already"),
    );
    return;
  }
  if (resumes !== null) out.note(text.renderResume(resumes));
  out.note(text.renderPlan(plan));
  await out.confirm(`Make this box a master in ${plan.baseDir}?`, options.yes === true);
  const { box, changed, journal } = await applyJoin(proposal, async (tasks) => {
    await runTasks(out, tasks);
  });
  const summary = await summarizeJoin(box);
  const outcome = changed.length === 0 ? "already" : "joined";
  out.result({ outcome, plan, preflight, resumes, changed, journal, summary }, () =>
    text.renderSummary(summary, outcome),
  );
}

/** `join`: makes this box a master. */
export const joinCommand = defineCommand<JoinOptions>({
  name: "join",
  aliases: ["join-as-master"],
  summary: "make this box a master",
  description:
    "Checks the box, shows a plan, asks, and then does it: directories, settings, secrets, signing key, containers where " +
    "Docker is here, PostgreSQL, migrations, block store and pinset, the first snapshot at once, serve in the background, " +
    "and schedules. Adopts what is its own or a running writer, and halts on anything foreign in its way. Every step looks " +
    "at what is there: a run that was stopped is resumed, and a finished box is left as it is.",
  examples: [
    { command: "fula-master join --dry-run", explains: "show what would be done; writes nothing at all" },
    { command: "fula-master join --runtime embedded --yes", explains: "a master that needs nothing but Node.js" },
    {
      command: "fula-master join --runtime docker --announce master-1.example.org",
      explains: "PostgreSQL, Kubo and IPFS Cluster in containers, which other nodes reach under this name",
    },
    {
      command:
        "fula-master join --postgres-url postgres://pinning_user@master-1.example.org/pinning_service --token-file token",
      explains: "a second master of a federation, with a token of the first one",
    },
    {
      command: "POSTGRES_PASSWORD=… fula-master join --postgres-url postgres://pinning_user@db.example/pinning_service",
      explains: "keep the ledger in a PostgreSQL server that runs already",
    },
    { command: "fula-master join --vault-address 0x…", explains: "turn the crediting of deposits on" },
  ],
  options: [
    {
      flags: "--runtime <kind>",
      description: "where the services run (default: docker where its engine answers root, else embedded)",
      choices: ["auto", "embedded", "docker", "external"],
    },
    { flags: "--postgres-url <url>", description: "keep the ledger in this PostgreSQL server" },
    {
      flags: "--node-name <name>",
      description: "name of this box in snapshots, logs and leases (default: the host name)",
    },
    { flags: "--gateway-port <port>", description: "port of the S3 endpoint (default: 9000)" },
    { flags: "--api-port <port>", description: "port of the API for accounts (default: 6000)" },
    { flags: "--server-port <port>", description: "port of /healthz, /readyz and /metrics (default: 9010)" },
    {
      flags: "--vault-address <address>",
      description: "address that deposits are paid to; without it they are not credited",
    },
    { flags: "--announce <host>", description: "name or IP address under which other nodes reach this box" },
    { flags: "--kubo-api <address>", description: "adopt the Kubo node whose RPC API is there" },
    { flags: "--cluster-api <address>", description: "adopt the IPFS Cluster peer whose REST API is there" },
    { flags: "--project <name>", description: "Compose project of the containers (default: fula-master)" },
    { flags: "--token <token>", description: "join a federation with this token; - reads it from standard input" },
    { flags: "--token-file <file>", description: "read the join token from this file" },
    {
      flags: "--legacy-cluster-secret <pool>",
      description: "join an old pool whose secret is the hash of its name: whoever knows the name is in",
    },
    { flags: "--set <key=value...>", description: "set any setting, such as docker.images.kubo=ipfs/kubo:v0.42.0" },
    { flags: "--no-schedules", description: "install no timers for snapshots, sweeps and base backups" },
    { flags: "--no-start", description: "do not start serve; a service manager does it" },
    {
      flags: "--schedule-root <dir>",
      description: "install the timers below this directory instead of /, as for an image",
    },
    { flags: "--skip-preflight <check...>", description: "leave these preflight checks out" },
  ],
  changes: true,
  asks: true,
  run: runJoin,
});
