import { updateSettingsFile } from "../config/settings-file.ts";
import { formatUtc } from "../kernel/clock.ts";
import { FulaError, messageOf } from "../kernel/errors.ts";
import type { LedgerBox, LedgerEpochRecord } from "../membership/ledger-records.ts";
import type { Session } from "../postgres/session.ts";
import { followPrimary } from "../recovery/postgres/follow.ts";
import type { LedgerServer } from "../recovery/postgres/ledger-server.ts";
import { standbySlot } from "../recovery/postgres/standby-names.ts";
import type { RunStep } from "./join-step.ts";
import { already, type Assessment, left, todo } from "./plan.ts";
import { ensurePostgresCertificate, postgresTlsFiles } from "./postgres-tls.ts";
import { writeAccess } from "./standby-access.ts";
import { openEpoch, ownRecord, type StandbyBox } from "./standby-box.ts";
import { copyLedger, followingOf, isCopied, serverOf } from "./standby-copy.ts";
import { ensureGround, hasGround } from "./standby-ground.ts";
import { linkTo } from "./standby-link.ts";
import type { StandbyFitness } from "./standby-preflight.ts";

/** The steps of `standby add`, in the order they are taken. */
export const STANDBY_STEP_IDS = [
  "settings",
  "certificate",
  "request",
  "primary",
  "ground",
  "copy",
  "follow",
  "record",
  "sync",
] as const;
export type StandbyStepId = (typeof STANDBY_STEP_IDS)[number];
export type StandbyStep = RunStep<StandbyStepId>;

/** What the steps of one run share. */
export interface StandbyRun {
  readonly box: StandbyBox;
  readonly fitness: StandbyFitness;
  /** False while the run only looks. */
  readonly mayStart: boolean;
}

/** The primary's serve looks every second, and may have to make certificates and restart nothing. */
const PRIMARY_PATIENCE_MS = 60_000;
const STREAM_PATIENCE_MS = 300_000;
const SYNC_PATIENCE_MS = 60_000;
const POLL_MS = 250;

function settingsStep({ box, fitness }: StandbyRun): StandbyStep {
  return {
    id: "settings",
    title: "Settings",
    assess: async () => {
      const { config, paths } = await box.reload();
      if (config.standby.server === fitness.kind) return already(`standby.server is ${fitness.kind}`);
      return todo("this box carries a server of its own from now on", [
        `write standby.server: ${fitness.kind} into ${paths.configFile}`,
      ]);
    },
    apply: async () => {
      const { clock, signal } = box.context;
      await updateSettingsFile(box.loaded.paths.configFile, { "standby.server": fitness.kind }, { clock, signal });
      return `standby.server: ${fitness.kind}`;
    },
  };
}

function certificateStep({ box }: StandbyRun): StandbyStep {
  const { certificate } = postgresTlsFiles(box.loaded.paths.keysDir);
  return {
    id: "certificate",
    title: "Certificate",
    assess: async () => {
      const why = await ensurePostgresCertificate(box.loaded, box.context.clock, { dryRun: true });
      if (why === null) return already(`${certificate} is good`);
      return todo("the federation's authority vouches for this box towards the others' PostgreSQL", [
        `write ${certificate}: ${why}`,
      ]);
    },
    apply: async () => {
      const why = await ensurePostgresCertificate(box.loaded, box.context.clock);
      return `made: ${why ?? "it was good by then"}`;
    },
  };
}

/** Asks the primary's box, through the control plane, to let this one in. */
function requestStep({ box, fitness }: StandbyRun): StandbyStep {
  return {
    id: "request",
    title: "Request",
    assess: async () => {
      const { value } = await ownRecord(box);
      if (value !== null && value.state !== "leaving" && value.address === box.loaded.config.postgres.announce) {
        return already(`the control plane knows ${box.name} as ${value.state}`);
      }
      return todo("the primary's box makes role, slot and access for it", [`note ${box.name} as joining`]);
    },
    apply: async () => {
      const { postgres } = box.loaded.config;
      const { revision, value } = await ownRecord(box);
      if (value?.state === "leaving") throw stillLeaving(box.name);
      const record: LedgerBox = {
        node: box.name,
        address: postgres.announce ?? "",
        systemId: fitness.ledger.systemId,
        major: fitness.ledger.major,
        state: value?.state ?? "joining",
        at: formatUtc(box.context.clock.nowMs()),
      };
      await putRecord(box, record, revision);
      return `${box.name} is ${record.state}`;
    },
  };
}

function stillLeaving(name: string): FulaError {
  return new FulaError("FULA_STANDBY_UNFIT", `The standby of ${name} is still being taken out by the primary's box.`, {
    hint: "fula-master standby status shows when it is gone; then run the command again.",
  });
}

async function putRecord({ store, name }: StandbyBox, record: LedgerBox, revision: number): Promise<void> {
  if ((await store.put("box", record, revision, name)) !== null) return;
  throw new FulaError(
    "FULA_STANDBY_UNFIT",
    `The record of ${name} in the control plane was changed by somebody else.`,
    {
      hint: "run the command again; it goes on from what is there now.",
    },
  );
}

/** Connects to the primary as this box's role; null while it does not let it in, or has no slot for it. */
async function tryPrimary(
  box: StandbyBox,
  epoch: LedgerEpochRecord,
): Promise<{ readonly ready: boolean; readonly why: string }> {
  if (epoch.address === null) return { ready: false, why: `no address of ${epoch.primary} is known` };
  const other = { node: epoch.primary, address: epoch.address };
  const link = linkTo(box.loaded, { rootDir: "" }, other, { clock: box.context.clock, part: "standby" });
  try {
    await using session = await link.connect();
    const isThere = await hasSlot(session, box.name);
    return { ready: isThere, why: `${epoch.primary} has no slot for ${box.name} yet` };
  } catch (error) {
    return { ready: false, why: messageOf(error) };
  }
}

async function hasSlot(session: Session, node: string): Promise<boolean> {
  const { rowCount } = await session.query({
    name: "standby_has_slot",
    text: "select 1 from pg_replication_slots where slot_name = $1",
    values: [standbySlot(node)],
  });
  return rowCount === 1;
}

function primaryStep({ box }: StandbyRun): StandbyStep {
  const { clock, signal } = box.context;
  const look = async (): Promise<{ readonly ready: boolean; readonly why: string }> => {
    const epoch = await openEpoch(box);
    return epoch === null ? { ready: false, why: "the ledger has no epoch yet" } : await tryPrimary(box, epoch);
  };
  return {
    id: "primary",
    title: "Primary",
    assess: async () => {
      const { ready } = await look();
      if (ready) return already("the primary lets this box in, and keeps log for it");
      return todo("its serve makes what is needed when it sees the request", ["wait for the primary's box"]);
    },
    apply: async (report) => {
      const deadlineMs = clock.monotonicMs() + PRIMARY_PATIENCE_MS;
      for (;;) {
        const { ready, why } = await look();
        if (ready) return "this box is let in";
        report(why);
        if (clock.monotonicMs() > deadlineMs) {
          throw new FulaError("FULA_RECOVERY_TIMEOUT", `The primary's box did not let ${box.name} in: ${why}.`, {
            hint: "on the box that has the ledger's PostgreSQL: fula-master standby status says what stands in the way there; its serve must run.",
          });
        }
        await clock.sleep(POLL_MS, signal);
      }
    },
  };
}

function groundStep({ box, mayStart }: StandbyRun): StandbyStep {
  return {
    id: "ground",
    title: "Server",
    assess: async () =>
      (await hasGround(box, mayStart))
        ? already("what the server is told stands beside its data")
        : todo("its settings, its certificate and who may log in stand beside its data", ["write them"]),
    apply: async (report) => {
      await ensureGround(box, report);
      const loaded = await box.reload();
      const server = await serverOf(box);
      await using files = await server.site.open(box.context.signal);
      const boxes = await box.store.list("box");
      await writeAccess(
        files,
        server,
        loaded,
        boxes.map(({ value }) => value),
      );
      return server.site.where;
    },
  };
}

async function assessData(run: StandbyRun): Promise<Assessment> {
  const { box } = run;
  const copying = todo("a standby begins as a verified copy of its primary", [
    "copy the primary's data, and verify them",
  ]);
  if (!(await hasGround(box, run.mayStart))) return copying;
  return (await isCopied(box, await serverOf(box))) ? already("this box has a copy of the ledger") : copying;
}

function copyStep(run: StandbyRun): StandbyStep {
  const { box } = run;
  return {
    id: "copy",
    title: "Copy",
    assess: async () => await assessData(run),
    apply: async (report) => {
      await copyLedger(box, report);
      return "copied and verified";
    },
  };
}

function followStep(run: StandbyRun): StandbyStep {
  const { box } = run;
  return {
    id: "follow",
    title: "Streaming",
    assess: async () => {
      const begin = todo("it receives the primary's log from now on", ["start it as a standby of the primary"]);
      if (!(await hasGround(box, run.mayStart))) return begin;
      const server = await serverOf(box);
      const epoch = await openEpoch(box);
      if (epoch === null || (await server.site.state()) !== "running") return begin;
      const streams = await streamsFrom(box, server);
      return streams ? already(`it streams from ${epoch.primary}`) : begin;
    },
    apply: async () => {
      const server = await serverOf(box);
      const following = await followingOf(box, server);
      await followPrimary(server, following, { withinMs: STREAM_PATIENCE_MS, signal: box.context.signal });
      return `it streams from ${following.primary.node}`;
    },
  };
}

/** Whether the primary says that this box's standby streams. */
async function streamsFrom(box: StandbyBox, server: LedgerServer): Promise<boolean> {
  const { primary } = await followingOf(box, server);
  try {
    await using session = await primary.connect();
    const { rowCount } = await session.query({
      name: "standby_streams",
      text: "select 1 from pg_stat_replication where application_name = $1 and state = 'streaming'",
      values: [box.name],
    });
    return rowCount === 1;
  } catch {
    return false;
  }
}

function recordStep({ box }: StandbyRun): StandbyStep {
  return {
    id: "record",
    title: "Record",
    assess: async () => {
      const { value } = await ownRecord(box);
      return value?.state === "standby"
        ? already(`the control plane knows ${box.name} as a standby`)
        : todo("commits may wait for it, and a failover may choose it", [`note ${box.name} as standby`]);
    },
    apply: async () => {
      const { revision, value } = await ownRecord(box);
      if (value === null) throw stillLeaving(box.name);
      await putRecord(box, { ...value, state: "standby", at: formatUtc(box.context.clock.nowMs()) }, revision);
      return `${box.name} is a standby`;
    },
  };
}

function syncStep({ box }: StandbyRun): StandbyStep {
  const { clock, signal } = box.context;
  const isIn = async (): Promise<boolean> => (await openEpoch(box))?.syncSet.includes(box.name) === true;
  return {
    id: "sync",
    title: "Synchronous",
    assess: async () => {
      if (await isIn()) return already("commits wait for it, or for another one");
      if (box.loaded.config.standby.sync === "off") return left("standby.sync is off: no commit waits for a standby");
      return todo("a failover to it loses nothing once commits wait for it", ["wait until the primary counts it in"]);
    },
    apply: async () => {
      const deadlineMs = clock.monotonicMs() + SYNC_PATIENCE_MS;
      while (!(await isIn())) {
        if (clock.monotonicMs() > deadlineMs) {
          throw new FulaError("FULA_RECOVERY_TIMEOUT", `The primary's box has not counted ${box.name} in yet.`, {
            hint: "the standby streams; fula-master standby status on the primary's box says what it waits for there (standby.sync may be off).",
          });
        }
        await clock.sleep(POLL_MS, signal);
      }
      return "commits wait for it";
    },
  };
}

/** The steps of one run, in order. */
export function standbySteps(run: StandbyRun): readonly StandbyStep[] {
  return [
    settingsStep(run),
    certificateStep(run),
    requestStep(run),
    primaryStep(run),
    groundStep(run),
    copyStep(run),
    followStep(run),
    recordStep(run),
    syncStep(run),
  ];
}
