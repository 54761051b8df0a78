import { endedEpoch, decideStep, type FailoverState, stepsFrom } from "../failover/failover-states.ts";
import { attestationsNeeded } from "../failover/choose-primary.ts";
import type { MissingContent } from "../failover/failover-ports.ts";
import { FAILOVER_STEPS } from "../failover/failover-steps.ts";
import { knownRun } from "../failover/failover-run.ts";
import { readMissing } from "../failover/missing-contents.ts";
import { type JournalEntry, latestJournal, readJournal } from "../kernel/journal.ts";
import { type ShownEpoch, showEpoch } from "./shown-epoch.ts";
import type { Attestation, FailoverRun, LedgerEpochRecord, LedgerStore } from "../membership/ledger-records.ts";

/** Names the journals of failovers and switchovers in the journal directory. */
export const FAILOVER_JOURNAL = "failover";

/** A step as a journal of this box has it. */
export interface JournaledStep {
  readonly at: string;
  readonly action: string;
  readonly outcome: "verified" | "unverified";
  readonly seen: string;
  readonly durationMs: number | null;
}

/** What `failover status` prints; `--json` keeps these fields. */
export interface FailoverStatus {
  /** Whether nothing is under way that somebody has to go on with. */
  readonly ok: boolean;
  /** Null where the ledger has one server only. */
  readonly epoch: ShownEpoch | null;
  /** The run that is under way, or the last that was. */
  readonly run: FailoverRun | null;
  /** Where the run really is, and what comes next; null where none is under way. */
  readonly next: { readonly action: string; readonly title: string; readonly because: string } | null;
  readonly left: readonly string[];
  /** Who has said what of the epoch that is being raised. */
  readonly attested: readonly Pick<Attestation, "node" | "what" | "receivedLsn">[];
  /** How many of the synchronous set have to detach; null where no epoch is being raised, or nothing was waited for. */
  readonly attestationsNeeded: number | null;
  /** What this box's journal says of the run; empty where another box runs it. */
  readonly steps: readonly JournaledStep[];
  /** Contents that were on no box when the new master was last tried, by the same journal. */
  readonly missing: readonly MissingContent[];
  readonly journal: string | null;
  /** What an operator can do now. */
  readonly advice: string;
}

function stepOf(entry: JournalEntry): JournaledStep | null {
  const { event, at, action, seen, durationMs } = entry;
  if (event !== "step.verified" && event !== "step.unverified") return null;
  if (typeof action !== "string" || typeof seen !== "string") return null;
  const outcome = event === "step.verified" ? "verified" : "unverified";
  return { at, action, outcome, seen, durationMs: typeof durationMs === "number" ? durationMs : null };
}

/** The newest journal of this box, and the steps of the run in it. */
async function readFailoverJournal(
  journalDir: string,
  runId: string | null,
): Promise<Pick<FailoverStatus, "steps" | "missing" | "journal">> {
  const journal = await latestJournal(journalDir, FAILOVER_JOURNAL);
  const steps: JournaledStep[] = [];
  const missing: MissingContent[] = [];
  if (journal === null || runId === null) return { journal, steps, missing };
  for await (const entry of readJournal(journal)) {
    if (entry["run"] !== runId) continue;
    const step = stepOf(entry);
    if (step !== null) steps.push(step);
    missing.push(...readMissing(entry));
  }
  return { journal, steps, missing };
}

function adviceFor(run: FailoverRun | null, epoch: LedgerEpochRecord | null, isTooLate: boolean): string {
  if (epoch === null) return "The ledger has one server only: fula-master standby add, on another master, adds one.";
  if (run === null || run.state === "done" || run.state === "aborted") {
    if (endedEpoch(epoch) !== null) return "Nothing is under way.";
    return `Epoch ${epoch.number} is ${epoch.phase}, and no run is: fula-master failover --fence begins one.`;
  }
  const command =
    run.kind === "switchover" ? `fula-master switchover --to ${run.to ?? "<node>"}` : "fula-master failover --fence";
  if (run.state === "running") return `${run.owner} runs it. If that process is gone: ${command} goes on with it.`;
  const abort = isTooLate ? "" : `; fula-master failover abort gives ${run.from} its right back`;
  return `It stopped at “${run.step}”. ${command} goes on with it${abort}.`;
}

/** Reads how a failover stands, or the last one ended. @throws FulaError FULA_CONTROL_PLANE_UNREACHABLE, FULA_FAILOVER_RUN_UNKNOWN */
export async function readFailoverStatus(store: LedgerStore, journalDir: string): Promise<FailoverStatus> {
  const [{ value: epoch }, { value: run }, attestations] = await Promise.all([
    store.confirm("epoch"),
    store.confirm("failover"),
    store.list("attest"),
  ]);
  const known = knownRun(run);
  const isUnderWay = known !== null && (known.state === "running" || known.state === "stopped");
  const decision = isUnderWay && epoch !== null ? decideStep({ run: known, epoch, wish: "go-on" }) : null;
  const abort = isUnderWay && epoch !== null ? decideStep({ run: known, epoch, wish: "abort" }) : null;
  const transition = decision?.kind === "step" ? decision.transition : null;
  const state: FailoverState | null = transition?.from ?? null;
  const isRaised = epoch !== null && epoch.previous !== null && epoch.phase !== "open";
  const needed =
    isRaised && epoch.previous !== null && epoch.previous.syncNeeded > 0 ? attestationsNeeded(epoch.previous) : null;
  return {
    ok: !isUnderWay && (epoch === null || endedEpoch(epoch) !== null),
    epoch: showEpoch(epoch),
    run,
    next:
      transition === null
        ? null
        : { action: transition.action, title: FAILOVER_STEPS[transition.action].title, because: transition.because },
    left: known === null || state === null ? [] : stepsFrom(known.kind, state).map(({ action }) => action),
    attested: isRaised
      ? attestations
          .filter(({ value }) => value.number === epoch.number && value.uuid === epoch.uuid)
          .map(({ value: { node, what, receivedLsn } }) => ({ node, what, receivedLsn }))
      : [],
    attestationsNeeded: needed,
    ...(await readFailoverJournal(journalDir, run?.id ?? null)),
    advice: adviceFor(run, epoch, abort?.kind === "too-late"),
  };
}
