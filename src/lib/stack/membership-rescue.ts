import type { NatsConnection } from "@nats-io/transport-node";
import { type LoadedConfig, loadConfig } from "../config/load.ts";
import { updateSettingsFile } from "../config/settings-file.ts";
import { FulaError, isFulaError } from "../kernel/errors.ts";
import { connectNats } from "../membership/kv/connect.ts";
import { removePeer } from "../membership/kv/peers.ts";
import { lowerQuorum } from "../membership/kv/rescue.ts";
import type { ClusterView } from "../membership/kv/state.ts";
import { countRecords, type RecordCounts } from "../membership/migrate.ts";
import { natsAccess, withControlPlanePatiently } from "./control-plane.ts";
import { readServers } from "./control-plane-servers.ts";
import { applyStack } from "./docker-stack-apply.ts";
import type { MembershipContext } from "./membership-run.ts";
import { natsServerName } from "./stack-values.ts";

interface Target {
  readonly timeoutMs: number;
  readonly address: string;
}

/** @throws FulaError FULA_USAGE where the control plane is a file */
async function loadServers(context: MembershipContext): Promise<LoadedConfig> {
  const loaded = await loadConfig(context);
  if (loaded.config.controlPlane.mode !== "sqlite") return loaded;
  throw new FulaError("FULA_USAGE", "The control plane of this box is a file: it has no servers.", {
    hint: "fula-master membership status shows where it is.",
  });
}

interface Connected {
  readonly system: NatsConnection;
  readonly target: Target;
}

async function withSystem<T>(
  loaded: LoadedConfig,
  use: (system: NatsConnection, target: Target) => Promise<T>,
): Promise<T> {
  const access = await natsAccess(loaded, "system");
  const { timeout: timeoutMs } = loaded.config.controlPlane;
  const system = await connectNats(access, timeoutMs);
  try {
    return await use(system, { timeoutMs, address: access.servers.join(", ") });
  } finally {
    await system.close();
  }
}

/** What `membership peer rescue` did; `--json` keeps these fields. */
export interface RescueReport {
  readonly dryRun: boolean;
  /** Servers that were taken out, or would be: those that do not answer. */
  readonly removed: readonly string[];
  /** Servers that go on. */
  readonly left: readonly string[];
  /** What the control plane holds; null in a dry run. */
  readonly records: RecordCounts | null;
}

/** What `membership peer rescue` is given. */
export interface RescueOptions {
  readonly dryRun: boolean;
  /** Asked before anything is changed; throws where it is not meant. */
  readonly confirm: (view: ClusterView) => Promise<void>;
  readonly report: (text: string) => void;
}

/** A server gives up on a leader who is gone after half a minute at most; then it has to be elected, and streams too. */
const RESCUE_LIMIT_MS = 120_000;
const PAUSE_MS = 1_000;

function tooLate(address: string): FulaError {
  return new FulaError("FULA_CONTROL_PLANE_UNREACHABLE", `The servers at ${address} did not elect a leader in time.`, {
    hint: "run the command again; fula-master membership status shows what answers.",
  });
}

function lostOf({ servers, members }: ClusterView): readonly string[] {
  const answering = new Set(servers.map(({ name }) => name));
  return members.filter(({ name, current }) => !current && !answering.has(name)).map(({ name }) => name);
}

/** Runs a step again and again until it gives something, or the time is up. */
async function untilGiven<T>(
  { clock, signal }: Pick<MembershipContext, "clock" | "signal">,
  address: string,
  step: () => Promise<T | null>,
): Promise<T> {
  const deadlineMs = clock.monotonicMs() + RESCUE_LIMIT_MS;
  for (;;) {
    const given = await step();
    if (given !== null) return given;
    if (clock.monotonicMs() > deadlineMs) throw tooLate(address);
    await clock.sleep(PAUSE_MS, signal);
  }
}

/** What was refused or silent for the moment; anything else is for the operator. */
function isPassing(error: unknown): boolean {
  return isFulaError(error, "FULA_CONTROL_PLANE_UNREACHABLE") || isFulaError(error, "FULA_CONTROL_PLANE_PEER");
}

/** Servers that hold something: the witness that was started for this does not. */
function votesOf({ servers }: ClusterView, { config }: LoadedConfig): number {
  const witness = natsServerName(config, "nats-witness");
  return Math.max(1, servers.filter(({ name }) => name !== witness).length);
}

/** One step towards a leader without those that are lost; true where there is one. */
async function stepTowardsLeader(
  loaded: LoadedConfig,
  context: MembershipContext,
  {
    system,
    target,
    removed,
    report,
  }: Connected & { readonly removed: Set<string>; readonly report: (text: string) => void },
): Promise<boolean> {
  const view = await readServers(loaded, context);
  const lost = lostOf(view);
  if (view.metaLeader !== null && lost.length === 0) return true;
  if (view.members.length === 0) {
    const outcome = await lowerQuorum(system, votesOf(view, loaded), target);
    report(
      outcome === "lowered" ? "electing a leader without the others" : "waiting for the old leader to be given up",
    );
  }
  for (const name of lost) {
    report(`taking ${name} out`);
    await removePeer(system, name, target);
    removed.add(name);
  }
  return false;
}

/** @returns names of the servers that were taken out */
async function electAndRemove(
  loaded: LoadedConfig,
  context: MembershipContext,
  { report }: RescueOptions,
): Promise<readonly string[]> {
  return await withSystem(loaded, async (system, target) => {
    const removed = new Set<string>();
    return await untilGiven(context, target.address, async () => {
      try {
        const isLed = await stepTowardsLeader(loaded, context, { system, target, removed, report });
        return isLed ? [...removed].toSorted() : null;
      } catch (error) {
        if (isPassing(error)) return null;
        throw error;
      }
    });
  });
}

/** A server that is left alone waits for a second one after its next start, and could not be elected until then. */
async function startWitness(
  loaded: LoadedConfig,
  context: MembershipContext,
  report: RescueOptions["report"],
): Promise<void> {
  const { paths, config } = loaded;
  if (config.controlPlane.mode !== "docker") return;
  const { clock, signal } = context;
  await updateSettingsFile(paths.configFile, { "controlPlane.witness": true }, { clock, signal });
  report("starting the witness");
  await applyStack(await loadConfig(context), context, report);
}

/**
 * Has the servers that are left go on by themselves where more than half of a control plane's servers are gone for good.
 * Killed anywhere, it can be run again.
 * @throws FulaError FULA_USAGE, FULA_CONTROL_PLANE_PEER where a leader is there, FULA_CONTROL_PLANE_UNREACHABLE, and what
 *   `confirm` and the engine throw
 */
export async function rescueControlPlane(context: MembershipContext, options: RescueOptions): Promise<RescueReport> {
  const { dryRun, confirm, report } = options;
  const loaded = await loadServers(context);
  const view = await readServers(loaded, context);
  if (view.metaLeader !== null) {
    throw new FulaError("FULA_CONTROL_PLANE_PEER", `The control plane has a leader: ${view.metaLeader}.`, {
      hint: "fula-master membership peer remove takes single servers out that are gone.",
    });
  }
  const left = view.servers.map(({ name }) => name);
  if (dryRun) return { dryRun, removed: lostOf(view), left, records: null };
  await confirm(view);
  await startWitness(loaded, context, report);
  const rescued = await loadConfig(context);
  const removed = await electAndRemove(rescued, context, options);
  const onWait = (sentence: string): void => report(sentence);
  const records = await withControlPlanePatiently(rescued, { ...context, onWait }, async (store) =>
    countRecords(await store.exportSnapshot()),
  );
  const after = await readServers(rescued, context);
  return { dryRun, removed, left: after.servers.map(({ name }) => name), records };
}
