import { type LoadedConfig, loadConfig } from "../config/load.ts";
import type { Clock } from "../kernel/clock.ts";
import { FulaError } from "../kernel/errors.ts";
import { BUCKET_KINDS, bucketName } from "../membership/kv/buckets.ts";
import { connectNats } from "../membership/kv/connect.ts";
import { assertRemovable, handLeadOn, leaveToOne, removePeer } from "../membership/kv/peers.ts";
import { outlastSilence } from "../membership/outlast.ts";
import type { ClusterView } from "../membership/kv/state.ts";
import { natsAccess } from "./control-plane.ts";
import { readServers } from "./control-plane-servers.ts";
import type { MembershipContext } from "./membership-run.ts";

/** What `membership peer remove` prints; `--json` keeps these fields. */
export interface RemovedServer {
  readonly dryRun: boolean;
  readonly server: string;
  /** Servers that are left, by name. */
  readonly left: readonly string[];
}

/** What it is asked. */
export interface RemoveServerRequest {
  /** As `membership status` shows it. */
  readonly name: string;
  /** Takes out a server that runs, too. */
  readonly force: boolean;
  readonly dryRun: boolean;
  /** Asked before anything is done; throws where it is not meant. */
  readonly confirm: (left: readonly string[]) => Promise<void>;
}

/** For an election, and for a removal to be known to all. */
const PATIENCE_MS = 20_000;
const POLL_MS = 200;
/** Whoever answers nothing for so long is taken for gone. One that runs and is busy misses a question, not all of them. */
const SILENCE_MS = 10_000;

interface Wait {
  readonly clock: Clock;
  readonly signal: AbortSignal;
}

/** Names of all servers, the leader's among them. */
export function serverNames({ metaLeader, members }: ClusterView): readonly string[] {
  const names = [...(metaLeader === null ? [] : [metaLeader]), ...members.map(({ name }) => name)];
  return names.toSorted((a, b) => (a < b ? -1 : 1));
}

/** Names of the buckets that records are kept in. */
export function recordBuckets({ config }: LoadedConfig): readonly string[] {
  return BUCKET_KINDS.map((kind) => bucketName(config.controlPlane.prefix, kind));
}

async function whenSeen(
  loaded: LoadedConfig,
  what: string,
  isSo: (view: ClusterView) => boolean,
  { clock, signal }: Wait,
): Promise<void> {
  const deadlineMs = clock.monotonicMs() + PATIENCE_MS;
  while (!isSo(await readServers(loaded, { clock }))) {
    if (clock.monotonicMs() > deadlineMs) {
      throw new FulaError(
        "FULA_CONTROL_PLANE_UNREACHABLE",
        `The control plane's servers did not show in time that ${what}.`,
        {
          hint: "fula-master status shows them; running the command again is safe.",
        },
      );
    }
    await clock.sleep(POLL_MS, signal);
  }
}

/** Has the only server that will be left keep every bucket by itself, before the other one goes. */
async function leaveAllToOne(loaded: LoadedConfig, gone: string, wait: Wait): Promise<void> {
  const names = recordBuckets(loaded);
  const { timeout: timeoutMs } = loaded.config.controlPlane;
  const shared = ({ streams }: ClusterView): ClusterView["streams"] =>
    streams.filter(({ bucket, replicas, leader }) => names.includes(bucket) && (replicas > 1 || leader === gone));
  const access = await natsAccess(loaded);
  const target = { timeoutMs, address: access.servers.join(", ") };
  const user = await connectNats(access, timeoutMs);
  try {
    const deadlineMs = wait.clock.monotonicMs() + PATIENCE_MS;
    // After a server went, those that are left elect: they answer nobody meanwhile.
    const step = async (): Promise<ClusterView["streams"]> => {
      const left = shared(await readServers(loaded, wait));
      for (const stream of left.filter(({ leader }) => leader !== null)) await leaveToOne(user, stream, gone, target);
      return left;
    };
    for (;;) {
      const left = await outlastSilence(step, { ...wait, deadlineMs });
      if (left.length === 0) return;
      if (wait.clock.monotonicMs() > deadlineMs) {
        throw new FulaError(
          "FULA_CONTROL_PLANE_UNREACHABLE",
          `The one server that is left did not take ${left.map(({ bucket }) => bucket).join(", ")} over in time.`,
          { hint: "fula-master status shows the servers; running the command again is safe." },
        );
      }
      await wait.clock.sleep(POLL_MS, wait.signal);
    }
  } finally {
    await user.close();
  }
}

/**
 * Takes a server out of the control plane's, after it has handed the lead on where it leads, and waits until all others
 * know. What it held is copied to others where there are enough.
 * @throws FulaError FULA_CONTROL_PLANE_PEER, FULA_CONTROL_PLANE_UNREACHABLE
 */
export async function takeServerOut(loaded: LoadedConfig, name: string, wait: Wait): Promise<void> {
  const { timeout: timeoutMs } = loaded.config.controlPlane;
  const access = await natsAccess(loaded, "system");
  const target = { timeoutMs, address: access.servers.join(", ") };
  const system = await connectNats(access, timeoutMs);
  try {
    if ((await readServers(loaded, wait)).metaLeader === name) {
      await handLeadOn(system, target);
      const another = ({ metaLeader }: ClusterView): boolean => metaLeader !== null && metaLeader !== name;
      await whenSeen(loaded, `another one than ${name} leads`, another, wait);
    }
    const others = serverNames(await readServers(loaded, wait)).filter((each) => each !== name);
    if (others.length === 1) await leaveAllToOne(loaded, name, wait);
    await removePeer(system, name, target);
  } finally {
    await system.close();
  }
  await whenSeen(loaded, `${name} is out`, (view) => !serverNames(view).includes(name), wait);
}

/** True where the leader and all others answered. */
function isWhole({ metaLeader, members, servers }: ClusterView): boolean {
  return metaLeader !== null && servers.length > members.length;
}

/** Looks until all servers answer, or some have been silent for long enough: then what most of them said is what counts. */
async function readServersPatiently(loaded: LoadedConfig, { clock, signal }: Wait): Promise<ClusterView> {
  const deadlineMs = clock.monotonicMs() + SILENCE_MS;
  let best = await readServers(loaded, { clock });
  while (!isWhole(best) && clock.monotonicMs() < deadlineMs) {
    await clock.sleep(POLL_MS, signal);
    const view = await readServers(loaded, { clock });
    const isLed = view.metaLeader !== null || best.metaLeader === null;
    if (isLed && view.servers.length >= best.servers.length) best = view;
  }
  return best;
}

/**
 * Takes a server out that will not come back, or that is to be another master's no longer.
 * @throws FulaError FULA_CONTROL_PLANE_PEER where it runs, is none of them, or the others could not agree without it;
 *   FULA_CONTROL_PLANE_UNREACHABLE, FULA_NOT_JOINED
 */
export async function removeServer(context: MembershipContext, request: RemoveServerRequest): Promise<RemovedServer> {
  const { name, force, dryRun, confirm } = request;
  const loaded = await loadConfig(context);
  if (loaded.config.controlPlane.mode === "sqlite") {
    throw new FulaError("FULA_CONTROL_PLANE_PEER", "The control plane of this box is a file: it has no servers.", {
      hint: "fula-master membership migrate-to-kv moves it to servers.",
    });
  }
  const view = await readServersPatiently(loaded, context);
  // By force also what is lost already: without its server out of the way nothing could be made anew.
  assertRemovable(view, name, { force, buckets: force ? [] : recordBuckets(loaded) });
  const left = serverNames(view).filter((each) => each !== name);
  if (dryRun) return { dryRun, server: name, left };
  await confirm(left);
  await takeServerOut(loaded, name, context);
  return { dryRun, server: name, left };
}
