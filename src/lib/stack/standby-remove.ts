import type { LoadedConfig } from "../config/load.ts";
import { type SettingChanges, updateSettingsFile } from "../config/settings-file.ts";
import { formatUtc } from "../kernel/clock.ts";
import { FulaError } from "../kernel/errors.ts";
import type { LedgerBox, LedgerEpochRecord } from "../membership/ledger-records.ts";
import { daemonState } from "./daemon.ts";
import { announcedAddress, ownPostgres } from "./own-postgres.ts";
import { postgresTlsFiles } from "./postgres-tls.ts";
import { openStandbyBox, type RecordedBox, type StandbyBox, type StandbyContext } from "./standby-box.ts";
import { serverOf } from "./standby-copy.ts";
import { acquireJoinLock } from "./step-run.ts";

/** What `standby remove` did, or would do; `--json` keeps these fields. */
export interface StandbyRemoveReport {
  readonly dryRun: boolean;
  readonly outcome: "removed" | "already";
  readonly node: string;
  /** True where its server, on this box, was stopped. Its data stay. */
  readonly stopped: boolean;
}

/** What `standby remove` is given. */
export interface StandbyRemoveOptions {
  /** Node name; null = this box's. */
  readonly node: string | null;
  /** Also the last one that writes wait for by `standby.sync: strict`, and one whose primary does not answer. */
  readonly force: boolean;
  readonly dryRun: boolean;
  /** Asked before anything is changed; throws where it is not meant. */
  readonly confirm: (node: string) => Promise<void>;
}

/** The primary's serve takes it out of what commits wait for, step by step. */
const PATIENCE_MS = 60_000;
const POLL_MS = 250;

async function findBox({ store }: StandbyBox, node: string): Promise<RecordedBox | null> {
  const { revision, value } = await store.get("box", node);
  return value === null ? null : { revision, value };
}

/** @throws FulaError FULA_STANDBY_NEEDED, FULA_USAGE */
async function assertMayGo(box: StandbyBox, { value }: RecordedBox, force: boolean): Promise<void> {
  const { value: epoch } = await box.store.get("epoch");
  if (epoch?.primary === value.node) {
    throw new FulaError("FULA_STANDBY_NEEDED", `${value.node} has the ledger's primary, and is no standby.`, {
      hint: "fula-master switchover --to <node> hands the ledger to another box first.",
    });
  }
  if (epoch !== null && epoch.phase !== "open") {
    throw new FulaError("FULA_STANDBY_NEEDED", "The ledger's primary is being changed at the moment.", {
      hint: "fula-master failover status shows how far it is; run the command again then.",
    });
  }
  const isLast = epoch !== null && epoch.syncSet.length === 1 && epoch.syncSet[0] === value.node;
  if (!isLast || force || box.loaded.config.standby.sync !== "strict") return;
  throw new FulaError(
    "FULA_STANDBY_NEEDED",
    `${value.node} is the only standby that commits wait for, and standby.sync is strict. Nothing was changed.`,
    { hint: "add another one first (fula-master standby add); or --force, and commits wait for nobody." },
  );
}

/** A `serve` of this box reads its settings again within this time, and starts no server any more that they do not name. */
const SETTINGS_READ_MS = 6_000;

/**
 * What the settings say from now on: this box carries no server. That of a former primary is its ledger by the settings, and the
 * ledger is elsewhere by now.
 */
function settingsWithout({ config, paths }: LoadedConfig, epoch: LedgerEpochRecord | null): SettingChanges {
  const none = { "standby.server": "none" };
  if (ownPostgres(config)?.role === "standby" || epoch === null || epoch.address === null) return none;
  const { host, port } = announcedAddress(epoch.address);
  const { ca } = postgresTlsFiles(paths.keysDir);
  const ledger = { "postgres.mode": "external", "postgres.host": host, "postgres.port": port };
  return { ...none, ...ledger, "postgres.tls": "verify-full", "postgres.tlsCaFile": ca };
}

/** Whether this box carries a copy: one that `standby add` made, or the server of a primary that was succeeded. */
function carriesCopy({ config }: LoadedConfig, epoch: LedgerEpochRecord | null): boolean {
  const role = ownPostgres(config)?.role;
  return role === "standby" || (role === "own" && epoch !== null && epoch.primary !== config.node.name);
}

/** Stops this box's copy for good. @returns whether it ran */
async function stopOwn(box: StandbyBox): Promise<boolean> {
  const { clock, signal } = box.context;
  const loaded = await box.reload();
  const { value: epoch } = await box.store.get("epoch");
  if (!carriesCopy(loaded, epoch)) return false;
  const { site } = await serverOf(box);
  // Who holds it is not disturbed by serve, which would start again what is stopped here.
  using _ = await acquireJoinLock(loaded.paths.locksDir, "standby remove", { clock, signal });
  await updateSettingsFile(loaded.paths.configFile, settingsWithout(loaded, epoch), { clock, signal });
  const runs = (await site.state()) === "running";
  if (runs) await site.stop("fast");
  if ((await daemonState(loaded, signal)).status === "running") await clock.sleep(SETTINGS_READ_MS, signal);
  return runs;
}

async function awaitGone(box: StandbyBox, node: string, force: boolean): Promise<void> {
  const { clock, signal } = box.context;
  const deadlineMs = clock.monotonicMs() + PATIENCE_MS;
  for (;;) {
    const found = await findBox(box, node);
    if (found === null) return;
    if (clock.monotonicMs() > deadlineMs) {
      if (force) return;
      throw new FulaError("FULA_RECOVERY_TIMEOUT", `The primary's box has not taken ${node} out yet.`, {
        hint: "its serve does that when it runs and the control plane answers; fula-master standby status on the primary's box says what it waits for.",
      });
    }
    await clock.sleep(POLL_MS, signal);
  }
}

/**
 * Takes a standby out: nothing waits for it any more, its role and its slot go, and its server stops where this is its box. The
 * data stay where they are.
 * @throws FulaError FULA_STANDBY_NEEDED, FULA_STANDBY_NONE, FULA_RECOVERY_TIMEOUT
 */
export async function removeStandby(
  context: StandbyContext,
  { node: named, force, dryRun, confirm }: StandbyRemoveOptions,
): Promise<StandbyRemoveReport> {
  await using box = await openStandbyBox(context);
  const node = named ?? box.name;
  const found = await findBox(box, node);
  const isOwn = node === box.name;
  if (found === null) {
    const isLeft = isOwn && carriesCopy(box.loaded, (await box.store.get("epoch")).value);
    if (!isLeft) return { dryRun, outcome: "already", node, stopped: false };
    if (!dryRun) await confirm(node);
    return { dryRun, outcome: "removed", node, stopped: dryRun ? false : await stopOwn(box) };
  }
  await assertMayGo(box, found, force);
  if (dryRun) return { dryRun, outcome: "removed", node, stopped: false };
  await confirm(node);
  const leaving: LedgerBox = { ...found.value, state: "leaving", at: formatUtc(context.clock.nowMs()) };
  if ((await box.store.put("box", leaving, found.revision, node)) === null) {
    throw new FulaError(
      "FULA_STANDBY_NEEDED",
      `The record of ${node} was changed by somebody else at the same moment.`,
      {
        hint: "run the command again.",
      },
    );
  }
  await awaitGone(box, node, force);
  return { dryRun, outcome: "removed", node, stopped: isOwn ? await stopOwn(box) : false };
}
