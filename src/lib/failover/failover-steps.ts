import type { ErrorCode } from "../kernel/error-codes.ts";
import { FulaError } from "../kernel/errors.ts";
import {
  attestationsNeeded,
  type ChoiceFacts,
  choosePrimary,
  countDetached,
  isQuorumDetached,
} from "./choose-primary.ts";
import { beginEpoch, stamp, standbysOf } from "./begin-epoch.ts";
import { fencingEpoch, promotingEpoch, reaffirmedEpoch } from "./epoch-change.ts";
import type { FailoverCheck } from "./failover-ports.ts";
import {
  changeEpoch,
  choiceFacts,
  type FailoverScene,
  readAttestations,
  requireBox,
  requireKnown,
} from "./failover-scene.ts";
import { endedEpoch, type FailoverAction } from "./failover-states.ts";
import { judgeOldMaster } from "./fence-evidence.ts";
import { missingOf, noteMissing } from "./missing-contents.ts";
import { preflight } from "./preflight.ts";
import { parseLsn } from "../recovery/lsn.ts";

/** What a look found: whether the step's end is reached, and what was seen, a sentence. */
export interface Found {
  readonly isSo: boolean;
  readonly seen: string;
  /** True where waiting will not bring it about. */
  readonly isHopeless?: boolean;
}

/** One step: looking never changes anything, acting may be done again at any time. */
export interface FailoverStep {
  readonly title: string;
  look(scene: FailoverScene): Promise<Found>;
  /** Null where others bring it about. */
  readonly act: ((scene: FailoverScene) => Promise<void>) | null;
  /** How long the end may take to be seen after acting. */
  readonly patienceMs: number;
  readonly code: ErrorCode;
  /** What an operator can safely do where the step's end is not seen. */
  safe(scene: FailoverScene): string;
}

const AT_ONCE_MS = 5_000;
const AGENT_MS = 60_000;
/** A standby that runs detaches within a second. */
const OTHERS_MS = 10_000;
/** Recovery of what the standby has received but not replayed comes before its first write. */
const PROMOTION_MS = 300_000;

const ABORT = "fula-master failover abort gives it its right back";
const AGAIN = "run the same command again; it goes on with this step";

function phaseLook(phases: readonly string[]): FailoverStep["look"] {
  return async ({ epoch: { value } }) => ({
    isSo: phases.includes(value.phase),
    seen: `epoch ${value.number} is ${value.phase}`,
  });
}

/** What was not looked at has not been found well. */
function judgeChecks(checks: readonly FailoverCheck[]): Found {
  const bad = checks.filter(({ state }) => state === "bad");
  if (checks.length === 0) return { isSo: false, seen: "nothing was tried yet" };
  return { isSo: bad.length === 0, seen: (bad.length > 0 ? bad : checks).map(({ seen }) => seen).join("; ") };
}

const PREFLIGHT: FailoverStep = {
  title: "look whether it can succeed",
  look: async (scene) => {
    return judgeChecks(await preflight(scene.ports, scene.keeper.run, scene.epoch.value, scene.signal));
  },
  act: null,
  patienceMs: 0,
  code: "FULA_FAILOVER_REFUSED",
  safe: () => "Nothing was changed. fula-master failover --plan shows every check; mend what is bad and run it again.",
};

const DRAIN: FailoverStep = {
  title: "stop the old primary in order",
  look: async (scene) => {
    const { value } = scene.epoch;
    const { from, to } = scene.keeper.run;
    if (value.phase !== "draining")
      return { isSo: value.phase === "fencing", seen: `epoch ${value.number} is ${value.phase}` };
    const stopped = (await readAttestations(scene.ports)).find(
      ({ node, number, uuid }) => node === from && number === value.number && uuid === value.uuid,
    );
    if (stopped?.what === "primary-halted") {
      const seen = `the PostgreSQL of ${from} ended without order, so that it may not have handed over all of its log`;
      return { isSo: false, isHopeless: true, seen };
    }
    if (stopped?.what !== "primary-stopped") return { isSo: false, seen: `${from} has not said that it stopped` };
    const target = await requireBox(scene, to ?? value.primary);
    const look = await scene.ports.lookAtServer(target, scene.signal);
    if (look.kind === "silent") return { isSo: false, seen: `${target.node}: ${look.why}` };
    const { receivedLsn } = stopped;
    // A stopped primary names the beginning of its last record.
    const hasAll = parseLsn(look.lsn) > parseLsn(receivedLsn);
    return {
      isSo: hasAll,
      seen: `${from} stopped, its last record at ${receivedLsn}; ${target.node} has the log up to ${look.lsn}`,
    };
  },
  act: async (scene) => {
    await beginEpoch(scene, "draining");
  },
  patienceMs: AGENT_MS,
  code: "FULA_FAILOVER_STOPPED",
  safe: ({ keeper }) =>
    `No other server takes writes. Let ${keeper.run.from} go on: ${ABORT}; or ${AGAIN}; or, if ${keeper.run.from} is broken: ` +
    "fula-master failover --fence goes on without it.",
};

const DETACH: FailoverStep = {
  title: "let the standbys detach",
  look: phaseLook(["fencing", "promoting", "open"]),
  act: async (scene) => {
    if (scene.epoch.value.phase === "draining") await changeEpoch(scene, fencingEpoch(scene.epoch.value, stamp(scene)));
  },
  patienceMs: AT_ONCE_MS,
  code: "FULA_FAILOVER_STOPPED",
  safe: () => `Nobody takes writes. Either ${AGAIN}, or ${ABORT}.`,
};

const RAISE: FailoverStep = {
  title: "raise the epoch",
  look: async ({ epoch: { value }, keeper: { run } }) => ({
    isSo: value.phase !== "draining" && endedEpoch(value)?.uuid !== run.replaces.uuid,
    seen: `epoch ${value.number} is ${value.phase}`,
  }),
  act: async (scene) => {
    // Of a switchover that came to be a failover: the old primary does not stop in order.
    if (scene.epoch.value.phase === "draining") await changeEpoch(scene, fencingEpoch(scene.epoch.value, stamp(scene)));
    else await beginEpoch(scene, "fencing");
  },
  patienceMs: AT_ONCE_MS,
  code: "FULA_FAILOVER_STOPPED",
  safe: () => `Whether the epoch was raised is in fula-master failover status; ${AGAIN}.`,
};

const SILENCE: FailoverStep = {
  title: "tell the old master's services to stop",
  look: async ({ fenceHook }) =>
    fenceHook === null ? { isSo: false, seen: "it was not told yet" } : { isSo: true, seen: fenceHook.seen },
  act: async (scene) => {
    const { ports, keeper, signal } = scene;
    const { from, to } = keeper.run;
    // A process that was paused, and whose run somebody else has by now, stops nobody's services.
    if (ports.hasFenceCommand) await keeper.change({});
    scene.fenceHook = await ports.runHook("fence", { from, to }, signal);
  },
  patienceMs: AT_ONCE_MS,
  code: "FULA_FAILOVER_STOPPED",
  safe: () => `Nobody is promoted. Either ${AGAIN}, or ${ABORT}.`,
};

/** Where a loss was agreed to: whether another standby, whose log may be longer, may still say something. */
async function mayBeBetter(scene: FailoverScene, facts: ChoiceFacts): Promise<boolean> {
  const { ports, raisedMs } = scene;
  if (facts.allowedLoss === null || raisedMs === null) return false;
  if (ports.clock.monotonicMs() - raisedMs > OTHERS_MS) return false;
  const standbys = await standbysOf(scene);
  const said = new Set(facts.attestations.filter(({ uuid }) => uuid === facts.epoch.uuid).map(({ node }) => node));
  return standbys.some(({ node }) => !said.has(node));
}

const ATTEST: FailoverStep = {
  title: "wait until enough standbys have detached",
  look: async (scene) => {
    const facts = await choiceFacts(scene);
    const { syncSet, syncNeeded } = facts.replaces;
    const needed = syncNeeded === 0 ? 0 : attestationsNeeded({ syncSet, syncNeeded });
    const choice = choosePrimary(facts);
    const mayWait = !isQuorumDetached(facts) && (await mayBeBetter(scene, facts));
    if (choice.kind === "chosen" && !mayWait) return { isSo: true, seen: choice.why };
    const count = `${countDetached(facts)} of ${needed} that are needed of ${syncSet.length} synchronous standbys have detached`;
    return { isSo: false, seen: choice.kind === "refused" ? `${count}; ${choice.why}` : count };
  },
  act: null,
  patienceMs: AGENT_MS,
  code: "FULA_FAILOVER_STOPPED",
  safe: ({ keeper: { run }, epoch }) =>
    `Nobody is promoted and no commit of ${run.from} is acknowledged any more. Bring the missing standbys back and ${AGAIN}; ` +
    `or, if ${run.from} is well: ${ABORT}; or, if they are lost for good, let commits be lost that only they have: ` +
    `--allow-data-loss <position>, with the position up to which nothing may be lost (epoch ${epoch.value.number}).`,
};

const PROVE: FailoverStep = {
  title: "prove that the old master takes no writes",
  look: async (scene) => {
    const verdict = await judgeOldMaster(scene);
    return { isSo: verdict.kind === "fenced", seen: verdict.why };
  },
  act: async (scene) => {
    const { from, to } = scene.keeper.run;
    // Another process of this run may have told it, and its outcome with it is gone.
    scene.fenceHook ??= await scene.ports.runHook("fence", { from, to }, scene.signal);
  },
  patienceMs: 10_000,
  code: "FULA_FENCE_UNPROVEN",
  safe: ({ keeper: { run } }) =>
    `Nobody is promoted. Stop fula-master serve on ${run.from} and ${AGAIN}; or cut its power and add --force-fence, which says that you did; ` +
    `or, if ${run.from} is well: ${ABORT}.`,
};

const CHOOSE: FailoverStep = {
  title: "choose the new primary",
  look: phaseLook(["promoting", "open"]),
  act: async (scene) => {
    const facts = await choiceFacts(scene);
    const choice = choosePrimary(facts);
    if (choice.kind === "refused") {
      throw new FulaError("FULA_FAILOVER_STOPPED", `Nobody can be promoted: ${choice.why}.`, {
        hint: ATTEST.safe(scene),
      });
    }
    const box = requireKnown(facts.boxes, choice.node);
    const promoting = promotingEpoch(scene.epoch.value, box, choice.followers, stamp(scene));
    await changeEpoch(scene, promoting, { to: choice.node });
    scene.choice = choice;
  },
  patienceMs: AT_ONCE_MS,
  code: "FULA_FAILOVER_STOPPED",
  safe: () => `${AGAIN}.`,
};

const PROMOTE: FailoverStep = {
  title: "wait for the promotion",
  look: phaseLook(["open"]),
  act: null,
  patienceMs: PROMOTION_MS,
  code: "FULA_FAILOVER_STOPPED",
  safe: ({ epoch: { value } }) =>
    `${value.primary} was told to become the primary and has not said that it is: it must not be aborted any more. Look at the log of serve there, start it, and ${AGAIN}.`,
};

const SWITCH: FailoverStep = {
  title: "follow the new primary",
  look: async (scene) => {
    const { value } = scene.epoch;
    const look = await scene.ports.lookAtServer(await requireBox(scene, value.primary), scene.signal);
    if (look.kind === "silent") return { isSo: false, seen: `${value.primary}: ${look.why}` };
    const isOfEpoch = look.epoch?.uuid === value.uuid && look.epoch.number === value.number;
    return {
      isSo: isOfEpoch && !look.inRecovery,
      seen: `${value.primary} is ${look.inRecovery ? "a standby" : "the primary"}, of epoch ${look.epoch?.number ?? "none"}`,
    };
  },
  act: null,
  patienceMs: AGENT_MS,
  code: "FULA_FAILOVER_STOPPED",
  safe: ({ epoch: { value } }) =>
    `${value.primary} has the epoch and may take writes; other masters follow it by themselves. See that this box reaches it, and ${AGAIN}.`,
};

const REVOKE: FailoverStep = {
  title: "take away the access of the old epoch",
  look: async ({ revoked }) =>
    revoked === null
      ? { isSo: false, seen: "it was not taken away yet" }
      : { isSo: revoked.oldSessions === 0, seen: revoked.seen },
  act: async (scene) => {
    const { ports, epoch, signal } = scene;
    await ports.followEpoch(epoch.value, signal);
    scene.revoked = await ports.revokeAccess(epoch.value, signal);
  },
  patienceMs: 0,
  code: "FULA_FAILOVER_STOPPED",
  safe: ({ epoch: { value } }) => `${value.primary} is the primary; nothing was flipped. ${AGAIN}.`,
};

const SEAL: FailoverStep = {
  title: "refuse what is left of the old epoch",
  look: async ({ sealed }) => {
    if (sealed === null) return { isSo: false, seen: "it was not tried yet" };
    const isSo = sealed.oldWrite === "rejected" && sealed.newWrite;
    return { isSo, seen: sealed.seen };
  },
  act: async (scene) => {
    const { ports, epoch, signal, keeper } = scene;
    scene.sealed = await ports.seal(epoch.value, keeper.run.replaces, signal);
    if (scene.sealed.newWrite) scene.writtenMs = ports.clock.monotonicMs();
  },
  patienceMs: 0,
  code: "FULA_FAILOVER_STOPPED",
  safe: ({ epoch: { value } }) => `${value.primary} is the primary; nothing was flipped. ${AGAIN}.`,
};

const VERIFY: FailoverStep = {
  title: "try what must work",
  look: async ({ checks }) => judgeChecks(checks),
  act: async (scene) => {
    scene.checks = await scene.ports.verifyService(scene.epoch.value, scene.report, scene.signal);
    noteMissing(scene);
  },
  patienceMs: 0,
  code: "FULA_FAILOVER_STOPPED",
  safe: ({ epoch: { value }, checks }) => {
    const stands = `${value.primary} is the primary and takes writes; DNS and load balancers were not touched. Mend what is bad and ${AGAIN}`;
    const missing = missingOf(checks).length;
    if (missing === 0) return `${stands}.`;
    return (
      `${stands}. On no box that answers ${missing === 1 ? "is 1 content" : `are ${missing} contents`}: fula-master failover status lists them. ` +
      `Bring back a box that has them, or accept that they may be lost: --allow-missing ${missing}.`
    );
  },
};

const FLIP: FailoverStep = {
  title: "send the world there",
  look: async ({ flipHook }) =>
    flipHook === null
      ? { isSo: false, seen: "it was not told yet" }
      : { isSo: flipHook.state !== "failed", seen: flipHook.seen },
  act: async (scene) => {
    const { ports, keeper, signal } = scene;
    const { from, to } = keeper.run;
    await keeper.change({});
    scene.flipHook = await ports.runHook("flip", { from, to }, signal);
  },
  patienceMs: 0,
  code: "FULA_FAILOVER_STOPPED",
  safe: ({ epoch: { value } }) =>
    `${value.primary} is the primary and was seen to work; only failover.flipCommand failed. Do by hand what it does, or mend it, and ${AGAIN}.`,
};

const FINISH: FailoverStep = {
  title: "end the run",
  look: async ({ keeper }) => ({ isSo: keeper.run.state === "done", seen: `the run is ${keeper.run.state}` }),
  act: async ({ keeper }) => {
    await keeper.change({ step: "done", state: "done" });
  },
  patienceMs: 0,
  code: "FULA_FAILOVER_STOPPED",
  safe: () => `Everything is done but the run's record; ${AGAIN}.`,
};

const REAFFIRM: FailoverStep = {
  title: "give the old primary its right back",
  look: async ({ keeper: { run }, epoch: { value } }) => {
    const isUntouched = endedEpoch(value)?.uuid === run.replaces.uuid;
    return {
      isSo: isUntouched || value.uuid === run.id,
      seen: isUntouched
        ? "the epoch was never raised"
        : `epoch ${value.number} (${value.phase}) is of ${value.primary}`,
    };
  },
  act: async (scene) => {
    const { run } = scene.keeper;
    const old = await requireBox(scene, run.from);
    const reason = `${run.kind} from ${run.from} aborted`;
    await changeEpoch(scene, reaffirmedEpoch(scene.epoch.value, old, { ...stamp(scene), uuid: run.id, reason }));
  },
  patienceMs: AT_ONCE_MS,
  code: "FULA_FAILOVER_STOPPED",
  safe: () => `Nobody was promoted; run fula-master failover abort again.`,
};

/** What is done, and how its end is seen, for each action of the table. */
export const FAILOVER_STEPS: Readonly<Record<FailoverAction, FailoverStep>> = {
  preflight: PREFLIGHT,
  drainPrimary: DRAIN,
  detachStandbys: DETACH,
  raiseEpoch: RAISE,
  silenceOldMaster: SILENCE,
  awaitAttestations: ATTEST,
  proveFence: PROVE,
  choosePrimary: CHOOSE,
  awaitPromotion: PROMOTE,
  switchTargets: SWITCH,
  revokeAccess: REVOKE,
  proveSealed: SEAL,
  verifyService: VERIFY,
  flip: FLIP,
  finish: FINISH,
  reaffirm: REAFFIRM,
};
