import { join } from "node:path";
import { type LoadedConfig, loadConfig } from "../config/load.ts";
import type { PathsContext } from "../config/paths.ts";
import { executeRun, type FailoverReport, tooLate } from "../failover/execute-failover.ts";
import type { FailoverCheck, FailoverPorts } from "../failover/failover-ports.ts";
import {
  beginRun,
  type FailoverRunKeeper,
  isUnfinished,
  type KnownRun,
  knownRun,
  type RunWish,
  takeOverRun,
} from "../failover/failover-run.ts";
import { parseAllowedLoss, readBoxes, readEpoch } from "../failover/failover-scene.ts";
import { decideStep, endedEpoch, hasReached, stepsFrom } from "../failover/failover-states.ts";
import { FAILOVER_STEPS } from "../failover/failover-steps.ts";
import { preflight } from "../failover/preflight.ts";
import type { Clock } from "../kernel/clock.ts";
import { FulaError, isFulaError } from "../kernel/errors.ts";
import { openJournal } from "../kernel/journal.ts";
import { acquireLock } from "../kernel/lock.ts";
import type { Log } from "../kernel/log.ts";
import type { Random } from "../kernel/random.ts";
import type {
  FailoverRun,
  LedgerEpoch,
  LedgerEpochRecord,
  LedgerStore,
  Versioned,
} from "../membership/ledger-records.ts";
import { identifySelf } from "../runtime/processes.ts";
import { consequencesOf } from "./failover-consequences.ts";
import { failoverPorts } from "./failover-box.ts";
import { FAILOVER_JOURNAL, type FailoverStatus, readFailoverStatus } from "./failover-status.ts";
import { openPatientLedgerStore } from "./ledger-store.ts";

/** What the commands about failovers take from their command. */
export interface FailoverContext extends PathsContext {
  readonly clock: Clock;
  readonly random: Random;
  readonly signal: AbortSignal;
  readonly log: Log;
  /** The operator whom the control plane let do this. */
  readonly operator?: string;
  /** Opens the records of the control plane; tests hand in others. Default: those of this box's control plane. */
  readonly openStore?: (loaded: LoadedConfig) => Promise<LedgerStore>;
  /** Told in a sentence what of the control plane is being waited for. */
  readonly onWait?: (sentence: string) => void;
}

/** What an operator may choose. */
export interface FailoverChoice {
  readonly kind: FailoverRun["kind"];
  readonly to: string | null;
  /** The operator attests that the old master is off and stays off. */
  readonly forced: boolean;
  /** Bytes, or a position; null for no loss. */
  readonly allowedLoss: string | null;
  /** How many contents may be missing everywhere when the new master is tried; null where none may. Holds for this process. */
  readonly allowedMissing: number | null;
}

/** What a run would do; `--json` keeps these fields. */
export interface FailoverPlan {
  readonly kind: FailoverRun["kind"];
  readonly from: string;
  readonly to: string | null;
  /** The one that it would end. */
  readonly epoch: LedgerEpoch;
  /** The run that it would go on with. */
  readonly resumes: KnownRun | null;
  readonly checks: readonly FailoverCheck[];
  readonly steps: readonly {
    readonly rule: number;
    readonly action: string;
    readonly title: string;
    readonly because: string;
  }[];
  readonly consequences: readonly string[];
  /** False where a check is bad: it would be refused. */
  readonly isPossible: boolean;
  /** What is typed before it is done: `<old master>@<epoch>`. */
  readonly confirmation: string;
  /** The command that does it. */
  readonly command: string;
}

/** How a run that is done is shown and asked about. */
export interface FailoverTalk {
  /** Asked before anything is changed; throws where it is not meant. */
  readonly confirm: (plan: FailoverPlan) => Promise<void>;
  /** Asked before the control plane goes on without the servers that do not answer; throws likewise. */
  readonly confirmRescue: (left: readonly string[]) => Promise<void>;
  readonly onStep: (title: string) => void;
  readonly report: (text: string) => void;
}

interface Opened {
  readonly loaded: LoadedConfig;
  readonly store: LedgerStore;
}

async function openLedger(context: FailoverContext): Promise<Opened> {
  const loaded = await loadConfig(context);
  return { loaded, store: await (context.openStore?.(loaded) ?? openPatientLedgerStore(loaded, context)) };
}

/** What was read over this connection is what the run goes on with: to log in again would make those wait who cannot write. */
async function openWithQuorum(context: FailoverContext): Promise<Opened> {
  const opened = await openLedger(context);
  await using opening = new AsyncDisposableStack();
  opening.use(opened.store);
  await readEpoch(opened.store);
  opening.move();
  return opened;
}

/**
 * Opens the control plane. Where the master that is lost took its quorum along, has the servers that are left go on: the
 * operator attests that the others are off, which is what both acts rest on.
 */
async function openOrRescue(context: FailoverContext, choice: FailoverChoice, talk: FailoverTalk): Promise<Opened> {
  try {
    return await openWithQuorum(context);
  } catch (error) {
    if (!isFulaError(error, "FULA_CONTROL_PLANE_UNREACHABLE")) throw error;
    if (!choice.forced) {
      throw new FulaError(error.code, error.message, {
        cause: error,
        hint: `${error.hint ?? ""}\n  Where the other masters are lost for good: add --force-fence and --without-authorization <reason>; the control plane then goes on with this box first.`,
      });
    }
    talk.report("the control plane has lost its quorum: going on with the servers that are left");
    const { rescueControlPlane } = await import("./membership-rescue.ts");
    await rescueControlPlane(context, {
      dryRun: false,
      confirm: async ({ servers }) => await talk.confirmRescue(servers.map(({ name }) => name)),
      report: talk.report,
    });
    return await openLedger(context);
  }
}

async function withStore<T>(context: FailoverContext, use: (opened: Opened) => Promise<T>): Promise<T> {
  const opened = await openLedger(context);
  await using _ = opened.store;
  return await use(opened);
}

/** The run that a command would go on with: one that is unfinished, unless another change has overtaken it. */
function resumable(run: KnownRun | null, epoch: LedgerEpochRecord): KnownRun | null {
  if (!isUnfinished(run)) return null;
  return decideStep({ run, epoch, wish: "go-on" }).kind === "overtaken" ? null : run;
}

function requireSameKind(run: KnownRun, { kind, to }: FailoverChoice): void {
  const isChange = run.kind === "failover" && kind === "switchover";
  const isFixed = hasReached(run.step, "chosen") && to !== null && to !== run.to;
  if (!isChange && !isFixed) return;
  throw new FulaError(
    "FULA_FAILOVER_RUNNING",
    isFixed
      ? `The ${run.kind} of ${run.startedAt} has chosen ${run.to ?? ""} already: it cannot go to ${to ?? ""} any more.`
      : `A failover from ${run.from} is unfinished, at “${run.step}”.`,
    { hint: "fula-master failover status says how to complete it." },
  );
}

async function wishOf(
  { loaded, store }: Opened,
  context: FailoverContext,
  choice: FailoverChoice,
  epoch: LedgerEpochRecord,
): Promise<RunWish> {
  if (choice.allowedLoss !== null) parseAllowedLoss(choice.allowedLoss);
  const { name } = loaded.config.node;
  // An epoch that was raised by a run of which nothing is known any more is gone on with from where it stands.
  const ended = endedEpoch(epoch) ?? epoch.previous;
  if (ended === null) throw new Error("an epoch that is not open ends none");
  const { number, uuid, primary, syncSet } = ended;
  const only = choice.kind === "switchover" && syncSet.length === 1 ? (syncSet[0] ?? null) : null;
  const to = choice.to ?? only;
  await requireCandidate(store, { kind: choice.kind, to, primary });
  return {
    kind: choice.kind,
    node: name,
    owner: `${name}, process ${identifySelf().pid}`,
    operator: context.operator ?? "nobody asked",
    from: primary,
    to,
    replaces: { number, uuid },
    forced: choice.forced,
    allowedLoss: choice.allowedLoss,
  };
}

/** @throws FulaError FULA_USAGE for a node that cannot be meant */
async function requireCandidate(
  store: LedgerStore,
  { kind, to, primary }: { readonly kind: string; readonly to: string | null; readonly primary: string },
): Promise<void> {
  const boxes = await readBoxes({ store });
  const standbys = [...boxes.values()].filter(({ state, node }) => state === "standby" && node !== primary);
  const names = standbys.map(({ node }) => node).join(", ");
  const hint = names === "" ? "fula-master standby add makes one." : `--to ${names.replaceAll(", ", " | ")}`;
  if (to === null) {
    if (kind !== "switchover") return;
    throw new FulaError(
      "FULA_USAGE",
      "A switchover takes --to <node>: there is more than one standby, or none that is synchronous.",
      { hint },
    );
  }
  if (to === primary) throw new FulaError("FULA_USAGE", `${to} is the primary already.`, { hint });
  if (standbys.some(({ node }) => node === to)) return;
  throw new FulaError("FULA_USAGE", `${to} carries no standby of the ledger.`, { hint });
}

function commandOf({ kind, to, forced, allowedLoss }: RunWish, { allowedMissing }: FailoverChoice): string {
  const base = kind === "switchover" ? `fula-master switchover --to ${to ?? "<node>"}` : "fula-master failover --fence";
  const target = kind === "failover" && to !== null ? ` --to ${to}` : "";
  const missing = allowedMissing === null ? "" : ` --allow-missing ${allowedMissing}`;
  return `${base}${target}${forced ? " --force-fence" : ""}${allowedLoss === null ? "" : ` --allow-data-loss ${allowedLoss}`}${missing}`;
}

interface Prepared {
  readonly wish: RunWish;
  readonly plan: FailoverPlan;
  readonly seen: Versioned<FailoverRun>;
  readonly resumes: KnownRun | null;
}

async function prepare(
  opened: Opened,
  context: FailoverContext,
  choice: FailoverChoice,
  ports: FailoverPorts,
): Promise<Prepared> {
  const { store } = opened;
  const { value: epoch } = await readEpoch(store);
  const seen = await store.confirm("failover");
  const resumes = resumable(knownRun(seen.value), epoch);
  if (resumes !== null) requireSameKind(resumes, choice);
  const wish: RunWish =
    resumes === null
      ? await wishOf(opened, context, choice, epoch)
      : {
          ...resumes,
          kind: choice.kind,
          node: opened.loaded.config.node.name,
          owner: `${opened.loaded.config.node.name}, process ${identifySelf().pid}`,
          operator: context.operator ?? resumes.operator,
          to: choice.to ?? resumes.to,
          forced: choice.forced || resumes.forced,
          allowedLoss: choice.allowedLoss ?? resumes.allowedLoss,
        };
  const next = decideStep({ run: resumes ?? { ...wish, id: "", step: "begun" }, epoch, wish: "go-on" });
  const from = next.kind === "step" ? next.transition.from : "begun";
  // A run that has raised the epoch is not asked any more whether it may begin.
  const checks = hasReached(from, "checked") ? [] : await preflight(ports, wish, epoch, context.signal);
  const plan: FailoverPlan = {
    kind: wish.kind,
    from: wish.from,
    to: wish.to,
    epoch: wish.replaces,
    resumes,
    checks,
    steps: stepsFrom(wish.kind, from).map(({ rule, action, because }) => ({
      rule,
      action,
      title: FAILOVER_STEPS[action].title,
      because,
    })),
    consequences: consequencesOf(wish, epoch, choice.allowedMissing),
    isPossible: checks.every(({ state: of }) => of !== "bad"),
    confirmation: `${wish.from}@${wish.replaces.number}`,
    command: commandOf(wish, choice),
  };
  return { wish, plan, seen, resumes };
}

/**
 * Says what a failover or switchover would do, and looks whether it could. Changes nothing.
 * @throws FulaError FULA_FAILOVER_NO_STANDBY, FULA_LEDGER_ALONE, FULA_USAGE, FULA_CONTROL_PLANE_UNREACHABLE
 */
export async function planFailover(context: FailoverContext, choice: FailoverChoice): Promise<FailoverPlan> {
  return await withStore(context, async (opened) => {
    await using ports = failoverPorts(opened, { ...context, allowedMissing: null }, { append: async () => {} });
    return (await prepare(opened, context, choice, ports)).plan;
  });
}

/** How a failover stands. @throws FulaError FULA_LEDGER_ALONE, FULA_CONTROL_PLANE_UNREACHABLE */
export async function failoverStatus(context: FailoverContext): Promise<FailoverStatus> {
  return await withStore(
    context,
    async ({ loaded, store }) => await readFailoverStatus(store, loaded.paths.journalDir),
  );
}

async function takeRun(
  { store }: Opened,
  context: FailoverContext,
  { wish, seen, resumes }: Prepared,
): Promise<FailoverRunKeeper> {
  const deps = { store, clock: context.clock, random: context.random, signal: context.signal };
  return resumes === null
    ? await beginRun(deps, wish, seen)
    : await takeOverRun(deps, wish, { revision: seen.revision, value: resumes });
}

/** What a run of this process came to. */
export interface FailoverEnd {
  readonly report: FailoverReport;
  /** File of this box. */
  readonly journal: string;
}

/** Asks, begins a run or takes it over, and does its steps; the caller holds the lock. */
async function carryOut(
  opened: Opened,
  context: FailoverContext,
  choice: FailoverChoice,
  { talk, wish }: { readonly talk: FailoverTalk; readonly wish: "go-on" | "abort" },
): Promise<FailoverEnd> {
  await using journal = await openJournal(opened.loaded.paths.journalDir, FAILOVER_JOURNAL, context.clock);
  await using ports = failoverPorts(opened, { ...context, ...choice }, journal);
  const prepared = await prepare(opened, context, choice, ports);
  await talk.confirm(prepared.plan);
  await using keeper = await takeRun(opened, context, prepared);
  const report = await executeRun(ports, keeper, { ...talk, wish, signal: context.signal });
  return { report, journal: journal.path };
}

/**
 * Does a failover or switchover, or goes on with the one that is unfinished.
 * @throws FulaError as `planFailover` and `executeRun`; FULA_FAILOVER_RUNNING, FULA_LOCKED
 */
export async function doFailover(
  context: FailoverContext,
  choice: FailoverChoice,
  talk: FailoverTalk,
): Promise<FailoverEnd> {
  const opened = await openOrRescue(context, choice, talk);
  await using _store = opened.store;
  const { paths } = opened.loaded;
  using _lock = await acquireLock(join(paths.locksDir, "failover.lock"), choice.kind, context.clock);
  return await carryOut(opened, context, choice, { talk, wish: "go-on" });
}

async function requireAbortable({ store }: Opened): Promise<KnownRun> {
  const { value: epoch } = await readEpoch(store);
  const run = resumable(knownRun((await store.confirm("failover")).value), epoch);
  if (run === null) {
    throw new FulaError("FULA_FAILOVER_ABSENT", "There is no failover under way that could be aborted.", {
      hint: "fula-master failover status shows the last one.",
    });
  }
  const decision = decideStep({ run, epoch, wish: "abort" });
  if (decision.kind === "too-late") throw tooLate(decision.why);
  return run;
}

/** The run that an abort would end. @throws FulaError FULA_FAILOVER_ABSENT, FULA_FAILOVER_TOO_LATE */
export async function foreseeAbort(context: FailoverContext): Promise<KnownRun> {
  return await withStore(context, requireAbortable);
}

/**
 * Gives the old primary its right back, as long as nobody was promoted.
 * @throws FulaError FULA_FAILOVER_ABSENT, FULA_FAILOVER_TOO_LATE, FULA_FAILOVER_RUNNING, FULA_LOCKED, and as `executeRun`
 */
export async function abortFailover(context: FailoverContext, talk: FailoverTalk): Promise<FailoverEnd> {
  return await withStore(context, async (opened) => {
    const { paths } = opened.loaded;
    using _ = await acquireLock(join(paths.locksDir, "failover.lock"), "failover abort", context.clock);
    const { kind, to, forced, allowedLoss } = await requireAbortable(opened);
    const choice = { kind, to, forced, allowedLoss, allowedMissing: null };
    return await carryOut(opened, context, choice, { talk, wish: "abort" });
  });
}
