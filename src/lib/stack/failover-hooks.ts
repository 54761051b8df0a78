import { execa, ExecaError, parseCommandString } from "execa";
import type { Config } from "../config/schema.ts";
import type { HandOver, HookOutcome } from "../failover/failover-ports.ts";
import { messageOf } from "../kernel/errors.ts";
import { formatDuration } from "../kernel/units.ts";

const KILL_DELAY_MS = 2_000;
/** The end of what it printed, in journal and report. */
const SHOWN_MAX = 500;

/** What calling a command of the operator's takes. */
export interface HookDeps {
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly signal: AbortSignal;
}

const COMMANDS = { fence: "fenceCommand", flip: "flipCommand" } as const;

function endOf(text: string): string {
  const line = text.replaceAll(/\s+/g, " ").trim();
  return line.length > SHOWN_MAX ? `…${line.slice(-SHOWN_MAX)}` : line;
}

function variables({ from, to }: HandOver): Record<string, string> {
  return { FULA_OLD_MASTER: from, ...(to === null ? {} : { FULA_NEW_MASTER: to }) };
}

/** Only what a program needs to find its way: secrets of this process are none of the hook's business. */
function environment({ env }: HookDeps, handOver: HandOver): Record<string, string> {
  const kept = ["PATH", "HOME", "USER", "LANG", "SSH_AUTH_SOCK", "TZ"].flatMap((name) => {
    const value = env[name];
    return value === undefined ? [] : [[name, value] as const];
  });
  return { ...Object.fromEntries(kept), ...variables(handOver) };
}

/**
 * Runs a command of the operator's, without a shell. A blank separates its arguments; one that belongs to an argument has
 * a backslash before it. Never rejects for how it ended.
 */
export async function runFailoverHook(
  hook: "fence" | "flip",
  { failover }: Pick<Config, "failover">,
  handOver: HandOver,
  deps: HookDeps,
): Promise<HookOutcome> {
  const setting = `failover.${COMMANDS[hook]}`;
  const command = failover[COMMANDS[hook]];
  if (command === null) return { state: "none", seen: `${setting} is not set` };
  const [program, ...args] = parseCommandString(command);
  if (program === undefined) return { state: "failed", seen: `${setting} names no program` };
  try {
    const { all } = await execa(program, args, {
      stdin: "ignore",
      all: true,
      env: environment(deps, handOver),
      extendEnv: false,
      timeout: failover.hookTimeout,
      forceKillAfterDelay: KILL_DELAY_MS,
      cancelSignal: deps.signal,
    });
    const said = endOf(all);
    return { state: "ended", seen: `${setting} ended with 0${said === "" ? "" : `: ${said}`}` };
  } catch (error) {
    deps.signal.throwIfAborted();
    return { state: "failed", seen: `${setting} ${explain(error, failover.hookTimeout)}` };
  }
}

function explain(error: unknown, timeoutMs: number): string {
  if (!(error instanceof ExecaError)) return `failed: ${endOf(messageOf(error))}`;
  if (error.timedOut) return `was ended because it had not finished after ${formatDuration(timeoutMs)}`;
  const said = typeof error.all === "string" ? endOf(error.all) : "";
  const how =
    error.exitCode === undefined ? endOf(error.originalMessage ?? error.shortMessage) : `ended with ${error.exitCode}`;
  return `${how}${said === "" ? "" : `: ${said}`}`;
}
