import type { LoadedConfig } from "../config/load.ts";
import { tryLock } from "../kernel/lock.ts";
import type { Random } from "../kernel/random.ts";
import type { Attestation, LedgerEpochRecord, LedgerStore, Versioned } from "../membership/ledger-records.ts";
import { swapRecord } from "../membership/ledger-swap.ts";
import { KeptSession } from "../postgres/kept-session.ts";
import type { Epoch } from "../recovery/epoch.ts";
import { formatLsn } from "../recovery/lsn.ts";
import { detachStandby } from "../recovery/postgres/detach.ts";
import { raiseEpochFloor } from "../recovery/postgres/epoch-floor.ts";
import { writeEpochRow } from "../recovery/postgres/epoch-row.ts";
import { beginFollowing } from "../recovery/postgres/follow.ts";
import { connectWhenUp, type LedgerServer, type Patience } from "../recovery/postgres/ledger-server.ts";
import type { PrimaryLink } from "../recovery/postgres/primary-link.ts";
import { promoteStandby, type PromotedPrimary, settlePromotion } from "../recovery/postgres/promote.ts";
import { standbySlot } from "../recovery/postgres/standby-names.ts";
import { type AgentAct, type AgentDecision, decideAgent, type OwnServerState } from "./agent-decision.ts";
import { assertNotRolledBack, noteEpoch, readKnownEpochs } from "./ledger-epoch-file.ts";
import { lookAtOwnServer } from "./own-state.ts";
import { linkTo } from "./standby-link.ts";
import { withinLimit } from "./look.ts";
import { CARETAKER, joinLockFile } from "./step-run.ts";
import { lookAtPrimary } from "./standby-look.ts";
import { readStoppedLog } from "./stopped-log.ts";
import { renderSyncNames } from "./sync-decision.ts";

/** What acting for this box needs. */
export interface AgentContext {
  readonly loaded: LoadedConfig;
  readonly store: LedgerStore;
  /** This box's own; null where it carries none. */
  readonly server: LedgerServer | null;
  readonly random: Random;
  readonly signal: AbortSignal;
  /** A connection to `server` that is kept from round to round; default is one of the round's own. */
  readonly kept?: KeptSession;
  /** The way to another box's server; default by the federation's certificates. */
  readonly linkTo?: (server: LedgerServer, other: { readonly node: string; readonly address: string }) => PrimaryLink;
}

/** What one round came to. */
export interface AgentReport extends AgentDecision {
  /** What the server was before; null where this box has none, or the ledger no epoch. */
  readonly server: OwnServerState | null;
  /** As the quorum had it. */
  readonly epoch: Versioned<LedgerEpochRecord>;
}

/** A primary that is to stop ends at once where it does not do so in order by then. */
const ORDERLY_STOP_MS = 3_000;
/** How long a server may take to come up, to detach, or to be promoted. */
const PATIENCE_MS = 60_000;
const RECORD_PATIENCE_MS = 20_000;
/** What answers in a millisecond where it answers. */
const KEPT_LOOK_MS = 2_000;

function epochOf({ number, uuid }: LedgerEpochRecord): Epoch {
  return { number: BigInt(number), uuid };
}

/**
 * Does for this box what the epoch's record asks of it, one step; whoever wants it done to the end calls it again. Everything
 * that is done may be done again, and by two processes at once.
 * @throws FulaError FULA_CONTROL_PLANE_UNREACHABLE, FULA_EPOCH_ROLLED_BACK, and what the steps throw
 */
export async function actOnEpoch(context: AgentContext): Promise<AgentReport> {
  const { store, loaded, signal } = context;
  const epoch = await store.confirm("epoch");
  const nothing = { act: "nothing", server: null, epoch } as const;
  if (epoch.value === null) {
    assertNotRolledBack(await readKnownEpochs(loaded.paths.stateDir), null);
    return { ...nothing, because: "the ledger has no second server" };
  }
  const noted = noteEpoch(loaded.paths.stateDir, epoch.value);
  if (context.server === null) {
    await noted;
    return { ...nothing, because: "this box has no server of the ledger" };
  }
  // A federation that cannot write waits for this: what is looked at, and done then, is so over one connection.
  const own = context.server;
  const { node, site, clock, log } = own;
  await using round = new AsyncDisposableStack();
  const kept = context.kept ?? round.use(new KeptSession(async () => await own.connect()));
  const server: LedgerServer = { node, site, clock, log, connect: async () => await kept.connect() };
  const [state, attested] = await Promise.all([
    lookOverKept(kept, server, epoch.value, signal),
    store.get("attest", server.node),
    noted,
  ]);
  const decision = decideAgent({ node: server.node, epoch: epoch.value, server: state, attested: attested.value });
  const step = {
    context,
    server,
    epoch: epoch.value,
    revision: epoch.revision,
    attestRevision: attested.revision,
  };
  if (!UNHURRIED.has(decision.act)) {
    await STEPS[decision.act](step);
    return { ...decision, server: state, epoch };
  }
  using free = await tryLock(joinLockFile(loaded.paths.locksDir), CARETAKER, server.clock);
  if (free === null) return { ...nothing, server: state, because: "a command works at this box" };
  await STEPS[decision.act](step);
  return { ...decision, server: state, epoch };
}

/** Looks at this box's server; where a connection that was there before tells nothing, over a new one. */
async function lookOverKept(
  kept: KeptSession,
  server: LedgerServer,
  epoch: LedgerEpochRecord,
  signal: AbortSignal,
): Promise<OwnServerState> {
  const look = async (): Promise<OwnServerState> => await lookAtOwnServer(server, epoch, signal);
  // A server that is frozen says nothing at all.
  const soon = async (): Promise<OwnServerState> =>
    await withinLimit({ clock: server.clock, signal, limitMs: KEPT_LOOK_MS }, look);
  return await kept.ask(async (isKept) => await (isKept ? soon() : look()), signal, hasSpoken);
}

function hasSpoken({ kind }: OwnServerState): boolean {
  return kind !== "silent";
}

/** Not while a command works at this box: a resync stops the server to rewrite its data, and it must not be started under its hands. */
const UNHURRIED: ReadonlySet<AgentAct> = new Set(["start-standby", "follow"]);

interface AgentStep {
  readonly context: AgentContext;
  readonly server: LedgerServer;
  readonly epoch: LedgerEpochRecord;
  readonly revision: number;
  /** Of what this box said last. */
  readonly attestRevision: number;
}

const STEPS: { readonly [A in AgentAct]: (step: AgentStep) => Promise<void> } = {
  nothing: async () => {},
  drain: async (step) => {
    await prepareStop(step);
    await step.server.site.stop("fast");
    await attestStopped(step);
  },
  stop: async (step) => {
    await stopAtOnce(step.server);
    if (step.epoch.phase !== "open") await attestStopped(step);
  },
  attest: attestStopped,
  detach,
  promote,
  reaffirm,
  "start-primary": async ({ server }) => await server.site.start(),
  "start-standby": async ({ server }) => await server.site.start(),
  follow,
};

function patience({ context }: AgentStep): Patience {
  return { withinMs: PATIENCE_MS, signal: context.signal };
}

/** Leaves little to be written once clients have to wait: until then they go on. */
async function prepareStop({ context, server, epoch }: AgentStep): Promise<void> {
  {
    await using files = await server.site.open(context.signal);
    await raiseEpochFloor(files, server.site, epochOf(epoch));
  }
  await using session = await server.connect();
  await session.query({ name: "agent_checkpoint", text: "checkpoint", values: [] });
}

/** In order where that takes a moment, because then it is known where its log ends; else at once. */
async function stopAtOnce({ site, clock }: LedgerServer): Promise<void> {
  const enough = new AbortController();
  const orderly = site.stop("fast").finally(() => {
    enough.abort();
  });
  await Promise.race([orderly.catch(() => {}), clock.sleep(ORDERLY_STOP_MS, enough.signal).catch(() => {})]);
  if ((await site.state()) === "running") await site.stop("immediate");
  await orderly;
}

async function say(
  { context, server, epoch, attestRevision }: AgentStep,
  word: Omit<Attestation, "node" | "number" | "uuid" | "at">,
): Promise<void> {
  const { number, uuid } = epoch;
  const at = new Date(server.clock.nowMs()).toISOString();
  const { store } = context;
  const said: Attestation = { number, uuid, node: server.node, ...word, at };
  if ((await store.put("attest", said, attestRevision, server.node)) !== null) return;
  // Another process of this box said something meanwhile, of what it saw before.
  const { revision } = await store.get("attest", server.node);
  await store.put("attest", said, revision, server.node);
}

/** What it has was written under the epoch before, else it would not have been its primary. */
async function attestStopped(step: AgentStep): Promise<void> {
  const { server, epoch, context } = step;
  const { previous } = epoch;
  if (previous?.primary !== server.node) return;
  const log = await readStoppedLog(server, context.signal);
  if (log === null) return;
  await using files = await server.site.open(context.signal);
  await raiseEpochFloor(files, server.site, epochOf(epoch));
  const lineage = { number: previous.number, uuid: previous.uuid };
  const what = log.inOrder ? "primary-stopped" : "primary-halted";
  await say(step, { what, lineage, timeline: log.timeline, receivedLsn: log.checkpointLsn });
}

async function detach(step: AgentStep): Promise<void> {
  const { server, epoch } = step;
  const { lineage, timeline, receivedLsn } = await detachStandby(server, epochOf(epoch), patience(step));
  await say(step, {
    what: "standby-detached",
    lineage: lineage === null ? null : { number: Number(lineage.number), uuid: lineage.uuid },
    timeline,
    receivedLsn: formatLsn(receivedLsn),
  });
}

function syncSettings({ syncSet, syncNeeded }: LedgerEpochRecord): Readonly<Record<string, string | null>> {
  const names = renderSyncNames({ members: syncSet, needed: syncNeeded });
  return { synchronous_standby_names: names === "" ? null : names };
}

async function promote(step: AgentStep): Promise<void> {
  const { server, epoch } = step;
  const { reason } = epoch;
  const slots = epoch.syncSet.map(standbySlot);
  const promotion = { epoch: epochOf(epoch), reason, settings: syncSettings(epoch), slots };
  const promoted = await promoteStandby(server, promotion, patience(step));
  await open(step, promoted);
  await settlePromotion(server);
}

async function reaffirm(step: AgentStep): Promise<void> {
  const { server, epoch, context } = step;
  {
    await using files = await server.site.open(context.signal);
    await raiseEpochFloor(files, server.site, epochOf(epoch));
  }
  await server.site.start();
  await using session = await connectWhenUp(server, patience(step));
  const seen = await lookAtPrimary(session);
  if (seen === null) return;
  const { timeline } = seen;
  const row = { ...epochOf(epoch), timeline, switchLsn: null, primary: server.node, reason: epoch.reason };
  await writeEpochRow(session, row);
  await open(step, { timeline, switchLsn: null });
}

/** The last step of a change: from here on clients come. Somebody else who was faster wrote the same. */
async function open(
  { context, server, epoch, revision }: AgentStep,
  { timeline, switchLsn }: { readonly timeline: number; readonly switchLsn: PromotedPrimary["switchLsn"] | null },
): Promise<void> {
  const { store, loaded, random, signal } = context;
  const { clock } = server;
  await swapRecord(
    store,
    {
      kind: "epoch",
      expectedRevision: revision,
      value: {
        ...epoch,
        phase: "open",
        address: loaded.config.postgres.announce ?? epoch.address,
        timeline,
        switchLsn,
        token: random.uuid(),
        at: new Date(clock.nowMs()).toISOString(),
      },
    },
    { clock, signal, patienceMs: RECORD_PATIENCE_MS },
  );
}

async function follow(step: AgentStep): Promise<void> {
  const { context, server, epoch } = step;
  const { address, primary: node } = epoch;
  if (address === null) return;
  const link = context.linkTo ?? defaultLink(context);
  const following = {
    primary: link(server, { node, address }),
    epoch: epochOf(epoch),
    slot: standbySlot(server.node),
    settings: {},
  };
  await using files = await server.site.open(context.signal);
  await beginFollowing(files, server, following, patience(step));
}

function defaultLink({ loaded }: AgentContext): NonNullable<AgentContext["linkTo"]> {
  return (server, other) => linkTo(loaded, server.site, other, { clock: server.clock, part: "agent" });
}
