import { posix } from "node:path";
import { formatUtc } from "../kernel/clock.ts";
import { FulaError } from "../kernel/errors.ts";
import type { LedgerEpochRecord } from "../membership/ledger-records.ts";
import type { Following } from "../recovery/postgres/follow.ts";
import { copyPrimary } from "../recovery/postgres/full-base.ts";
import type { LedgerServer } from "../recovery/postgres/ledger-server.ts";
import { standbySlot } from "../recovery/postgres/standby-names.ts";
import { keepOldData, settleLeftovers } from "../recovery/postgres/leftovers.ts";
import { readSiteFile, writeSiteFile } from "../recovery/postgres/site-files.ts";
import type { PostgresSite } from "../runtime/postgres-site.ts";
import { identifySelf } from "../runtime/processes.ts";
import type { Report } from "./join-step.ts";
import { openOwnServer } from "./own-server.ts";
import { openEpoch, ownRecord, type StandbyBox } from "./standby-box.ts";
import { linkTo } from "./standby-link.ts";

/** A base backup of a large ledger over a slow line takes hours. */
const COPY_LIMITS = { programMs: 24 * 3_600_000, silenceMs: 600_000 };

/** Opens this box's server, by the settings as they are by now. */
export async function serverOf({ context, reload }: StandbyBox): Promise<LedgerServer> {
  const { clock, random, log, env } = context;
  return await openOwnServer(await reload(), { clock, random, log, env, part: "standby" });
}

async function requireEpoch(box: StandbyBox): Promise<LedgerEpochRecord & { readonly address: string }> {
  const epoch = await openEpoch(box);
  if (epoch !== null && epoch.address !== null) return { ...epoch, address: epoch.address };
  throw new FulaError("FULA_STANDBY_UNFIT", "The ledger has no primary that this box could copy at the moment.", {
    hint: "fula-master failover status shows whether one is being changed; run the command again then.",
  });
}

/** Whom this box is to follow, and as what. @throws FulaError FULA_STANDBY_UNFIT */
export async function followingOf(box: StandbyBox, server: LedgerServer): Promise<Following> {
  const epoch = await requireEpoch(box);
  const other = { node: epoch.primary, address: epoch.address };
  const primary = linkTo(await box.reload(), server.site, other, { clock: box.context.clock, part: "standby" });
  const slot = standbySlot(box.name);
  return { primary, epoch: { number: BigInt(epoch.number), uuid: epoch.uuid }, slot, settings: {} };
}

/** Beside the data: for which request they were copied. */
function copiedFor({ rootDir }: Pick<PostgresSite, "rootDir">): string {
  return posix.join(rootDir, "copied-for");
}

/**
 * Whether this box's data are a copy of the ledger that may be followed. What lies there from before the box asked to carry a
 * standby may have gone its own way since, on the same timeline even, which no streaming finds out. Of a box that carries a
 * standby already, `resync` is to judge.
 */
export async function isCopied(box: StandbyBox, { site }: LedgerServer): Promise<boolean> {
  if ((await site.state()) === "absent") return false;
  const { value } = await ownRecord(box);
  if (value?.state !== "joining") return value !== null;
  await using files = await site.open(box.context.signal);
  return (await readSiteFile(files, copiedFor(site)))?.trim() === value.at;
}

/**
 * Copies the primary's data to where this box's server has its own, and verifies them, as a session of the control plane:
 * what it holds at the primary can be told from what somebody who is gone left there.
 * @throws FulaError FULA_LOCKED, FULA_STANDBY_UNFIT, FULA_RECOVERY_DISK, FULA_RECOVERY_STEP
 */
export async function copyLedger(box: StandbyBox, report: Report): Promise<void> {
  const { signal, clock, random } = box.context;
  const server = await serverOf(box);
  const following = await followingOf(box, server);
  const { revision } = await box.store.get("session", box.name);
  // The record's revision is the session's id: whoever finds what it left behind knows whether it still runs.
  const id = await box.store.put(
    "session",
    {
      node: box.name,
      epoch: { number: Number(following.epoch.number), uuid: following.epoch.uuid },
      kind: "bootstrap",
      phase: "copying",
      owner: `${box.name}, process ${identifySelf().pid}`,
      pins: [],
      token: random.uuid(),
      at: formatUtc(clock.nowMs()),
    },
    revision,
    box.name,
  );
  if (id === null) throw sessionTaken(box.name);
  try {
    await using files = await server.site.open(signal);
    await settleLeftovers(files, server);
    // An exchange that was cut off is whole now.
    if (await isCopied(box, server)) return;
    if ((await server.site.state()) !== "absent") {
      await keepOldData(files, server.site, BigInt(id), "what this box had of the ledger before standby add");
    }
    await copyPrimary(
      {
        server,
        database: box.loaded.config.postgres.database,
        session: BigInt(id),
        following,
        epoch: following.epoch,
        tail: null,
        archive: null,
        limits: COPY_LIMITS,
        onProgress: report,
      },
      signal,
    );
    const { value } = await ownRecord(box);
    if (value !== null) await writeSiteFile(files, copiedFor(server.site), `${value.at}\n`);
  } finally {
    await box.store.remove("session", id, box.name);
  }
}

function sessionTaken(name: string): FulaError {
  return new FulaError("FULA_LOCKED", `Another recovery of ${name} has begun at the same moment.`, {
    hint: "fula-master standby status shows it; run the command again when it has ended.",
  });
}
