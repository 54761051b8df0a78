import type { FailoverChoice } from "../lib/stack/failover-run.ts";
import { defineCommand } from "../lib/terminal/command.ts";
import { ALLOW_MISSING, ledgerContext, readAllowedMissing, talkOf } from "./failover-talk.ts";

interface FailoverOptions {
  readonly plan?: boolean;
  readonly fence?: boolean;
  readonly to?: string;
  readonly forceFence?: boolean;
  readonly allowDataLoss?: string;
  readonly allowMissing?: string;
  readonly dryRun?: boolean;
  readonly yes?: boolean;
}

async function choiceOf({ to, forceFence, allowDataLoss, allowMissing }: FailoverOptions): Promise<FailoverChoice> {
  const allowedMissing = await readAllowedMissing(allowMissing);
  const allowedLoss = allowDataLoss ?? null;
  return { kind: "failover", to: to ?? null, forced: forceFence === true, allowedLoss, allowedMissing };
}

/** Whether it is to be done; a plan is what is shown otherwise. @throws FulaError FULA_USAGE where both were asked for */
async function isMeant({ plan, fence, dryRun }: FailoverOptions): Promise<boolean> {
  if (plan !== true || fence !== true) return fence === true && dryRun !== true;
  const { FulaError } = await import("../lib/kernel/errors.ts");
  throw new FulaError("FULA_USAGE", "--plan shows what would be done and --fence does it: give one of them.", {
    hint: "fula-master failover --help",
  });
}

const statusCommand = defineCommand({
  name: "status",
  summary: "show how far a failover or switchover has come",
  description:
    "Shows the epoch, the run that is under way or the last that was, who has detached, the steps of this box's journal with " +
    "their times, what comes next and what is safe to do. Exits 1 where a run waits for somebody to go on with it. Reads only.",
  examples: [
    { command: "fula-master failover status", explains: "what to do next stands in the last line" },
    {
      command: "fula-master failover status --json",
      explains: "ok, epoch, run, next, left, attested, steps, missing, journal, advice",
    },
  ],
  run: async (context) => {
    const { failoverStatus } = await import("../lib/stack/failover-run.ts");
    const { renderFailoverStatus } = await import("../lib/stack/failover-text.ts");
    const status = await failoverStatus(await ledgerContext(context));
    context.out.result(status, () => renderFailoverStatus(status));
    return status.ok ? 0 : 1;
  },
});

const abortCommand = defineCommand<{ readonly dryRun?: boolean; readonly yes?: boolean }>({
  name: "abort",
  summary: "give the old primary its right back",
  description:
    "Ends a failover or switchover that was begun, as long as nobody was promoted: the old primary gets its right back under " +
    "a further epoch, and its standbys follow it again. Where somebody was promoted it refuses and says what is safe.",
  examples: [
    { command: "fula-master failover abort --dry-run", explains: "whether it can still be aborted" },
    { command: "fula-master failover abort", explains: "asks for <old master>@<epoch> first" },
  ],
  changes: true,
  asks: true,
  requires: "operator",
  awaitsElection: true,
  emergency: true,
  run: async (context, { dryRun = false, yes = false }) => {
    const { abortFailover, foreseeAbort } = await import("../lib/stack/failover-run.ts");
    const { renderFailoverReport } = await import("../lib/stack/failover-text.ts");
    const given = await ledgerContext(context);
    if (dryRun) {
      const run = await foreseeAbort(given);
      context.out.result(
        { dryRun, run },
        () => `The ${run.kind} of ${run.startedAt} would be aborted: ${run.from} would have its right back.`,
      );
      return;
    }
    const end = await abortFailover(
      given,
      talkOf(context, yes, ({ kind, from }) => `The ${kind} is given up, and ${from} gets its right back.`),
    );
    context.out.result(end, () => renderFailoverReport(end));
  },
});

/** `fula-master failover`: another master takes the ledger over. */
export const failoverCommand = defineCommand<FailoverOptions>({
  name: "failover",
  summary: "move the ledger away from a master that is lost",
  description:
    "Shows every check and step of a failover and changes nothing. With --fence it does it: raises the epoch, has the old " +
    "master fenced and proves that it is, promotes the standby that has every acknowledged commit, moves all connections, tries " +
    "what must work, and only then runs failover.flipCommand. Each step is written to a journal; stopped or killed anywhere, the " +
    "same command goes on. What cannot be verified stops it with exit 3 and says what is safe to do.",
  examples: [
    { command: "fula-master failover", explains: "every check and step; exit 3 where it would be refused" },
    { command: "fula-master failover --fence", explains: "do it; asks for <old master>@<epoch> first" },
    {
      command: "fula-master failover --fence --force-fence",
      explains: "the old master cannot be reached, and you have cut its power",
    },
    {
      command: "fula-master failover --fence --allow-data-loss 16/B374D848",
      explains: "standbys are lost, too: what lies above that position may be lost",
    },
    {
      command: "fula-master failover --fence --allow-missing 2",
      explains: "go on although two contents, which it listed, are on no box that answers",
    },
    { command: "fula-master failover status", explains: "how far it has come, and what is safe now" },
  ],
  options: [
    { flags: "--plan", description: "show what would be done (the default)" },
    { flags: "--fence", description: "do it" },
    {
      flags: "--to <node>",
      description: "promote the standby of this master (default: the one with the most of the log)",
    },
    {
      flags: "--force-fence",
      description: "attest that the old master is off and stays off; your operator id is recorded",
    },
    {
      flags: "--allow-data-loss <bytes|lsn>",
      description: "let acknowledged writes be lost: at most so many bytes of log, or all above a position",
    },
    ALLOW_MISSING,
  ],
  changes: true,
  asks: true,
  requires: "operator",
  awaitsElection: true,
  emergency: true,
  onlyLooks: ({ fence = false }) => !fence,
  subcommands: [statusCommand, abortCommand],
  run: async (context, options) => {
    const { doFailover, planFailover } = await import("../lib/stack/failover-run.ts");
    const text = await import("../lib/stack/failover-text.ts");
    const { out } = context;
    const given = await ledgerContext(context);
    if (!(await isMeant(options))) {
      const plan = await planFailover(given, await choiceOf(options));
      out.result(plan, () => text.renderFailoverPlan(plan));
      return plan.isPossible ? 0 : 3;
    }
    const end = await doFailover(
      given,
      await choiceOf(options),
      talkOf(context, options.yes === true, text.renderFailoverSteps),
    );
    out.result(end, () => text.renderFailoverReport(end));
    return 0;
  },
});
