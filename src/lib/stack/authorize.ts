import { loadConfig, type LoadedConfig } from "../config/load.ts";
import type { PathsContext } from "../config/paths.ts";
import type { Clock } from "../kernel/clock.ts";
import { FulaError, isFulaError } from "../kernel/errors.ts";
import type { Random } from "../kernel/random.ts";
import { outlastSilence } from "../membership/outlast.ts";
import type { Authorization, DenialReason, OperatorRole } from "../membership/records.ts";
import { tryNoteAudit } from "./authorize-audit.ts";
import { controlPlaneAddress, electionPatienceMs, isControlPlaneMade, withControlPlane } from "./control-plane.ts";
import { readInstallation } from "./installation.ts";
import { canHaveEpochs } from "./ledger-store.ts";
import { actingOperator, foreseeAuthorization } from "./operators.ts";

/** What asking takes from the command line. */
export interface AuthorizeContext extends PathsContext {
  readonly clock: Clock;
  readonly random: Random;
  readonly signal: AbortSignal;
  /** Told in a sentence what of the control plane is being waited for. */
  readonly onWait?: (sentence: string) => void;
}

/** What somebody is about to do. */
export interface Act {
  /** As it is typed, without its arguments: `token create`. */
  readonly command: string;
  readonly role: OperatorRole;
  /** True writes nothing, here too. */
  readonly dryRun: boolean;
  /** The reason of `--without-authorization`: go on where nobody can be asked. Null where it was not given. */
  readonly emergency: string | null;
  /** True where the command has that option. Default false. */
  readonly takesReason?: boolean;
  /** True waits while the servers of the control plane elect, as they do when a master is lost. Default false. */
  readonly awaitsElection?: boolean;
}

/** What came of asking. */
export interface Permission {
  /** Who was let do it, or did it without being asked; null where there was nobody to ask about. */
  readonly operator: string | null;
  /** Sentences that whoever acts must read. */
  readonly warnings: readonly string[];
}

/** What it is that nobody could be asked: the store could say neither yes nor no. */
type Silence = { readonly reason: DenialReason | null; readonly why: string; readonly error: FulaError };

const SILENT_REASONS: ReadonlySet<DenialReason> = new Set(["unreachable", "no-quorum", "stale"]);

/** Errors of opening that say: nobody can be asked. Any other is for the operator to mend. */
function isSilence(error: unknown): error is FulaError {
  return (
    isFulaError(error, "FULA_CONTROL_PLANE_UNREACHABLE") ||
    isFulaError(error, "FULA_CONTROL_PLANE_UNREADABLE") ||
    isFulaError(error, "FULA_CONTROL_PLANE_UNFIT") ||
    isFulaError(error, "FULA_STATE_LOST")
  );
}

/** True where a denial means that nobody could be asked; false where the store has said no. */
export function isSilent(reason: DenialReason): boolean {
  return SILENT_REASONS.has(reason);
}

function remedyFor(reason: DenialReason, operator: string, role: OperatorRole): string {
  switch (reason) {
    case "unknown":
      return `on a box of an admin: fula-master membership operator add ${operator} --role ${role}`;
    case "revoked":
      return `on a box of an admin, if it was a mistake: fula-master membership operator restore ${operator}`;
    case "role":
      return `on a box of an admin: fula-master membership operator role ${operator} ${role}; or have an admin do it.`;
    case "no-operators":
      return "run fula-master join again on a master: it makes that master the first admin.";
    default:
      return "fula-master doctor looks at the control plane; try again when it answers.";
  }
}

/** What is said to whoever was refused by the control plane. */
function notAuthorized(
  act: Pick<Act, "command" | "role">,
  operator: string,
  { reason, why }: { readonly reason: DenialReason; readonly why: string },
): FulaError {
  return new FulaError(
    "FULA_NOT_AUTHORIZED",
    `“${act.command}” takes an ${act.role}, and ${operator} is refused: ${why} Nothing was changed.`,
    {
      hint: remedyFor(reason, operator, act.role),
      details: { operator, command: act.command, role: act.role, reason },
    },
  );
}

function silenceOf(loaded: LoadedConfig, act: Act, reason: DenialReason, why: string): Silence {
  const error = new FulaError(
    "FULA_CONTROL_PLANE_UNREACHABLE",
    `Nobody could be asked who may run “${act.command}”: ${why} Nothing was changed.`,
    {
      hint: remedyFor(reason, "", act.role),
      details: { controlPlane: controlPlaneAddress(loaded), command: act.command, role: act.role, reason },
    },
  );
  return { reason, why, error };
}

/** A box on which no `join` has been, and a storage node, have no control plane: their commands say themselves what is missing. */
async function hasControlPlane({ config, paths }: LoadedConfig): Promise<boolean> {
  if (config.node.role !== "master") return false;
  return config.node.clusterId !== null || (await readInstallation(paths.stateDir)) !== null;
}

async function ask(
  loaded: LoadedConfig,
  context: AuthorizeContext,
  act: Act,
  operator: string,
): Promise<Authorization | Silence> {
  // The first opening makes the file of a control plane; a dry run writes nothing.
  if (act.dryRun && !(await isControlPlaneMade(loaded))) {
    return await foreseeAuthorization(loaded, { id: operator, role: act.role }, context);
  }
  const { clock, random, signal } = context;
  try {
    return await withControlPlane(loaded, { clock, random, signal, readOnly: act.dryRun }, async (store) => {
      const answer = await store.isAuthorized(operator, act.role);
      if (answer.allowed || !isSilent(answer.reason)) return answer;
      return silenceOf(loaded, act, answer.reason, answer.why);
    });
  } catch (error) {
    if (!isSilence(error)) throw error;
    return { reason: null, why: error.message, error };
  }
}

/** Asks until there is an answer; whoever says that nobody can be asked does not wait for that to become known. */
async function askPatiently(
  loaded: LoadedConfig,
  context: AuthorizeContext,
  act: Act,
  operator: string,
): Promise<Authorization | Silence> {
  const { clock, signal, onWait } = context;
  const patienceMs =
    act.awaitsElection === true && act.emergency === null && canHaveEpochs(loaded) ? electionPatienceMs(loaded) : 0;
  const silences: Silence[] = [];
  const attempt = async (): Promise<Authorization> => {
    const answer = await ask(loaded, context, act, operator);
    if ("allowed" in answer) return answer;
    silences.push(answer);
    throw answer.error;
  };
  try {
    return await outlastSilence(attempt, {
      clock,
      signal,
      deadlineMs: clock.monotonicMs() + patienceMs,
      onWait: (sentence) => onWait?.(`${sentence}, who says whether this may be done`),
    });
  } catch (error) {
    const last = silences.at(-1);
    if (last === undefined || last.error !== error) throw error;
    return last;
  }
}

function actorOf({ config }: LoadedConfig, operator: string): string {
  return `${operator}@${config.node.name}`;
}

async function refuse(
  loaded: LoadedConfig,
  context: AuthorizeContext,
  act: Act,
  operator: string,
  denial: { readonly reason: DenialReason; readonly why: string },
): Promise<never> {
  if (!act.dryRun) {
    const details = { command: act.command, role: act.role, reason: denial.reason };
    const entry = { actor: actorOf(loaded, operator), action: "authorization.refuse", target: act.command, details };
    await tryNoteAudit(loaded, entry, context);
  }
  throw notAuthorized(act, operator, denial);
}

/** Goes on without an answer, because whoever acts says that it must be; that is written down. */
async function goOn(
  loaded: LoadedConfig,
  context: AuthorizeContext,
  act: Act,
  operator: string,
  given: { readonly because: string; readonly why: string },
): Promise<Permission> {
  const warning = `${act.command} goes on without authorization (“${given.because}”), because nobody could be asked: ${given.why}`;
  if (act.dryRun) return { operator, warnings: [warning] };
  const details = { command: act.command, role: act.role, reason: given.because, why: given.why };
  const unwritten = await tryNoteAudit(
    loaded,
    { actor: actorOf(loaded, operator), action: "authorization.bypass", target: act.command, details },
    context,
  );
  if (unwritten === null) return { operator, warnings: [warning] };
  return { operator, warnings: [warning, `The audit log does not show it: ${unwritten}. Write it down elsewhere.`] };
}

// What is stored is shown in terminals.
// oxlint-disable-next-line no-control-regex -- they are what is refused
const ONE_LINE = /^[^\u0000-\u001f\u007f]{1,500}$/;

/** @throws FulaError FULA_USAGE */
function requireReason(text: string): string {
  const reason = text.trim();
  if (ONE_LINE.test(reason)) return reason;
  throw new FulaError("FULA_USAGE", "--without-authorization takes a reason: one line of at most 500 characters.", {
    hint: '--without-authorization "ticket 118: two of three masters are lost"',
  });
}

/** The same error, with the option that goes on where nobody will answer any more: whoever needs it does not know of it. */
function withWayOn({ code, message, hint = "", details, cause }: FulaError): FulaError {
  return new FulaError(code, message, {
    cause,
    hint: `${hint}\n  Where nothing brings the control plane back: the same command with --without-authorization <reason>.`.trim(),
    ...(details === undefined ? {} : { details }),
  });
}

/**
 * Asks the control plane whether whoever runs a command may do it.
 * @throws FulaError FULA_NOT_AUTHORIZED where it says no; FULA_CONTROL_PLANE_UNREACHABLE, FULA_CONTROL_PLANE_UNREADABLE,
 *   FULA_CONTROL_PLANE_UNFIT, FULA_STATE_LOST where nobody can be asked and this is no emergency; FULA_USAGE for an
 *   emergency without a reason; FULA_OPERATOR_KEY_INVALID, FULA_NOT_JOINED, and what `loadConfig` throws
 */
export async function authorizeCommand(context: AuthorizeContext, act: Act): Promise<Permission> {
  const because = act.emergency === null ? null : requireReason(act.emergency);
  const loaded = await loadConfig(context);
  if (!(await hasControlPlane(loaded))) return { operator: null, warnings: [] };
  const operator = await actingOperator(loaded, context);
  const answer = await askPatiently(loaded, context, act, operator);
  if ("allowed" in answer) {
    if (answer.allowed) return { operator, warnings: [] };
    return await refuse(loaded, context, act, operator, answer);
  }
  if (because === null) throw act.takesReason === true ? withWayOn(answer.error) : answer.error;
  return await goOn(loaded, context, act, operator, { because, why: answer.why });
}
